"""How often components are fetched: counted in memory, written down now and then.

Who installs a release fetches its ``forge.toml``, once, and no two releases have the same one: so
that file's requests are counted, and no others. Of what caches, mirrors and a second copy on a disk
spare us nothing is counted, so the figures say at least how often. Nothing about who asked is kept,
and what was not written yet is lost with the process: a minute's worth at most while there is
traffic.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from signing.component import FILE_NAME

from ..db.engine import Database
from ..db.models import Component, Downloads, Organisation, Release, ReleaseFile
from ..errors import RegistryError
from ..logs import LOGGER
from .clock import Clock

EVERY: Final = timedelta(seconds=60)
_MAX_WAITING: Final = 10_000  # different digests in memory
_DAYS: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The last ninety days. ``by_day`` holds the days on which there were any, oldest first;
    ``by_region`` the regions of the publishing organisations, None where they state none."""

    total: int
    by_day: Sequence[tuple[date, int]]
    by_region: Mapping[str | None, int]


@dataclass(slots=True)
class DownloadCounter:
    database: Database
    clock: Clock
    _waiting: Counter[tuple[date, str]] = field(default_factory=Counter)
    _written_at: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, digest: str) -> None:
        """Notes that the blob was asked for; now and then writes down what was noted. Never
        fails: a download is worth more than its count."""
        now = self.clock()
        with self._lock:
            if len(self._waiting) < _MAX_WAITING:
                self._waiting[now.date(), digest] += 1
            self._written_at = self._written_at or now
            if now - self._written_at < EVERY:
                return
            self._written_at = now
        try:
            self.write()
        except (RegistryError, SQLAlchemyError) as error:
            LOGGER.warning("downloads not counted: %s", type(error).__name__)

    def write(self) -> int:
        """Writes down what was noted; returns how many downloads that were."""
        with self._lock:
            waiting, self._waiting = self._waiting, Counter()
        if not waiting:
            return 0
        with self.database.read() as session:
            owners = _owners(session, {digest for _, digest in waiting})
        counts: Counter[tuple[date, int]] = Counter()
        for (day, digest), number in waiting.items():
            if digest in owners:
                counts[day, owners[digest]] += number
        if counts:
            with self.database.write() as session:
                for (day, component), number in counts.items():
                    _add(session, day, component, number)
        return counts.total()

    def recent(self, component: tuple[str, str] | None = None) -> Recent:
        """Of everything, or of one component, ``(organisation, name)``."""
        since = self.clock().date() - timedelta(days=_DAYS)
        query = (
            select(Downloads.day, Organisation.region, func.sum(Downloads.count))
            .join(Component, Downloads.component_id == Component.id)
            .join(Organisation, Component.organisation == Organisation.name)
            .where(Downloads.day > since)
            .group_by(Downloads.day, Organisation.region)
            .order_by(Downloads.day)
        )
        if component is not None:
            query = query.where(
                Component.organisation == component[0], Component.name == component[1]
            )
        days: Counter[date] = Counter()
        regions: Counter[str | None] = Counter()
        with self.database.read() as session:
            for day, region, number in session.execute(query):
                days[day] += int(number)
                regions[region] += int(number)
        return Recent(total=days.total(), by_day=list(days.items()), by_region=dict(regions))


def _owners(session: Session, digests: set[str]) -> dict[str, int]:
    """``{digest: component id}`` of those that are the ``forge.toml`` of a release."""
    owners: dict[str, int] = {}
    wanted = sorted(digests)
    for start in range(0, len(wanted), 500):
        rows = session.execute(
            select(ReleaseFile.sha256, Release.component_id)
            .join(Release, ReleaseFile.release_id == Release.id)
            .where(
                ReleaseFile.sha256.in_(wanted[start : start + 500]), ReleaseFile.path == FILE_NAME
            )
        )
        owners.update((digest, component) for digest, component in rows)
    return owners


def _add(session: Session, day: date, component: int, number: int) -> None:
    row = session.get(Downloads, (component, day))
    if row is None:
        session.add(Downloads(component_id=component, day=day, count=number))
    else:
        row.count += number
