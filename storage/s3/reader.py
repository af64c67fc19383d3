"""Reading an object over connections that break, and noticing when it is not the right one.

A lost connection is taken up again where it broke, bound to the ETag of the first answer. The end
is reached only at the announced size. Where the digest of the object is known and it is read from
its first byte, reading its last one establishes that all of them were right.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress

from ..errors import BackendError
from .bucket import Bucket, ObjectBody
from .errors import ConditionFailedError, ObjectMissingError

_ATTEMPTS = 5  # connections in a row that bring nothing


class ObjectReader(io.RawIOBase):
    """The bytes of an object from ``start`` on. Constant memory; no ``fileno``."""

    def __init__(
        self, bucket: Bucket, key: str, action: str, *, start: int = 0, sha256: str | None = None
    ) -> None:
        """``sha256`` is what the whole object must hash to; it is looked at when ``start`` is 0.

        Raises:
            ObjectMissingError, BeyondEndError
            BackendError: the store failed, or sent another range.
        """
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._action = action
        self._position = start
        self._sha256 = sha256 if start == 0 else None
        self._hash = hashlib.sha256()
        self._body: ObjectBody | None = self._request(None)
        self._info = self._body.info

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._info.size - self._position)
        if wanted <= 0:
            self._finish()
            return 0
        data = self._receive(wanted)
        view[: len(data)] = data
        self._position += len(data)
        if self._sha256 is not None:
            self._hash.update(data)
            if self._position == self._info.size:
                self._finish()  # before the last bytes are handed out, not after
        return len(data)

    def _receive(self, count: int) -> bytes:
        """Between 1 and ``count`` bytes, over as many connections as it takes."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if self._body is None:
                    self._body = self._request(self._info.etag)
                data = self._body.read(self._action, count)
                if data:
                    return data
            except BackendError as error:
                if not error.retry or attempt == _ATTEMPTS:
                    raise
            self._leave()
        raise BackendError(f"could not {self._action}: it ended too early", True)

    def _request(self, etag: str | None) -> ObjectBody:
        try:
            body = self._bucket.get(self._action, self._key, start=self._position, etag=etag)
        except (ConditionFailedError, ObjectMissingError):
            if etag is None:
                raise
            raise BackendError(
                f"could not {self._action}: it was replaced or deleted meanwhile", True
            ) from None
        if body.start != self._position:
            body.stream.close()
            raise BackendError(f"could not {self._action}: the store sent another range", True)
        return body

    def _finish(self) -> None:
        expected, self._sha256 = self._sha256, None
        if expected is not None and self._hash.hexdigest() != expected:
            raise BackendError(
                f"could not {self._action}: its bytes hash to {self._hash.hexdigest()}",
                True,  # perhaps they were altered on the way
                code="blob-damaged",
                hint="If it stays so, restore the object from another copy.",
            )

    def _leave(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            with suppress(Exception):  # a connection that is lost anyway
                body.stream.close()

    def close(self) -> None:
        if not self.closed:
            self._leave()
        super().close()
