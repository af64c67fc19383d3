"""Which tensors of two models differ, with as little read as possible.

The signed chunk lists answer first, and cost nothing. Where they prove neither that a tensor is the
same nor that it is another, only the bytes that they leave open are compared; only the tensors that
did change are read whole, to measure how far they moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from signing.chunks import ChunkList
from signing.manifest import FileEntry
from signing.tensors import Tensor

from . import values
from .document import figure, short
from .sides import Reader, Side

Parts = Sequence[tuple[int, int]]  # (start, stop), from the tensor's first byte
_PROBE_BYTES: Final = 64 << 10
_BATCH_BYTES: Final = 256 << 20  # fetched together


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor, and the file that it is in."""

    entry: FileEntry
    tensor: Tensor

    @property
    def size(self) -> int:
        return self.tensor.stop - self.tensor.start


@dataclass(frozen=True, slots=True)
class Told:
    """What is known unread: ``same`` is None where only the bytes of ``parts`` can tell."""

    same: bool | None
    parts: Parts = ()


class TensorPairs:
    """The tensors of two sides by name."""

    def __init__(
        self, old: Side, new: Side, before: Mapping[str, Place], after: Mapping[str, Place]
    ) -> None:
        self._sides = (old, new)
        self._before, self._after = before, after
        self.both = before.keys() & after.keys()
        self.added = after.keys() - before.keys()
        self.removed = before.keys() - after.keys()

    def changed(self, measured: bool) -> list[dict[str, Any]]:
        """Every tensor that differs, by name; ``measured``: with how far its values moved."""
        differ: set[str] = set()
        doubtful: dict[str, Parts] = {}
        for name in self.both:
            told = self._told(name)
            if told.same is None:
                doubtful[name] = told.parts
            elif not told.same:
                differ.add(name)
        # Most of what changed shows it at its beginning, and the rest need not be fetched to know.
        for wanted in ({name: _probe(parts) for name, parts in doubtful.items()}, doubtful):
            rest = {name: parts for name, parts in wanted.items() if name not in differ}
            for name, readers in self._read(rest):
                if not all(values.same(*readers, end - at, at) for at, end in rest[name]):
                    differ.add(name)
        found = {
            name: change(self._before[name].tensor, self._after[name].tensor) for name in differ
        }
        if measured:
            whole = {
                name: [(0, max(self._before[name].size, self._after[name].size))]
                for name in differ
                if _measurable(self._before[name].tensor, self._after[name].tensor)
            }
            for name, readers in self._read(whole):
                one, other = self._before[name].tensor, self._after[name].tensor
                moved = values.measure((one.kind, other.kind), *readers, one.elements)
                found[name] |= _figures(moved)
        return [found[name] for name in sorted(found)]

    def _told(self, name: str) -> Told:
        one, other = self._before[name], self._after[name]
        if (one.tensor.kind, one.tensor.shape) != (other.tensor.kind, other.tensor.shape):
            return Told(False)
        if one.size != other.size:
            return Told(False)
        if one.entry.sha256 == other.entry.sha256 and one.tensor.start == other.tensor.start:
            return Told(True)
        old = self._sides[0].bytes.chunks(one.entry)
        new = self._sides[1].bytes.chunks(other.entry)
        if old is None or new is None:
            return Told(None, [(0, one.size)])
        return told_by_chunks(old, one.tensor, new, other.tensor)

    def _read(
        self, wanted: Mapping[str, Parts]
    ) -> Iterator[tuple[str, tuple[values.Read, values.Read]]]:
        """Each tensor of ``wanted`` with readers of its bytes, old and new; those parts of them are
        at hand."""
        for batch in self._batches(wanted):
            with ExitStack() as stack:
                sides = [
                    _Open(stack, side, {name: places[name] for name in batch}, wanted)
                    for side, places in zip(self._sides, (self._before, self._after), strict=True)
                ]
                for name in batch:
                    yield name, (sides[0].of(name), sides[1].of(name))

    def _batches(self, wanted: Mapping[str, Parts]) -> Iterator[list[str]]:
        """The names in the order of the new file, in groups that are fetched together."""
        batch: list[str] = []
        size = 0
        for name in sorted(wanted, key=lambda each: (self._after[each].tensor.start, each)):
            batch.append(name)
            size += sum(stop - start for start, stop in wanted[name])
            if size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


class _Open:
    """The files of some tensors of one side, open, with what is needed of them at hand."""

    def __init__(
        self,
        stack: ExitStack,
        side: Side,
        places: Mapping[str, Place],
        wanted: Mapping[str, Parts],
    ) -> None:
        self._places = places
        self._readers: dict[str, Reader] = {}
        ranges: dict[str, list[tuple[int, int]]] = {}
        for name, place in places.items():
            digest, start = place.entry.sha256, place.tensor.start
            if digest not in self._readers:
                self._readers[digest] = stack.enter_context(side.bytes.open(place.entry))
            ranges.setdefault(digest, []).extend(
                (start + begin, start + min(end, place.size)) for begin, end in wanted[name]
            )
        for digest, each in ranges.items():
            self._readers[digest].need(each)

    def of(self, name: str) -> values.Read:
        place = self._places[name]
        reader = self._readers[place.entry.sha256]

        def read(at: int, size: int) -> bytes:
            return reader.read(place.tensor.start + at, size)

        return read


def told_by_chunks(old: ChunkList, one: Tensor, new: ChunkList, other: Tensor) -> Told:
    """What two lists prove about two tensors of one size. A chunk that both have at the same place
    of the tensor is the same bytes; two within it of the same place and length are other bytes
    where their digests differ. The parts that no common chunk covers are left open."""
    size = one.stop - one.start
    if not size:
        return Told(True)
    before, after = _covering(old, one), _covering(new, other)
    same = []
    for place in sorted(before.keys() & after.keys()):
        (digest, length), (found, others) = before[place], after[place]
        if (digest, length) == (found, others):
            same.append((max(place, 0), min(place + length, size)))
        elif length == others and place >= 0 and place + length <= size:
            return Told(False)
    parts = _between(same, size)
    return Told(None, parts) if parts else Told(True)


def _covering(chunks: ChunkList, tensor: Tensor) -> dict[int, tuple[bytes, int]]:
    """``{where it begins, from the tensor's start: (digest, length)}`` of the chunks that a tensor
    is in."""
    numbers = range(chunks.at(tensor.start), chunks.at(tensor.stop - 1) + 1)
    found = (chunks[number] for number in numbers)
    return {chunk.start - tensor.start: (chunk.digest, chunk.length) for chunk in found}


def _between(covered: Parts, size: int) -> list[tuple[int, int]]:
    """What of ``size`` bytes is in none of ``covered``, which are in order and do not overlap."""
    ends = [0, *(stop for _, stop in covered)]
    starts = [*(start for start, _ in covered), size]
    return [(start, stop) for start, stop in zip(ends, starts, strict=True) if start < stop]


def _probe(parts: Parts) -> Parts:
    """The first bytes of the first part."""
    start, stop = parts[0]
    return [(start, min(stop, start + _PROBE_BYTES))]


def _measurable(one: Tensor, other: Tensor) -> bool:
    known = values.width(one.kind) is not None and values.width(other.kind) is not None
    return known and one.elements == other.elements


def _figures(moved: values.Moved) -> dict[str, Any]:
    more: dict[str, Any] = {
        "relative_l2": figure(moved.relative_l2),
        "max_abs": figure(moved.max_abs),
    }
    if any(moved.not_finite):
        more["not_finite"] = {"old": moved.not_finite[0], "new": moved.not_finite[1]}
    return more


def change(one: Tensor, other: Tensor) -> dict[str, Any]:
    """A tensor of the document's ``changed``."""
    return {
        "name": short(one.name),
        "old": {"dtype": one.kind, "shape": list(one.shape)},
        "new": {"dtype": other.kind, "shape": list(other.shape)},
    }
