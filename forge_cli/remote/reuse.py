"""Chunks that lie on this disk already, in older versions of a file or in a damaged one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from signing.chunks import Chunk, ChunkList, parse_chunk_list
from signing.errors import MalformedError

from ..cache import Cache
from ..chunking import average_for, cut
from .partial import Partial
from .wanted import Old, Wanted

_MAX_OLDS = 8
_RUN_BYTES = 16 << 20  # between two of them the person may press Ctrl-C


class Reuse:
    """Where each chunk of some old files is: `{digest: (file, offset)}`, nothing verified."""

    def __init__(self, cache: Cache, want: Wanted) -> None:
        self._places: dict[bytes, tuple[int, int]] = {}
        self._olds = [old for old in want.olds if old.size][:_MAX_OLDS]
        self._known: set[int] = set()  # files whose lists say what is in them
        for number, old in enumerate(self._olds):
            with suppress(OSError):
                chunks, known = _chunks_of(cache, old, want.size)
                if known:
                    self._known.add(number)
                for chunk in chunks or ():
                    self._places.setdefault(chunk.digest, (number, chunk.start))

    def covers(self, chunk: Chunk) -> bool:
        return chunk.digest in self._places

    def fill(self, partial: Partial) -> Iterable[int]:
        """Copies into ``partial`` what it lacks and these files have; yields how many bytes came.

        A chunk of a file that may have changed since its list was made is hashed on the way: such
        a file costs nothing but the chunks that it no longer has.
        """
        handles: dict[int, int] = {}
        try:
            for run in self._runs(partial):
                if run.file not in handles:
                    try:
                        handles[run.file] = os.open(self._olds[run.file].path, os.O_RDONLY)
                    except OSError:
                        continue
                handle, first = handles[run.file], partial.chunks[run.numbers.start]
                if run.file in self._known:
                    copied = partial.copy_run(handle, run.start, run.numbers)
                else:
                    copied = partial.copy_from(handle, run.start, first)
                if copied:
                    yield partial.chunks[run.numbers.stop - 1].end - first.start
        finally:
            for handle in handles.values():
                os.close(handle)

    def _runs(self, partial: Partial) -> Iterator[_Run]:
        """What is to be copied: of files with `_known` chunks as many in a row as lie so there."""
        run: _Run | None = None
        for chunk in partial.chunks:
            place = self._places.get(chunk.digest)
            if place is None or partial.has(chunk.number):
                continue
            number, start = place
            if run is not None and run.goes_on(number, start, chunk) and number in self._known:
                run = replace(
                    run, numbers=range(run.numbers.start, chunk.number + 1), end=chunk.end
                )
                continue
            if run is not None:
                yield run
            run = _Run(
                file=number,
                start=start,
                numbers=range(chunk.number, chunk.number + 1),
                begin=chunk.start,
                end=chunk.end,
            )
        if run is not None:
            yield run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Chunks ``numbers``, bytes ``begin`` to ``end``, that lie in file ``file`` from ``start``."""

    file: int
    start: int
    numbers: range
    begin: int
    end: int

    def goes_on(self, file: int, start: int, chunk: Chunk) -> bool:
        """Whether ``chunk``, which is in ``file`` at ``start``, comes next here and there."""
        return (
            file == self.file
            and chunk.number == self.numbers.stop
            and start - self.start == chunk.start - self.begin
            and chunk.end - self.begin <= _RUN_BYTES
        )


def _chunks_of(cache: Cache, old: Old, size: int) -> tuple[ChunkList | None, bool]:
    """The chunks of ``old``, cut as a file of ``size`` bytes is, and whether it has them for
    certain: it was hashed for them just now, or verified earlier and left alone since."""
    if old.chunks is not None and average_for(old.size) == average_for(size):
        with suppress(MalformedError):
            if (data := cache.read_list(old.chunks)) is not None:
                return parse_chunk_list(data, old.size, "chunk list"), old.untouched
    with old.path.open("rb", buffering=0) as file:
        return cut(file, os.fstat(file.fileno()).st_size, average=average_for(size)), True
