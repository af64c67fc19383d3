"""Chunk lists are compared with their files before a release that names them is accepted.

A list is signed by its publisher, who may be wrong or worse: a list of other bytes would make every
client fetch in vain. Most are compared while the file is stored, in the same pass. The rest (the
file was here before, or came without naming its list) are read once more when a release needs
them. That a pair was found to hold is written down, for neither of the two ever changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.chunks import MAX_LIST_BYTES, ChunkCheck, ChunkList, parse_chunk_list
from signing.errors import MalformedError
from signing.manifest import Manifest
from storage import BlobNotFoundError, BlobStore, Segment
from storage.hashing import Readable, fill

from ..db import models
from ..db.engine import Database, upsert
from ..errors import RegistryError
from .clock import Clock
from .slow_work import SlowWork

_BLOCK_BYTES = 1 << 20
_AT_ONCE = 500  # parameters in one query
_MOST_LISTS = 4  # of one blob: as a rule there is one


class WatchedStream:
    """A stream whose bytes are compared with a chunk list as they pass."""

    def __init__(self, stream: Readable, check: ChunkCheck) -> None:
        self._stream = stream
        self._check = check
        if hasattr(stream, "readinto"):
            self.readinto = self._readinto

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._check.update(memoryview(data))
        return data

    def _readinto(self, buffer: memoryview) -> int:
        # A socket gives a little at a time: hashed by as much as there is room for, most chunks
        # are in one piece. This stands in for a `readinto` only where the stream has one.
        count = fill(self._stream.readinto, buffer)  # type: ignore[attr-defined]
        self._check.update(buffer[:count])
        return count


@dataclass(frozen=True, slots=True)
class ChunkChecks:
    """Knows which lists hold, and finds out about the others."""

    database: Database
    blobs: BlobStore
    clock: Clock
    work: SlowWork

    def watched(self, stream: Readable, chunk_list: str, digest: str, size: int) -> Readable:
        """``stream`` with the bytes of blob ``digest``, refusing what ``chunk_list`` does not
        list: reading it raises VerificationError then.

        Raises:
            RegistryError: ``blob-not-found``, the list is not here yet.
            MalformedError: it is no list for ``size`` bytes.
        """
        return WatchedStream(stream, ChunkCheck(self._read(chunk_list, size), f"blob {digest}"))

    def record(self, session: Session, chunk_list: str, digest: str) -> None:
        """Remembers, in a transaction that writes, that all bytes of ``digest`` were compared with
        the list."""
        table = models.table_of(models.ChunkCheck)
        row = {"list_sha256": chunk_list, "blob_sha256": digest, "checked_at": self.clock()}
        session.execute(upsert(session, table).on_conflict_do_nothing(), [row])

    def copied(self, chunks: ChunkList, segments: Sequence[Segment]) -> set[int]:
        """Those of ``chunks`` that come whole from other blobs, where lists that were compared
        with these say the same. Right bytes of a chunk are what the digest of the new whole then
        proves: the copy of a blob that rotted shows there."""
        found: set[int] = set()
        for source in {segment.source for segment in segments if segment.source is not None}:
            for known in self._lists_of(source):
                found |= _described(chunks, segments, source, known)
        return found

    def _lists_of(self, blob: str) -> Iterator[ChunkList]:
        """Lists that were compared with ``blob`` and are still here."""
        query = select(models.ChunkCheck.list_sha256)
        with self.database.read() as session:
            names = session.scalars(query.where(models.ChunkCheck.blob_sha256 == blob)).all()
        with suppress(BlobNotFoundError):
            size = self.blobs.stat(blob).size
            for name in names[:_MOST_LISTS]:
                with suppress(RegistryError, MalformedError):
                    yield self._read(name, size)

    def settle(self, manifest: Manifest) -> bool:
        """Whether every list of ``manifest`` was compared; False means: ask again.

        Raises:
            VerificationError: a list and its file do not belong together.
            MalformedError: a list is none.
        """
        pairs = {
            (entry.chunks, entry.sha256): entry.size
            for entry in manifest.files
            if entry.chunks is not None
        }
        for pair in self._unknown(pairs):
            work = partial(self._compare, *pair, pairs[pair])
            if not self.work.run("chunks " + " ".join(pair), work):
                return False
        return True

    def _unknown(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        table, wanted, known = models.ChunkCheck, sorted(pairs), set()
        with self.database.read() as session:
            for at in range(0, len(wanted), _AT_ONCE):
                blobs = [blob for _, blob in wanted[at : at + _AT_ONCE]]
                query = select(table.list_sha256, table.blob_sha256)
                known |= {(row[0], row[1]) for row in
                          session.execute(query.where(table.blob_sha256.in_(blobs)))}  # fmt: skip
        return [pair for pair in wanted if pair not in known]

    def _compare(self, chunk_list: str, digest: str, size: int) -> None:
        compare(self.blobs, self._read(chunk_list, size), digest)
        with self.database.write() as session:
            self.record(session, chunk_list, digest)

    def _read(self, chunk_list: str, size: int) -> ChunkList:
        return read_list(self.blobs, chunk_list, size)


def _described(
    chunks: ChunkList, segments: Sequence[Segment], source: str, known: ChunkList
) -> set[int]:
    """The chunks that ``segments`` copy from ``source`` and that ``known``, its list, has there."""
    found, at = set(), 0
    for segment in segments:
        begin, at = at, at + segment.length
        if segment.source != source:
            continue
        for number in range(chunks.at(begin), chunks.at(at - 1) + 1):
            chunk = chunks[number]
            start = segment.start + chunk.start - begin
            if chunk.start < begin or chunk.end > at or not 0 <= start < known.size:
                continue
            old = known[known.at(start)]
            if (old.start, old.length, old.digest) == (start, chunk.length, chunk.digest):
                found.add(number)
    return found


def read_list(blobs: BlobStore, chunk_list: str, size: int) -> ChunkList:
    """The chunk list ``chunk_list``, for a file of ``size`` bytes. Raises as `watched` does."""
    try:
        with blobs.open(chunk_list) as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except BlobNotFoundError:
        raise RegistryError(
            "blob-not-found",
            f"chunk list {chunk_list} is not here",
            "send the list first, then the file",
        ) from None
    return parse_chunk_list(data, size, f"chunk list {chunk_list}")


def compare(blobs: BlobStore, chunks: ChunkList, digest: str) -> None:
    """Raises VerificationError unless the blob's bytes are those that ``chunks`` lists."""
    check = ChunkCheck(chunks, f"blob {digest}")
    with blobs.open(digest) as file:
        while data := file.read(_BLOCK_BYTES):
            check.update(memoryview(data))
    check.finish()
