"""Chunk lists: what makes a large file verifiable piece by piece.

A chunk list is a blob of its own, named by digest in the signed manifest (``files[].chunks``):

    bytes  0–15   "forge-chunks-1" and two newlines
    then, for each chunk in the order of the file, 36 bytes:
           0–31   SHA-256 of the chunk
          32–35   its length in bytes, big-endian

The list is signed data. Where a file was cut is the publisher's choice and means nothing to
whoever verifies it: the lengths add up to the file's size, and each chunk hashes to its digest.
So the way of cutting can change at any time, and every list ever signed goes on working.

A list proves nothing about the file's own SHA-256 until both were checked over the same bytes:
whoever keeps a file under its digest hashes the whole as well.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from .digests import sha256_hex
from .errors import MalformedError, VerificationError

MAGIC = b"forge-chunks-1\n\n"
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_CHUNK_BYTES = 16 * 1024 * 1024
_DIGEST_BYTES = 32
_ENTRY_BYTES = _DIGEST_BYTES + 4
MAX_CHUNKS = (MAX_LIST_BYTES - len(MAGIC)) // _ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Chunk:
    """``length`` bytes from ``start`` on, whose SHA-256 is ``digest`` (32 bytes)."""

    number: int
    start: int
    length: int
    digest: bytes

    @property
    def end(self) -> int:
        return self.start + self.length

    def __str__(self) -> str:
        return f"chunk {self.number} (bytes {self.start} to {self.end - 1})"


class ChunkList:
    """A checked list. Holds its bytes and one offset a chunk, so that 100,000 take 5 MiB."""

    def __init__(self, raw: bytes, starts: array[int]) -> None:
        self.raw = raw
        self._starts = starts  # one more than there are chunks: the last is the file's size

    @property
    def digest(self) -> str:
        """The name of the list."""
        return sha256_hex(self.raw)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._starts[-1]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> Chunk:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return Chunk(number, self._starts[number], self.length_of(number), self.digest_of(number))

    def length_of(self, number: int) -> int:
        """The length in bytes of a chunk that there is."""
        return self._starts[number + 1] - self._starts[number]

    def digest_of(self, number: int) -> bytes:
        """The SHA-256 (32 bytes) of a chunk that there is."""
        at = len(MAGIC) + number * _ENTRY_BYTES
        return self.raw[at : at + _DIGEST_BYTES]

    def __iter__(self) -> Iterator[Chunk]:
        return (self[number] for number in range(len(self)))

    def start(self, number: int) -> int:
        """Where the chunk begins, which is where the one before it ends: the file's size for the
        number after the last."""
        return self._starts[number]

    def at(self, offset: int) -> int:
        """The number of the chunk that holds the byte at ``offset``."""
        return bisect_right(self._starts, offset) - 1


def parse_chunk_list(data: bytes, size: int, where: str) -> ChunkList:
    """The list in ``data``, for a file of ``size`` bytes.

    Raises:
        MalformedError: another form, a chunk that is empty or too long, or lengths that do not
            add up to ``size``.
    """
    if len(data) > MAX_LIST_BYTES:
        raise MalformedError(where, f"at most {MAX_LIST_BYTES} bytes", f"{len(data)} bytes")
    if data[: len(MAGIC)] != MAGIC:
        raise MalformedError(where, "a chunk list (forge-chunks-1)", "something else")
    count, rest = divmod(len(data) - len(MAGIC), _ENTRY_BYTES)
    if rest or not count:
        raise MalformedError(where, f"entries of {_ENTRY_BYTES} bytes", f"{rest} bytes too many")
    starts, total = array("Q", [0]), 0
    for number in range(count):
        at = len(MAGIC) + number * _ENTRY_BYTES + _DIGEST_BYTES
        length = int.from_bytes(data[at : at + 4], "big")
        if not 1 <= length <= MAX_CHUNK_BYTES:
            raise MalformedError(
                f"{where}: chunk {number}", f"1 to {MAX_CHUNK_BYTES} bytes", f"{length} bytes"
            )
        total += length
        starts.append(total)
    if total != size:
        raise MalformedError(where, f"chunks of {size} bytes together", f"{total} bytes")
    return ChunkList(data, starts)


def build_chunk_list(chunks: Iterable[tuple[bytes, int]]) -> ChunkList:
    """The list of ``chunks``, each its digest (32 bytes) and length, in the order of the file.

    Raises:
        MalformedError: more chunks than a list may hold, or one of a length that none may have.
    """
    raw, size = bytearray(MAGIC), 0
    for digest, length in chunks:
        raw += digest + length.to_bytes(4, "big")
        size += length
    return parse_chunk_list(bytes(raw), size, "chunk list")


class ChunkCheck:
    """Compares bytes that arrive in the order of the file with a list, chunk by chunk.

    For whoever has all of the file pass by once: a registry that stores it, a scrub. The chunks
    ``known`` pass unread: that they are right is known from elsewhere.
    """

    def __init__(
        self, chunks: ChunkList, subject: str, *, known: Container[int] = frozenset()
    ) -> None:
        self._chunks = chunks
        self._subject = subject
        self._known = known
        self._number = 0
        self._left = chunks.length_of(0)
        self._hasher: hashlib._Hash | None = None  # of the chunk that has begun

    def update(self, data: memoryview) -> None:
        """The next bytes. Raises VerificationError at the end of a chunk that is another."""
        # Some 15,000 times a GiB: what is done here for each chunk shows beside hashing it.
        at, size = 0, len(data)
        while at < size:
            if self._number == len(self._chunks):
                raise self._error("the end of the file", "more bytes")
            part = data[at : at + self._left]
            if self._number not in self._known:
                if self._hasher is None:
                    self._hasher = hashlib.sha256(part)
                else:
                    self._hasher.update(part)
            at += len(part)
            self._left -= len(part)
            if not self._left:
                self._next()

    @property
    def complete(self) -> bool:
        """Whether every chunk of the list came and is right."""
        return self._number == len(self._chunks)

    def finish(self) -> None:
        """All bytes came. Raises VerificationError when the list goes on."""
        if self._number != len(self._chunks):
            raise self._error(str(self._chunks[self._number]), "the end of the file")

    def _next(self) -> None:
        if self._hasher is not None and self._hasher.digest() != self._chunks.digest_of(
            self._number
        ):
            chunk = self._chunks[self._number]
            raise self._error(
                f"{chunk} with sha256 {chunk.digest.hex()}", f"sha256 {self._hasher.hexdigest()}"
            )
        self._number += 1
        self._hasher = None
        if self._number < len(self._chunks):
            self._left = self._chunks.length_of(self._number)

    def _error(self, expected: str, found: str) -> VerificationError:
        return VerificationError("digest-mismatch", self._subject, expected, found)
