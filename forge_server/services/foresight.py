"""What a transaction that publishes for several is about to ask of the database, asked once.

Of each release it must know who its publisher is in the organisation, what is published of the
component, what the organisation's quota is, and whether the leases of its blobs still hold. One by
one these are most of what the transaction does. Nobody else writes while it lasts, so what is found
at its begin stays true but for what it changes itself, and that is noted here as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.orm import Session

from signing.names import ComponentName

from ..db.models import Component
from .components import find_components, versions_of
from .leases import Ended, Leases
from .quotas import Quotas, QuotaState
from .rights import Standings, standings

_SEEN: Final = "foreseen"  # in the info of a session, which lives as long as a transaction


Components = Mapping[ComponentName, Component]
Versions = Mapping[int, Sequence[tuple[str, str | None]]]


class AgainError(Exception):
    """What was foreseen for several does not hold for this one: one of the others came before it.
    Alone in its part of a transaction it finds out what is true by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Somebody is about to publish ``version`` of ``component``, which refers to ``digests``."""

    user_id: int
    component: ComponentName
    version: str
    digests: Sequence[str]


@dataclass(slots=True, kw_only=True)
class Seen:
    """``versions`` are by component id, with why they are yanked. ``ended`` is of all blobs of what
    is not published yet."""

    standings: Standings
    components: Components
    versions: Versions
    quotas: dict[str, QuotaState]
    ended: Ended
    _taken: set[ComponentName] = field(default_factory=set)

    def versions_of(self, component: ComponentName) -> Sequence[tuple[str, str | None]]:
        row = self.components.get(component)
        return [] if row is None else self.versions[row.id]

    def is_published(self, wish: Wish) -> bool:
        return _is_published(wish, self.components, self.versions)

    def take(self, component: ComponentName) -> None:
        """To be called by whoever is about to change the component: what is said here of it is true
        for the first of them.

        Raises:
            AgainError: somebody did before.
        """
        if component in self._taken:
            raise AgainError
        self._taken.add(component)


@dataclass(frozen=True, slots=True)
class Foresight:
    quotas: Quotas
    leases: Leases

    def __call__(self, session: Session, wishes: Sequence[Wish]) -> None:
        """Looks for all of ``wishes`` at once, for `of` in the same transaction."""
        session.info[_SEEN] = self._look(session, wishes)

    def of(self, session: Session, wish: Wish) -> Seen:
        """What was foreseen for ``wish`` and others; where nothing was, what is found now."""
        seen = session.info.get(_SEEN)
        return seen if isinstance(seen, Seen) else self._look(session, [wish])

    def _look(self, session: Session, wishes: Sequence[Wish]) -> Seen:
        components = find_components(session, [wish.component for wish in wishes])
        versions = versions_of(session, components.values())
        # What is published refers to its blobs already, and its publisher may have sent others.
        digests = {
            digest
            for wish in wishes
            if not _is_published(wish, components, versions)
            for digest in wish.digests
        }
        return Seen(
            standings=standings(session, {(wish.user_id, wish.component.org) for wish in wishes}),
            components=components,
            versions=versions,
            quotas=self.quotas.states(session, {wish.component.org for wish in wishes}),
            ended=self.leases.end(session, digests),
        )


def _is_published(wish: Wish, components: Components, versions: Versions) -> bool:
    row = components.get(wish.component)
    return row is not None and any(each == wish.version for each, _ in versions[row.id])
