"""What a new blob is made of: pieces that the registry has, and parts that have to be sent.

Pure: from lists of chunks and the limits of the store to a list of segments. A store may demand
that segments are not too small (S3: 5 MiB). Then a short piece that could be copied is sent with
its neighbours, and a short part that must be sent takes bytes from the piece behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from signing.chunks import ChunkList

_PART_BYTES: Final = 8 << 20
_MANY_PARTS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the registry's store takes; see `GET /api/v1/uploads`."""

    min_bytes: int
    max_bytes: int
    max_segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """``length`` bytes from ``at`` on: sent, or copied from blob ``source`` from ``start`` on."""

    at: int
    length: int
    source: str | None = None
    start: int = 0

    @property
    def end(self) -> int:
        return self.at + self.length

    def cut(self, at: int, length: int) -> Segment:
        """A piece of it."""
        return Segment(
            at=at, length=length, source=self.source, start=self.start + at - self.at
        ) if self.source is not None else Segment(at=at, length=length)  # fmt: skip


def part_bytes(size: int) -> int:
    """How long the parts of a file of ``size`` bytes are: 8 MiB, or more where it is very large."""
    length = _PART_BYTES
    while length * _MANY_PARTS < size:
        length *= 2
    return length


def places(lists: Mapping[str, ChunkList]) -> dict[bytes, tuple[str, int]]:
    """``{chunk digest: (blob, offset)}`` of blobs with their chunk lists."""
    found: dict[bytes, tuple[str, int]] = {}
    for blob, chunks in lists.items():
        for chunk in chunks:
            found.setdefault(chunk.digest, (blob, chunk.start))
    return found


def plan_recipe(
    size: int, chunks: ChunkList | None, have: Mapping[bytes, tuple[str, int]], limits: Limits
) -> list[Segment]:
    """Segments that make a blob of ``size`` bytes, within ``limits``."""
    runs = _runs(chunks, have) if chunks is not None else [Segment(at=0, length=size)]
    runs = _long_enough(_joined(runs), limits.min_bytes)
    while True:
        segments = [piece for run in runs for piece in _split(run, size, limits)]
        copied = [run for run in runs if run.source is not None]
        if len(segments) <= limits.max_segments or not copied:
            return segments
        # Too many pieces: the shortest tenth of what could be copied is sent instead.
        shortest = sorted(copied, key=lambda run: run.length)[: max(1, len(copied) // 10)]
        dropped = {run.at for run in shortest}
        runs = _joined([Segment(at=r.at, length=r.length) if r.at in dropped else r for r in runs])
        runs = _long_enough(runs, limits.min_bytes)


def sent_bytes(segments: Iterable[Segment]) -> int:
    """How many bytes of them have to be sent."""
    return sum(segment.length for segment in segments if segment.source is None)


def _runs(chunks: ChunkList, have: Mapping[bytes, tuple[str, int]]) -> list[Segment]:
    runs = []
    for chunk in chunks:
        source, start = have.get(chunk.digest, (None, 0))
        runs.append(Segment(at=chunk.start, length=chunk.length, source=source, start=start))
    return runs


def _joined(runs: Sequence[Segment]) -> list[Segment]:
    """``runs`` with neighbours that are one piece as one."""
    joined: list[Segment] = []
    for run in runs:
        last = joined[-1] if joined else None
        follows = last is not None and last.source == run.source and (
            run.source is None or last.start + last.length == run.start
        )  # fmt: skip
        if last is not None and follows:
            joined[-1] = Segment(
                at=last.at, length=last.length + run.length, source=last.source, start=last.start
            )
        else:
            joined.append(run)
    return joined


def _long_enough(runs: list[Segment], least: int) -> list[Segment]:
    """``runs`` without one shorter than ``least``, except the last."""
    if least <= 1:
        return runs
    runs = _joined([Segment(at=r.at, length=r.length) if r.length < least else r for r in runs])
    made: list[Segment] = []
    queue = list(reversed(runs))
    while queue:
        run = queue.pop()
        if run.length >= least or not queue:
            made.append(run)
            continue
        # A short part to send: it takes what it lacks from what follows, all of it if the rest
        # would be too short for itself.
        behind = queue.pop()
        taken = least - run.length
        if behind.length - taken < least:
            taken = behind.length
        queue_front = Segment(at=run.at, length=run.length + taken)
        if taken < behind.length:
            queue.append(behind.cut(behind.at + taken, behind.length - taken))
        queue.append(queue_front)
    return _joined(made)


def _split(run: Segment, size: int, limits: Limits) -> list[Segment]:
    """``run`` in pieces of equal length that are not too long."""
    longest = limits.max_bytes
    if run.source is None:
        longest = max(limits.min_bytes, min(longest, part_bytes(size)))
    count = -(-run.length // longest)
    if run.source is None and run.length // count < limits.min_bytes:
        count = max(1, run.length // limits.min_bytes)
    edges = [run.at + run.length * number // count for number in range(count + 1)]
    return [run.cut(a, b - a) for a, b in pairwise(edges)]
