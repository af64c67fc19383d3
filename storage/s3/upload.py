"""`ObjectWriter`: bytes that become one object, or nothing.

A small object is one request. A larger one is a multipart upload, which is this store's temporary
file: its parts cannot be seen by anybody, and completing it is one atomic step. Several parts are
on their way at once; memory holds these and the one that is being filled.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType

from ..errors import BackendError, StorageError
from .bucket import Bucket
from .errors import ObjectMissingError, UploadMissingError

MAX_PARTS = 10_000  # of one upload, in every store
_MIB = 1 << 20
_LARGEST_PART = 512 * _MIB  # 10,000 of them are the largest object there is, 5 TiB


def part_size(size: int, smallest: int) -> int:
    """Bytes in a part so that an object of ``size`` bytes has no more than `MAX_PARTS`."""
    needed = -(-size // MAX_PARTS)
    return min(max(smallest, -(-needed // _MIB) * _MIB), _LARGEST_PART)


class ObjectWriter:
    """A context manager: leaving it without `finish` leaves nothing in the store."""

    def __init__(
        self, bucket: Bucket, key: str, action: str, *, part_bytes: int, parallel: int
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._action = action
        self._part_bytes = part_bytes
        self._parallel = parallel
        self._part = bytearray()
        self._upload_id: str | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[str]] = deque()
        self._etags: list[str] = []
        self._written = 0

    def write(self, view: memoryview) -> None:
        """Appends all of ``view``. Raises BackendError, possibly for an earlier part."""
        self._written += len(view)
        while view:
            if len(self._part) == self._part_bytes:
                self._send_part()
            room = self._part_bytes - len(self._part)
            self._part += view[:room]
            view = view[room:]

    def finish(self) -> None:
        """The object is in the store, durable and whole, when this returns."""
        if self._upload_id is None:
            self._bucket.put(self._action, self._key, self._part)
            return
        self._send_part()
        while self._waiting:
            self._etags.append(self._waiting.popleft().result())
        upload_id, self._upload_id = self._upload_id, None
        with suppress(UploadMissingError, ObjectMissingError):
            # Not there any more: an attempt that was reported as failed did it, or a sweep
            # took it away. What is in the store tells the two apart.
            self._bucket.complete_upload(self._action, self._key, upload_id, self._etags)
        found = self._bucket.head(self._action, self._key)
        if found is None or found.size != self._written:
            if found is not None:
                self._bucket.delete(self._action, self._key)
            raise BackendError(f"could not {self._action}: the store did not keep all of it", True)

    def _send_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._bucket.begin_upload(self._action, self._key)
            self._pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="s3-part")
        assert self._pool is not None
        if len(self._waiting) == self._parallel:
            self._etags.append(self._waiting.popleft().result())
        number = len(self._etags) + len(self._waiting) + 1
        part, self._part = self._part, bytearray()
        self._waiting.append(
            self._pool.submit(
                self._bucket.upload_part, self._action, self._key, self._upload_id, number, part
            )
        )

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            # A part that arrives after the abort would stay for ever: wait for those under way.
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._upload_id is not None:
            # What goes wrong here must not hide why; the sweep takes what stays behind.
            with suppress(StorageError):
                self._bucket.abort_upload(self._action, self._key, self._upload_id)
