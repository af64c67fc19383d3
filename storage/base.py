"""`BlobStore`: what each place for content-addressed files MUST do.

A blob is an immutable sequence of bytes named by its sha256, as 64 lower-case hexadecimal
digits. It may be 200 GB large. For every implementation:

* **Durable and right.** `put` returns only when the bytes are the promised ones and would
  survive a power cut (a store made for caching may give up the second half, and says so).
  What `missing` or `stat` reports as present is as durable as what `put` confirmed: callers
  commit facts that refer to it.
* **All or nothing.** A reader sees no blob or all of it. A `put` that fails, is refused or
  dies leaves no trace that any method of this interface can see.
* **Idempotent.** `put` of a blob that is there, and `delete` of one that is not, succeed.
  Any number of threads and processes may put the same digest at once: all of them succeed
  and one object results.
* **Constant memory**, whatever the size.
* **One signal each**: `BlobNotFoundError` for "not there", `BlobMismatchError` for bytes that
  are not the promised ones, `InvalidArgumentError` for an argument that is no digest, size or
  offset (raised before anything is touched), and `BackendError`, which says whether to retry,
  for every other failure of the store. An error raised by the caller's own stream passes
  through unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol, runtime_checkable

from .hashing import Readable


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStat:
    size: int  # bytes


@runtime_checkable
class BlobStore(Protocol):
    def missing(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that are not in the store. Cheap for 10^5 of them."""
        ...

    def put(self, digest: str, stream: Readable, size: int) -> None:
        """Stores the bytes of `stream`, which must be `size` bytes that hash to `digest`.

        A blob of that digest and size that is there already is a success: nothing is written
        and `stream` need not be read. At most `size` + 1 bytes are read, to the stream's end;
        the stream is not closed.

        Raises:
            BlobMismatchError: too long, too short, or another digest.
            BackendError: the store failed. The blob may be there nonetheless, whole, when
                the failure came after the last step; putting it again is always safe.
        """
        ...

    def open(self, digest: str, start: int = 0) -> BinaryIO:
        """The bytes from offset `start` on, which the caller closes. A `start` at or beyond
        the end reads as empty. It stays readable to its end when the blob is deleted.

        Raises:
            BlobNotFoundError: no such blob.
        """
        ...

    def stat(self, digest: str) -> BlobStat:
        """Raises BlobNotFoundError when there is no such blob."""
        ...

    def redirect_url(self, digest: str, ttl_seconds: int) -> str | None:
        """A URL from which anyone can read the blob for `ttl_seconds`, or None when this
        store has no address of its own. Does not check that the blob is there."""
        ...

    def delete(self, digest: str) -> None:
        """Removes the blob, for good once this returns. Success when it is not there."""
        ...

    def iter_digests(self) -> Iterator[str]:
        """All digests in ascending order, leaving out whatever else lies in the store.

        A blob put or deleted meanwhile may or may not appear.
        """
        ...

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        """Removes what dead writers left behind, if anything; returns how many files. What a
        living writer is at work on stays."""
        ...
