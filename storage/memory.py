"""`MemoryBlobStore`: a dictionary that keeps the contract of `storage.base`, for tests."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import BinaryIO

from .base import BlobStat
from .checks import check_digest, check_size, check_start
from .errors import BlobNotFoundError
from .hashing import Readable, copy_verified


class MemoryBlobStore:
    """A `BlobStore` that lasts as long as its process; safe for many threads.

    Nothing of it is durable, and unlike a real store it holds every blob in memory.
    """

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def missing(self, digests: Iterable[str]) -> set[str]:
        return {digest for digest in digests if check_digest(digest) not in self._blobs}

    def put(self, digest: str, stream: Readable, size: int) -> None:
        check_digest(digest)
        check_size(size)
        known = self._blobs.get(digest)
        if known is not None and len(known) == size:
            return
        data = bytearray()
        copy_verified(stream, digest, size, data.extend)
        with self._lock:
            self._blobs.setdefault(digest, bytes(data))

    def open(self, digest: str, start: int = 0) -> BinaryIO:
        check_start(start)
        return io.BytesIO(self._find(digest)[start:])

    def stat(self, digest: str) -> BlobStat:
        return BlobStat(size=len(self._find(digest)))

    def redirect_url(self, digest: str, ttl_seconds: int) -> str | None:
        check_digest(digest)
        return None

    def delete(self, digest: str) -> None:
        with self._lock:
            self._blobs.pop(check_digest(digest), None)

    def iter_digests(self) -> Iterator[str]:
        with self._lock:
            digests = sorted(self._blobs)
        return iter(digests)

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        return 0

    def _find(self, digest: str) -> bytes:
        try:
            return self._blobs[check_digest(digest)]
        except KeyError:
            raise BlobNotFoundError(digest) from None
