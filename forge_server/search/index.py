"""Searching: one way for both databases. What they do differently is in their `Engine`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import bindparam, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from signing.names import ComponentName
from storage import StorageError

from ..db.engine import Database
from ..db.models import Component
from ..errors import RegistryError
from ..logs import LOGGER
from ..services.gathering import MOST, Gathering
from .asking import Word, name_asked, near_patterns, nearest, words_of
from .base import Hit, Query, Results
from .bits import from_ids
from .columns import Columns, scored
from .documents import hit_of
from .engine import Engine, Pattern
from .filling import Filling
from .tables import DOCUMENTS, STATE

_KEPT_SETS: Final = 2000
_FEW: Final = 3  # hits with which somebody is offered other names as well
_SUGGESTED: Final = 5
_MOST_MISTYPED: Final = 3  # words of one question that are looked at again
_CANDIDATES: Final = 60
_COLUMNS: Final = DOCUMENTS.c
_CHANGED: Final = select(
    _COLUMNS.component_id, _COLUMNS.facets, _COLUMNS.updated, _COLUMNS.size, _COLUMNS.full_name
).where(_COLUMNS.generation > bindparam("seen"))
_STATE: Final = select(STATE.c.epoch, STATE.c.generation)
_EXACT: Final = select(_COLUMNS.component_id).where(
    or_(_COLUMNS.name == bindparam("name"), _COLUMNS.full_name == bindparam("full_name"))
)
_SHOWN: Final = select(_COLUMNS.component_id, _COLUMNS.shown).where(
    _COLUMNS.component_id.in_(bindparam("ids", expanding=True))
)


@dataclass(slots=True)
class _Kept:
    """The components that held a pattern when the index was at ``generation``."""

    generation: int
    bits: int


_TOLD: Final = select(_COLUMNS.shown).where(
    _COLUMNS.component_id
    == select(Component.id)
    .where(Component.organisation == bindparam("organisation"), Component.name == bindparam("name"))
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class _Found:
    """``matches`` is, for each word, ``{points: set of bits}``."""

    words: Sequence[Word]
    matches: Sequence[Mapping[int, int]]

    @property
    def all(self) -> int:
        """Those that match every word."""
        both = -1
        for each in map(_union, self.matches):
            both &= each
        return both

    @property
    def any(self) -> int:
        """Those that match some word."""
        return _union(dict(enumerate(map(_union, self.matches))))


@dataclass(slots=True)
class ComponentIndex:
    """Implements `base.Index`. Many threads may use one; each process has its own, which sees what
    another one indexed with the next search."""

    database: Database
    engine: Engine
    filling: Filling
    _columns: Columns = field(default_factory=Columns)
    _sets: OrderedDict[Pattern, _Kept] = field(default_factory=OrderedDict)
    _near: dict[str, list[str]] = field(default_factory=dict)
    _near_generation: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _following: Gathering[None, int] = field(default_factory=Gathering)

    def search(self, query: Query) -> Results:
        """See `Index.search`."""
        words = words_of(query.text)
        with self.database.read() as session:
            generation = self._look(session)
            exact = self._exact(session, query.text) if words else 0
            as_typed = self._find(session, words, generation)
            found = self._find_mistyped(session, as_typed, generation)
            with self._lock:
                columns = self._columns
                # An index that was spoilt knows words of components of which it knows no more.
                exact &= columns.everything
                everything = columns.everything & found.all if words else columns.everything
                if query.text.strip() and not words:
                    everything = 0  # nothing but signs was asked for
                left, facets = columns.narrow(everything | exact, query)
                rest = left & ~exact
                sets = [rest] if query.sort != "relevance" else scored(rest, found.matches)
                start = (query.page - 1) * query.per_page
                ids = columns.page([left & exact, *sets], query.sort, start, query.per_page)
                total = left.bit_count()
                other = columns.page(
                    scored(found.any & columns.everything & ~left, _ranked(found)),
                    "relevance", 0, _SUGGESTED,
                ) if words and total <= _FEW and not left & exact else []  # fmt: skip
            shown = self._shown(session, [*ids, *other], exact)
        return Results(
            hits=[shown[each] for each in ids if each in shown],
            total=total,
            page=query.page,
            pages=-(-total // query.per_page),
            facets=facets,
            suggestions=[shown[each] for each in other if each in shown],
            respelt=found is not as_typed and not left & exact and total > 0,
        )

    def told(self, component: ComponentName) -> Hit | None:
        """What a search would show of one component; None where it is not indexed yet."""
        with self.database.read() as session:
            shown = session.scalar(_TOLD, {"organisation": component.org, "name": component.name})
        return None if shown is None else hit_of(shown, exact=True)

    def refresh(self) -> int:
        """See `Index.refresh`."""
        return self.filling.refresh()

    def follow(self) -> None:
        """Indexes what was just changed. When that fails the change stands all the same, and the
        worker indexes it a little later; so it does where much waits, as after a rebuild: no
        publisher waits for half a million others."""
        try:
            # Of many who changed something at once, one indexes it all.
            self._following.ask(None, lambda askers: [self.filling.refresh(MOST)] * len(askers))
        except (RegistryError, StorageError, SQLAlchemyError) as error:
            LOGGER.warning("not indexed for search yet: %s", type(error).__name__)

    def rebuild(self) -> int:
        """See `Index.rebuild`."""
        return self.filling.rebuild()

    def _look(self, session: Session) -> int:
        """Takes in what changed since the last search; returns the generation that ``session``
        sees."""
        epoch, generation = session.execute(_STATE).one()
        with self._lock:
            if epoch != self._columns.epoch:
                self._columns = Columns(epoch=epoch)
                self._sets.clear()
            # Another thread, whose transaction began later, may have been here before.
            if generation > self._columns.generation:
                rows = session.execute(_CHANGED, {"seen": self._columns.generation})
                self._columns.take(generation, [tuple(row) for row in rows])
        return int(generation)

    def _exact(self, session: Session, text: str) -> int:
        name, full_name = name_asked(text)
        found = session.scalars(_EXACT, {"name": name, "full_name": full_name})
        return from_ids(found.all())

    def _find(self, session: Session, words: Sequence[Word], generation: int) -> _Found:
        sets = self._holders(
            session, [pattern for word in words for pattern in word.patterns], generation
        )
        return _Found(words, [_by_points(word.patterns, sets) for word in words])

    def _find_mistyped(self, session: Session, found: _Found, generation: int) -> _Found:
        """The same, where a word that nothing holds stands for those that are near it."""
        unknown = [
            at
            for at, word in enumerate(found.words)
            if word.may_be_mistyped and not any(found.matches[at].values())
        ][:_MOST_MISTYPED]
        instead = {}
        for at in unknown:
            instead[at] = near_patterns(self._nearest(session, found.words[at].stem, generation))
        wanted = [pattern for patterns in instead.values() for pattern in patterns]
        if not wanted:
            return found
        sets = self._holders(session, wanted, generation)
        return _Found(
            found.words,
            [
                _by_points(instead[at], sets) if at in instead else each
                for at, each in enumerate(found.matches)
            ],
        )

    def _nearest(self, session: Session, word: str, generation: int) -> list[str]:
        """What people may have meant by ``word``; looked for once, until words may have come."""
        with self._lock:
            if generation != self._near_generation:
                self._near, self._near_generation = {}, generation
            known = self._near.get(word)
        if known is None:
            known = nearest(word, self.engine.near(session, word, _CANDIDATES))
            with self._lock:
                if generation == self._near_generation and len(self._near) < _KEPT_SETS:
                    self._near[word] = known
        return known

    def _holders(
        self, session: Session, patterns: Iterable[Pattern], generation: int
    ) -> dict[Pattern, int]:
        """Who holds each pattern. Asked of the database are those that nobody asked for before,
        and of the others only what changed since."""
        wanted = dict.fromkeys(patterns)
        known: dict[Pattern, int] = {}
        behind: dict[int, list[Pattern]] = {}
        with self._lock:
            for pattern in wanted:
                kept = self._sets.get(pattern)
                if kept is None or kept.generation > generation:
                    continue
                self._sets.move_to_end(pattern)
                known[pattern] = kept.bits
                if kept.generation < generation:
                    behind.setdefault(kept.generation, []).append(pattern)
            changes = {since: self._columns.changed_since(since) for since in behind}
        ask: dict[Collection[int] | None, list[Pattern]] = {}
        for since, some in behind.items():
            ask.setdefault(changes[since], []).extend(some)
        fresh = [pattern for pattern in wanted if pattern not in known]
        if fresh:
            ask.setdefault(None, []).extend(fresh)
        for among, some in ask.items():
            if among is not None and not among:
                continue
            forgotten = -1 if among is None else from_ids(among)
            for pattern, bits in self.engine.holders(session, some, among).items():
                known[pattern] = (known.get(pattern, 0) & ~forgotten) | bits
        self._keep(known, generation)
        return known

    def _keep(self, sets: Mapping[Pattern, int], generation: int) -> None:
        with self._lock:
            for pattern, bits in sets.items():
                kept = self._sets.get(pattern)
                if kept is None or kept.generation <= generation:
                    self._sets[pattern] = _Kept(generation, bits)
            while len(self._sets) > _KEPT_SETS:
                self._sets.popitem(last=False)

    def _shown(self, session: Session, ids: Sequence[int], exact: int) -> dict[int, Hit]:
        if not ids:
            return {}
        rows = session.execute(_SHOWN, {"ids": list(ids)})
        return {number: hit_of(text, exact=bool(exact >> number & 1)) for number, text in rows}


def _by_points(patterns: Mapping[Pattern, int], sets: Mapping[Pattern, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for pattern, points in patterns.items():
        found[points] = found.get(points, 0) | sets[pattern]
    return found


def _union(sets: Mapping[int, int]) -> int:
    union = 0
    for each in sets.values():
        union |= each
    return union


def _ranked(found: _Found) -> list[dict[int, int]]:
    """The matches with those that lack a word at the end, instead of nowhere."""
    everything = found.any
    return [{**each, 0: everything} for each in found.matches]
