"""What each process holds of the index in memory: the facets, the orders, and where they are up to.

Ten facets, each counted under the choices in the nine others, over a hundred thousand components:
no database does that within the time that a page may take. As sets of bits it is some thousand
operations of microseconds. Held is about 1 kB for each component, and the texts stay in the
database. What changed there since is read before each search; see `Columns.take`.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final

from .base import FACETS, FacetValue, Query
from .bits import from_ids, members_of, to_ids

_MOST_VALUES: Final = 200
"""Values of one facet that are counted: the commonest. Publishers choose tasks and licences."""
_SHOWN_VALUES: Final = 40
_FEW: Final = 1500
"""So many are sorted; of more, those are taken whose turn comes while the order is walked."""
_KEPT_CHANGES: Final = 5000

Row = tuple[int, str, int, int, str]
"""(component id, facets as JSON, time of its last change, size in bytes, ``org/name``)"""
Key = tuple[int | str, int]


@lru_cache(maxsize=20_000)
def _values(facets: str) -> tuple[tuple[str, ...], ...]:
    """The values of each facet, in the order of `FACETS`; many components have the same."""
    return tuple(tuple(each) for each in json.loads(facets))


@dataclass(slots=True)
class Columns:
    """``generation`` is that of the newest row in here; ``epoch`` changes with a rebuild."""

    epoch: int = 0
    generation: int = 0
    everything: int = 0
    bits: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in FACETS})
    orders: dict[str, list[Key]] = field(
        default_factory=lambda: {"updated": [], "name": [], "size": []}
    )
    _rows: dict[int, Row] = field(default_factory=dict)
    _changes: list[tuple[int, int]] = field(default_factory=list)  # (generation, id)
    _complete_since: int = 0  # `_changes` holds every change after this generation

    def take(self, generation: int, rows: Sequence[Row]) -> None:
        """Takes in the rows that changed since the last time, up to ``generation``."""
        if len(rows) > 1000 + len(self._rows) // 20:
            self._take_all(rows)
            self._changes, self._complete_since = [], generation
        else:
            for row in rows:
                self._take_one(row)
            self._changes += [(generation, row[0]) for row in rows]
            if len(self._changes) > _KEPT_CHANGES:
                self._changes = self._changes[_KEPT_CHANGES // 2 :]
                self._complete_since = self._changes[0][0]
        self.generation = generation

    def changed_since(self, generation: int) -> frozenset[int] | None:
        """Ids of what changed after ``generation``; None where that is not known any more."""
        if generation < self._complete_since:
            return None
        return frozenset(each for at, each in self._changes if at > generation)

    def _take_all(self, rows: Sequence[Row]) -> None:
        self._rows.update((row[0], row) for row in rows)
        ids: dict[str, dict[str, list[int]]] = {name: {} for name in FACETS}
        for number, facets, *_ in self._rows.values():
            for name, values in zip(FACETS, _values(facets), strict=True):
                for value in values:
                    ids[name].setdefault(value, []).append(number)
        for name, found in ids.items():
            self.bits[name] = {value: from_ids(each) for value, each in found.items()}
        self.everything = from_ids(self._rows)
        for name, order in self.orders.items():
            order[:] = sorted(_key(name, row) for row in self._rows.values())

    def _take_one(self, row: Row) -> None:
        number = row[0]
        bit = 1 << number
        old = self._rows.get(number)
        if old is not None:
            for name, values in zip(FACETS, _values(old[1]), strict=True):
                for value in values:
                    self.bits[name][value] &= ~bit
            for name, order in self.orders.items():
                del order[bisect_left(order, _key(name, old))]
        for name, values in zip(FACETS, _values(row[1]), strict=True):
            for value in values:
                self.bits[name][value] = self.bits[name].get(value, 0) | bit
        for name, order in self.orders.items():
            insort(order, _key(name, row))
        self.everything |= bit
        self._rows[number] = row

    def narrow(self, found: int, query: Query) -> tuple[int, dict[str, tuple[FacetValue, ...]]]:
        """(those of ``found`` that the choices leave, the facets of ``found``)"""
        unions = {
            name: self._union(name, values) for name, values in query.chosen.items() if values
        }
        left = found
        for union in unions.values():
            left &= union
        facets = {}
        for name in FACETS:
            within = left
            if name in unions:
                within = found
                for other, union in unions.items():
                    if other != name:
                        within &= union
            facets[name] = self._count(name, within, query.chosen.get(name, frozenset()))
        return left, facets

    def _union(self, name: str, values: Iterable[str]) -> int:
        union = 0
        for value in values:
            union |= self.bits[name].get(value, 0)
        return union

    def _count(self, name: str, within: int, chosen: frozenset[str]) -> tuple[FacetValue, ...]:
        bits = self.bits[name]
        values: Iterable[str] = bits
        if len(bits) > _MOST_VALUES:
            common = sorted(bits, key=lambda value: bits[value].bit_count())[-_MOST_VALUES:]
            values = {*common, *(value for value in chosen if value in bits)}
        counted = [
            FacetValue(
                value=value, count=(bits[value] & within).bit_count(), chosen=value in chosen
            )
            for value in values
        ]
        counted += [
            FacetValue(value=value, count=0, chosen=True) for value in chosen if value not in bits
        ]
        shown = [each for each in counted if each.count or each.chosen]
        shown.sort(key=lambda each: (not each.chosen, -each.count, each.value))
        return tuple(shown[:_SHOWN_VALUES])

    def page(self, sets: Sequence[int], sort: str, start: int, count: int) -> list[int]:
        """Ids of ``count`` components from the ``start``-th on: the first set's come first."""
        ids: list[int] = []
        for each in sets:
            size = each.bit_count()
            if start >= size:
                start -= size
                continue
            ids += islice(self._ordered(each, size, sort), start, start + count - len(ids))
            start = 0
            if len(ids) >= count:
                break
        return ids

    def _ordered(self, bits: int, size: int, sort: str) -> Iterable[int]:
        name = "updated" if sort == "relevance" else sort
        if size <= _FEW:
            rows = [self._rows[number] for number in to_ids(bits)]
            return [number for _, number in sorted(_key(name, row) for row in rows)]
        return members_of(bits, (number for _, number in self.orders[name]))


def _key(name: str, row: Row) -> Key:
    """What rows are sorted by; the last changed first, and the smallest: lines are slow."""
    number, _, updated, size, full_name = row
    if name == "name":
        return (full_name, number)
    return (-updated if name == "updated" else size, number)


def scored(left: int, matches: Sequence[Mapping[int, int]]) -> list[int]:
    """``left`` cut into sets of equal score, the best first. ``matches`` is, for each word that was
    asked for, ``{points: those that match it so}``; the best match of each word counts."""
    sums = {0: left}
    for word in matches:
        after: dict[int, int] = {}
        taken = 0
        for points in sorted(word, reverse=True):
            fresh = word[points] & ~taken
            taken |= fresh
            for before, members in sums.items():
                both = members & fresh
                if both:
                    after[before + points] = after.get(before + points, 0) | both
        sums = after
    return [sums[total] for total in sorted(sums, reverse=True)]
