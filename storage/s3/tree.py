"""`S3PublishedTree`: the static plane as plain objects, which anyone may serve as they are.

Writing an object is one atomic, durable step of the store; what makes it safe among several
writers is the condition that goes with it. ``If-None-Match: *`` lets the first writer of a
put-once file win. ``If-Match`` binds a swap to the bytes that it looked at: a request that was
stuck in the network while another writer took over is refused instead of turning time back.

An object carries the sha256 of its bytes, which every read compares, and the ``Cache-Control``
that says whether it ever changes.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from ..checks import check_published_path
from ..errors import BackendError, PathNotFoundError, PublishedConflictError
from .bucket import Bucket
from .errors import ConditionFailedError, ObjectMissingError

_IMMUTABLE = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_ATTEMPTS = 5
_RACES = 50  # how often others may be faster than a swap
_CACHE_BYTES = 64 << 20
_LARGEST_CACHED = 1 << 20
_MAX_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class _Found:
    data: bytes
    etag: str
    write: str  # names the request that wrote it


class S3PublishedTree:
    """A `PublishedTree` in ``bucket``. Immutable files that were read stay in memory, 64 MiB of
    them at most; a `swap` is seen by everybody at once. A file that cannot be read is asked for
    ``attempts`` times."""

    def __init__(self, bucket: Bucket, *, attempts: int = _ATTEMPTS) -> None:
        self._bucket = bucket
        self._attempts = attempts
        self._cache = _Cache()
        self._files: set[str] = set()  # paths that are known to be files
        self._folders: set[str] = set()  # and folders; neither ever becomes the other
        self._quoted = True

    def put_once(self, path: str, data: bytes) -> None:
        action = self._publishing(path)
        for _ in range(_ATTEMPTS):
            try:
                self._put(action, path, data, _IMMUTABLE, if_absent=True)
            except ConditionFailedError:
                found = self._find(path)
                if found is None:  # a competing write that is not through yet
                    continue
                if found.data != data:
                    raise PublishedConflictError(path) from None
            self._remember(path)
            return
        raise _too_many_others(action)

    def swap(self, path: str, data: bytes) -> None:
        action = self._publishing(path)
        for _ in range(_RACES):
            found = self._find(path)
            if found is not None and found.data == data:
                return
            if self._replace(action, path, data, found, ""):
                return
        raise _too_many_others(action)

    def swap_if(self, path: str, data: bytes, seen: bytes | None) -> bool:
        action = self._publishing(path)
        write = os.urandom(16).hex()
        for _ in range(_ATTEMPTS):
            found = self._find(path)
            if found is not None and found.write == write:
                return True  # done by this very call, in a request that was reported as failed
            if (None if found is None else found.data) != seen:
                return False
            if self._replace(action, path, data, found, write):
                return True
        raise _too_many_others(action)

    def _replace(
        self, action: str, path: str, data: bytes, found: _Found | None, write: str
    ) -> bool:
        """Writes ``data`` in place of ``found``, unless something else is there by now."""
        try:
            if found is None:
                self._put(action, path, data, _REVALIDATE, if_absent=True, write=write)
            else:
                self._put_over(action, path, data, found.etag, write)
        except ConditionFailedError:
            return False
        self._cache.forget(path)
        self._remember(path)
        return True

    def _put_over(self, action: str, path: str, data: bytes, etag: str, write: str) -> None:
        """Some stores (the Ceph of Debian 12) compare the quotation marks of the header as well;
        whichever form worked is used again."""
        quoted = self._quoted
        for form in (quoted, not quoted):
            try:
                condition = f'"{etag}"' if form else etag
                self._put(action, path, data, _REVALIDATE, if_etag=condition, write=write)
            except ConditionFailedError:
                if form is not quoted:
                    raise
                continue
            self._quoted = form
            return

    def read(self, path: str) -> bytes:
        check_published_path(path)
        cached = self._cache.get(path)
        if cached is not None:
            return cached
        found = self._find(path)
        if found is None:
            raise PathNotFoundError(path)
        return found.data

    def exists(self, path: str) -> bool:
        return self._bucket.head(f"look for {path}", check_published_path(path)) is not None

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def remove(self, path: str) -> None:
        """In a bucket that keeps versions the bytes stay until its own rules remove them."""
        self._bucket.delete(f"remove {path}", check_published_path(path))
        self._cache.forget(path)
        self._files.discard(path)

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        """0: a file of the tree is written in one step, which leaves nothing behind."""
        return 0

    def require_conditions(self) -> None:
        """Establishes that the store keeps conditions, on which everything above rests.

        Raises:
            BackendError: it does not, or does not answer. Never retried by itself.
        """
        action = "try the conditions of the object store"
        key = f".tmp/{os.urandom(16).hex()}"
        try:
            self._bucket.put(action, key, b"1", if_absent=True)
            for condition in ({"if_absent": True}, {"if_etag": f'"{"0" * 32}"'}):
                try:
                    self._bucket.put(action, key, b"2", **condition)
                except ConditionFailedError:
                    continue
                raise BackendError(
                    f"could not {action}: it ignores {' '.join(condition)}",
                    False,
                    hint="Publishing safely needs a store that keeps If-Match and If-None-Match "
                    "on PutObject: Amazon S3, Ceph, MinIO and others.",
                )
        finally:
            self._bucket.delete(action, key)

    def _put(
        self,
        action: str,
        path: str,
        data: bytes,
        cache_control: str,
        *,
        if_absent: bool = False,
        if_etag: str | None = None,
        write: str = "",
    ) -> None:
        kind = "application/json" if path.endswith(".json") else "application/octet-stream"
        self._bucket.put(
            action,
            path,
            data,
            if_absent=if_absent,
            if_etag=if_etag,
            CacheControl=cache_control,
            ContentType=kind,
            Metadata={"sha256": hashlib.sha256(data).hexdigest(), "write": write},
        )

    def _find(self, path: str) -> _Found | None:
        """The file as it is in the store; None when it is not there."""
        action = f"read {path}"
        for attempt in range(1, self._attempts + 1):
            try:
                body = self._bucket.get(action, path)
                try:
                    data = body.read(action)
                finally:
                    body.stream.close()
            except ObjectMissingError:
                return None
            except BackendError as error:
                if not error.retry or attempt == self._attempts:
                    raise
                continue
            promised = body.info.metadata.get("sha256")
            if promised in (None, hashlib.sha256(data).hexdigest()):
                if body.info.cache_control == _IMMUTABLE:
                    self._cache.add(path, data)
                return _Found(data, body.info.etag, body.info.metadata.get("write", ""))
        raise BackendError(
            f"could not {action}: its bytes are not those that were published",
            True,
            code="file-damaged",
            hint="If it stays so, restore the object from another copy.",
        )

    def _publishing(self, path: str) -> str:
        """The action for messages, once it is clear that ``path`` can be a file: no folder of
        that name is there, and no file where its folders would be."""
        action = f"publish {check_published_path(path)}"
        segments = path.split("/")
        folders = {"/".join(segments[:count]) for count in range(1, len(segments))}
        taken = path in self._folders or not folders.isdisjoint(self._files)
        if path not in self._files:
            taken = taken or self._bucket.has_under(action, f"{path}/")
        for folder in sorted(folders - self._folders):
            taken = taken or self._bucket.head(action, folder, final=False) is not None
        if taken:
            raise BackendError(f"could not {action}: a path is either a file or a folder", False)
        return action

    def _remember(self, path: str) -> None:
        if len(self._files) + len(self._folders) > _MAX_KNOWN:
            self._files.clear()
            self._folders.clear()
        segments = path.split("/")
        self._folders.update("/".join(segments[:count]) for count in range(1, len(segments)))
        self._files.add(path)


class _Cache:
    """The files that were read last, `_CACHE_BYTES` of them; safe for many threads."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, path: str) -> bytes | None:
        with self._lock:
            if path in self._files:
                self._files.move_to_end(path)
            return self._files.get(path)

    def add(self, path: str, data: bytes) -> None:
        if len(data) > _LARGEST_CACHED:
            return
        with self._lock:
            self._bytes += len(data) - len(self._files.pop(path, b""))
            self._files[path] = data
            while self._bytes > _CACHE_BYTES:
                self._bytes -= len(self._files.popitem(last=False)[1])

    def forget(self, path: str) -> None:
        with self._lock:
            self._bytes -= len(self._files.pop(path, b""))


def _too_many_others(action: str) -> BackendError:
    return BackendError(f"could not {action}: others publish it at the same time", True)
