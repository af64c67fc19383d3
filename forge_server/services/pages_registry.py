"""What the pages about the whole registry show: organisations and regions, the public log, what was
taken back, and figures."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, literal_column, select

from signing.bodies import DECISION
from signing.errors import SigningError
from signing.tlog.checkpoint import open_checkpoint
from signing.tlog.policy import policy_of

from ..db.engine import Database
from ..db.models import Component, LogCheckpoint, Organisation, Release, ReviewStatement
from ..db.recall_models import Withholding
from .clock import Clock
from .log_keys import LogKeys
from .pages_component import Owner, owner_of
from .rolebook import current_role

MAX_LISTED: Final = 500
_MAX_CHECKPOINTS: Final = 3000
MONTHS: Final = 24
# Counting a million releases takes seconds, and with so many there is always a newer one.
_MANY: Final = 100_000
_KEPT_FOR: Final = timedelta(hours=1)


# What the figures of decisions change with.
_DECIDED: Final = select(
    func.count(ReviewStatement.path), func.max(ReviewStatement.signed_at)
).where(ReviewStatement.kind == DECISION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A component in a list of its organisation."""

    component: str
    kind: str
    summary: str
    latest: str
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """The newest published checkpoint. ``witnesses`` maps those that cosigned it and that the
    authority names to when; ``demanded`` is how many it demands (None: it names none).
    ``growth`` is the size at the end of each day on which it grew."""

    origin: str
    size: int
    root: str
    note: str
    at: datetime
    witnesses: Mapping[str, datetime]
    demanded: int | None
    growth: Sequence[tuple[date, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A release that was taken back. ``state`` is yanked, quarantined, revoked, held or removed;
    ``reference`` names the order behind a removal, ``successor`` what a publisher advises."""

    component: str
    version: str
    state: str
    reason: str
    since: datetime | None
    reference: str | None = None
    successor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts of the whole registry. ``releases`` is ``{first day of the month: releases}``,
    ``decisions`` the same of reviewers' decisions that are listed today, by when they were signed.
    """

    components: int
    versions: int
    organisations: int
    bytes: int
    releases: Mapping[date, int]
    kinds: Mapping[str, int]
    regions: Mapping[str | None, int]
    decisions: Mapping[date, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Figures, when they were counted, and what they change with: the newest release, the number of
    organisations, the decisions, the month."""

    key: tuple[object, ...]
    at: datetime
    figures: Figures


@dataclass(frozen=True, slots=True)
class RegistryPages:
    database: Database
    log_keys: LogKeys
    clock: Clock
    # The last figures, which go through every release.
    _kept: deque[_Kept] = field(default_factory=lambda: deque(maxlen=1))
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def organisations(self, region: str | None = None) -> list[Owner]:
        """Approved organisations by name; only those of a region if given."""
        query = select(Organisation).where(Organisation.state == "approved")
        with self.database.read() as session:
            found = [owner_of(row) for row in session.scalars(query.order_by(Organisation.name))]
        return [one for one in found if region is None or one.region == region]

    def components_of(self, organisation: str) -> list[Listed]:
        """The components of an organisation by name, at most five hundred."""
        query = select(Component).where(Component.organisation == organisation)
        with self.database.read() as session:
            rows = session.scalars(query.order_by(Component.name).limit(MAX_LISTED))
            return [
                Listed(
                    component=f"{row.organisation}/{row.name}",
                    kind=row.kind,
                    summary=row.summary,
                    latest=row.latest,
                    updated_at=row.updated_at,
                )
                for row in rows
            ]

    def log(self) -> LogState | None:
        """None while nothing is published."""
        query = (
            select(LogCheckpoint.size, LogCheckpoint.created_at)
            .where(LogCheckpoint.published_at.is_not(None))
            .order_by(LogCheckpoint.size.desc())
        )
        with self.database.read() as session:
            rows = session.execute(query.limit(_MAX_CHECKPOINTS)).all()
            if not rows:
                return None
            newest = session.get(LogCheckpoint, rows[0].size)
            targets = current_role(session, "targets")
            assert newest is not None
            note = newest.cosigned or newest.note
        policy = None if targets is None else policy_of(targets)
        known = () if policy is None else policy.witnesses
        try:
            seen = open_checkpoint(note, self.log_keys.verifiers(), known)
        except SigningError:
            return None
        growth: dict[date, int] = {}
        for size, at in rows:
            growth.setdefault(at.date(), size)
        return LogState(
            origin=seen.checkpoint.origin,
            size=seen.checkpoint.size,
            root=seen.checkpoint.root.hex(),
            note=note.decode(),
            at=newest.created_at,
            witnesses=seen.witnesses,
            demanded=None if policy is None else policy.quorum,
            growth=sorted(growth.items()),
        )

    def tombstones(self) -> list[Tombstone]:
        """What was taken back, newest first where that is known; at most five hundred."""
        query = (
            select(
                Component.organisation,
                Component.name,
                Release.version,
                Release.yanked,
                Release.yanked_successor,
            )
            .join(Component, Release.component_id == Component.id)
            .where(Release.yanked.is_not(None))
            .order_by(Release.published_at.desc())
            .limit(MAX_LISTED)
        )
        with self.database.read() as session:
            yanked = session.execute(query).all()
            withheld = [_tombstone(row) for row in session.scalars(select(Withholding))]
        rest = [
            Tombstone(
                component=f"{organisation}/{name}", version=version, state="yanked",
                reason=reason or "", since=None, successor=successor,
            )
            for organisation, name, version, reason, successor in yanked
        ]  # fmt: skip
        return sorted(withheld, key=_since, reverse=True) + rest

    def figures(self) -> Figures:
        """Counts, and releases by month over the last two years; of `_MANY` releases and more as
        they were within the last hour."""
        now = self.clock()
        with self.database.read() as session:
            approved = select(func.count(Organisation.name)).where(Organisation.state == "approved")
            newest = session.scalar(select(func.max(Release.id))) or 0
            key = (
                newest,
                session.scalar(approved) or 0,
                tuple(session.execute(_DECIDED).one()),
                now.date().replace(day=1),
            )
        with self._counting:  # whoever comes meanwhile waits for it, instead of counting too
            kept = self._kept[0] if self._kept else None
            if kept is None or not (
                kept.key == key or (newest >= _MANY and now - kept.at < _KEPT_FOR)
            ):
                kept = _Kept(key=key, at=now, figures=self._count(now))
                self._kept.append(kept)
        return kept.figures

    def _count(self, now: datetime) -> Figures:
        with self.database.read() as session:
            sqlite = session.get_bind().dialect.name == "sqlite"
            month = _month(Release.published_at, sqlite=sqlite)
            months = session.execute(select(month, func.count()).group_by(month))
            by_month: dict[str, int] = dict(months.all())
            signed = _month(ReviewStatement.signed_at, sqlite=sqlite)
            decided: dict[str, int] = dict(
                session.execute(
                    select(signed, func.count())
                    .where(ReviewStatement.kind == DECISION)
                    .group_by(signed)
                ).all()
            )
            total = session.scalar(select(func.sum(Release.total_bytes)))
            kinds = dict(
                session.execute(select(Component.kind, func.count()).group_by(Component.kind)).all()
            )
            in_organisation = dict(
                session.execute(
                    select(Component.organisation, func.count()).group_by(Component.organisation)
                ).all()
            )
            approved = session.scalars(
                select(Organisation).where(Organisation.state == "approved")
            ).all()
            regions: Counter[str | None] = Counter()
            for row in approved:
                regions[owner_of(row).region] += in_organisation.get(row.name, 0)
        return Figures(
            components=sum(kinds.values()),
            versions=sum(by_month.values()),
            organisations=len(approved),
            bytes=int(total or 0),
            releases={at: by_month.get(f"{at:%Y-%m}", 0) for at in _months(now)},
            kinds=kinds,
            regions={region: count for region, count in regions.items() if count},
            decisions={at: decided.get(f"{at:%Y-%m}", 0) for at in _months(now)},
        )


def _month(column: Any, *, sqlite: bool) -> Any:
    """The month of a moment, like 2026-03."""
    # Literals: PostgreSQL takes two parameters for two different expressions.
    if sqlite:
        return func.strftime(literal_column("'%Y-%m'"), column)
    return func.to_char(column, literal_column("'YYYY-MM'"))


def _months(now: datetime) -> list[date]:
    """The first days of this month and those before it, oldest first."""
    number = now.astimezone(UTC).year * 12 + now.astimezone(UTC).month - 1
    return [date(at // 12, at % 12 + 1, 1) for at in range(number - MONTHS + 1, number + 1)]


def _since(one: Tombstone) -> datetime:
    return one.since or datetime.min.replace(tzinfo=UTC)


def _tombstone(row: Withholding) -> Tombstone:
    return Tombstone(
        component=row.component,
        version=row.version,
        state=row.state,
        reason=row.reason,
        since=row.since,
        reference=row.reference,
    )
