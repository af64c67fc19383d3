"""Chunks that lie on this disk already, in older versions of a file or in a damaged one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from signing.chunks import Chunk, ChunkList, parse_chunk_list
from signing.errors import MalformedError

from .cache import Cache
from .chunking import average_for, cut
from .remote.partial import Partial
from .remote.wanted import Old, Wanted

_MAX_OLDS = 8


class Reuse:
    """Where each chunk of some old files is: `{digest: (file, offset)}`, nothing verified."""

    def __init__(self, cache: Cache, want: Wanted) -> None:
        self._places: dict[bytes, tuple[int, int]] = {}
        self._olds = [old for old in want.olds if old.size][:_MAX_OLDS]
        for number, old in enumerate(self._olds):
            with suppress(OSError):
                for chunk in _chunks_of(cache, old, want.size) or ():
                    self._places.setdefault(chunk.digest, (number, chunk.start))

    def covers(self, chunk: Chunk) -> bool:
        return chunk.digest in self._places

    def fill(self, partial: Partial) -> Iterable[Chunk]:
        """Copies into ``partial`` what it lacks and these files have; yields each copied chunk.

        Each is hashed on the way: a file that changed since its list was made costs nothing
        but the chunks that it no longer has.
        """
        handles: dict[int, int] = {}
        try:
            for chunk in partial.chunks:
                place = self._places.get(chunk.digest)
                if place is None or partial.has(chunk.number):
                    continue
                number, start = place
                if number not in handles:
                    try:
                        handles[number] = os.open(self._olds[number].path, os.O_RDONLY)
                    except OSError:
                        continue
                if partial.copy_from(handles[number], start, chunk):
                    yield chunk
        finally:
            for handle in handles.values():
                os.close(handle)


def _chunks_of(cache: Cache, old: Old, size: int) -> ChunkList | None:
    """The chunks of ``old``, cut as a file of ``size`` bytes is."""
    if old.chunks is not None and average_for(old.size) == average_for(size):
        with suppress(MalformedError):
            if (data := cache.read_list(old.chunks)) is not None:
                return parse_chunk_list(data, old.size, "chunk list")
    with old.path.open("rb", buffering=0) as file:
        return cut(file, os.fstat(file.fileno()).st_size, average=average_for(size))
