"""Files of a release in the registry: small ones whole, of large ones only what is looked at.

What is in the cache is read there. Of a file with a chunk list those chunks are fetched that hold
what is asked for, each compared with the signed list as it arrives; they stay in the unfinished
file, where the next installation finds them. The digest of the whole file is not known then: a
publisher could sign a list that is another file's. `in_parts` names such files, so that it can be
said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from signing.chunks import ChunkList
from signing.manifest import FileEntry

from ..context import Context
from ..exclusive import Busy
from ..output import Progress, SilentProgress, clean, size_text
from ..remote.blobs import Downloader
from ..remote.partial import Partial
from ..remote.wanted import Wanted
from .sides import FileReader, Reader

_LOOK_AGAIN_SECONDS: Final = 0.1
_WORTH_SAYING: Final = 8 << 20


@dataclass(slots=True)
class ReleasedBytes:
    """The files of one release at ``url``; ``received`` bytes came over the network for it."""

    context: Context
    url: str
    in_parts: set[str] = field(default_factory=set)
    received: int = 0
    _lists: dict[str, ChunkList | None] = field(default_factory=dict)

    def ready(self, entries: Sequence[FileEntry]) -> None:
        wanted = {
            entry.sha256: _wanted(entry)
            for entry in entries
            if not self.context.cache.has(entry.sha256, entry.size)
        }
        if wanted:
            fetcher = self._fetcher()
            fetcher.fetch(list(wanted.values()))
            self.received += fetcher.received_bytes

    def whole(self, entry: FileEntry) -> bytes:
        self.ready([entry])
        data = self.context.cache.read(entry.sha256, entry.size)
        assert data is not None, "fetched just now"
        return data

    def chunks(self, entry: FileEntry) -> ChunkList | None:
        if entry.chunks is None:
            return None
        if entry.chunks not in self._lists:
            fetcher = self._fetcher()
            self._lists[entry.chunks] = fetcher.chunk_list(_wanted(entry))
            self.received += fetcher.received_bytes
        return self._lists[entry.chunks]

    @contextmanager
    def open(self, entry: FileEntry) -> Iterator[Reader]:
        here = self.context.cache.has(entry.sha256, entry.size)
        chunks = None if here else self.chunks(entry)
        if chunks is None:
            self.ready([entry])
            with FileReader.open(self.context.cache.path(entry.sha256)) as reader:
                yield reader
            return
        partial = self._partial(entry, chunks)
        if partial is None:  # another process fetched it meanwhile
            with FileReader.open(self.context.cache.path(entry.sha256)) as reader:
                yield reader
            return
        self.in_parts.add(entry.path)
        try:
            yield _PartReader(self, _wanted(entry), partial)
        finally:
            partial.close()

    def _partial(self, entry: FileEntry, chunks: ChunkList) -> Partial | None:
        self.context.cache.require_writable()
        while not self.context.cache.has(entry.sha256, entry.size):
            try:
                return Partial(self.context.cache.partial(entry.sha256), chunks)
            except Busy:
                time.sleep(_LOOK_AGAIN_SECONDS)
        return None

    def _fetcher(self, bar: Progress | None = None) -> Downloader:
        return self.context.downloader(
            self.url, bar or SilentProgress(), self.context.transfer.pace()
        )

    def fetch_parts(self, want: Wanted, partial: Partial, parts: Sequence[range]) -> None:
        chunks = partial.chunks
        size = sum(chunks[part.stop - 1].end - chunks[part.start].start for part in parts)
        if size >= _WORTH_SAYING:
            self.context.out.say(f"fetching {size_text(size)} of {clean(want.label)}")
        with self.context.out.progress("fetching", size) as bar:
            fetcher = self._fetcher(bar)
            fetcher.fetch_parts(want, partial, parts)
        self.received += fetcher.received_bytes


@dataclass(frozen=True, slots=True)
class _PartReader:
    """A `Reader` that fetches the chunks it needs."""

    owner: ReleasedBytes
    want: Wanted
    partial: Partial

    def need(self, ranges: Sequence[tuple[int, int]]) -> None:
        parts = [
            numbers
            for numbers in joined(self.partial.chunks, ranges)
            if not self.partial.has_all(numbers)
        ]
        if parts:
            self.owner.fetch_parts(self.want, self.partial, parts)

    def read(self, start: int, size: int) -> bytes:
        stop = min(start + size, self.want.size)
        if start >= stop:
            return b""
        self.need([(start, stop)])
        return self.partial.read(start, stop - start)


def joined(chunks: ChunkList, ranges: Sequence[tuple[int, int]]) -> list[range]:
    """The chunks that hold ``ranges``; neighbours are one range of numbers."""
    found: list[range] = []
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        numbers = range(chunks.at(start), chunks.at(stop - 1) + 1)
        if found and numbers.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, numbers.stop))
        else:
            found.append(numbers)
    return found


def _wanted(entry: FileEntry) -> Wanted:
    return Wanted(digest=entry.sha256, size=entry.size, label=entry.path, chunks=entry.chunks)
