"""What feeds and sitemaps list: the newest releases, notices about what was taken back, and every
component in parts. All in the order in which it happened, and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select

from ..db.engine import Database
from ..db.models import Component, Event, Organisation, Release
from .audit import DONE

MAX_ENTRIES: Final = 50
PER_PART: Final = 12_500
"""Components in one part of the sitemap: in four languages they are the 50,000 addresses that one
file may hold (sitemaps.org)."""
NOTICES: Final = (
    "release.yank", "release.unyank", "release.quarantine", "release.unquarantine",
    "release.revoke", "release.deprecate", "release.undeprecate", "release.hold",
    "release.unhold", "release.takedown", "recall.start",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A release as a feed lists it."""

    component: str
    version: str
    kind: str
    summary: str
    manifest_sha256: str
    size: int
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that was done to a release after it was published. ``number`` is the event's."""

    number: int
    at: datetime
    act: str
    component: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    component: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Feeds:
    database: Database

    def newest(self, organisation: str) -> list[Published]:
        """The newest releases of an organisation, newest first."""
        query = (
            select(Component.organisation, Component.name, Release)
            .join(Component, Release.component_id == Component.id)
            .where(Component.organisation == organisation)
            .order_by(Release.published_at.desc(), Release.id.desc())
            .limit(MAX_ENTRIES)
        )
        with self.database.read() as session:
            return [
                Published(
                    component=f"{owner}/{name}",
                    version=release.version,
                    kind=release.kind,
                    summary=release.details["summary"],
                    manifest_sha256=release.manifest_sha256,
                    size=release.total_bytes,
                    published_at=release.published_at,
                )
                for owner, name, release in session.execute(query)
            ]

    def notices(self) -> list[Notice]:
        """What was withdrawn, stopped, revoked or taken back from that, newest first."""
        query = (
            select(Event)
            .where(Event.action.in_(NOTICES), Event.outcome == DONE)
            .order_by(Event.id.desc())
            .limit(MAX_ENTRIES)
        )
        with self.database.read() as session:
            return [_notice(event) for event in session.scalars(query)]

    def parts(self) -> int:
        """In how many parts every component can be listed."""
        with self.database.read() as session:
            last = session.scalar(select(func.max(Component.id))) or 0
            return max(1, -(-last // PER_PART))

    def part(self, number: int) -> list[Address]:
        """The components of one part, from 1 on. A component never moves to another one."""
        query = (
            select(Component.organisation, Component.name, Component.updated_at)
            .where(Component.id.between((number - 1) * PER_PART + 1, number * PER_PART))
            .order_by(Component.id)
        )
        with self.database.read() as session:
            return [
                Address(component=f"{organisation}/{name}", updated_at=at)
                for organisation, name, at in session.execute(query)
            ]

    def organisations(self) -> Sequence[str]:
        """The names of all approved organisations."""
        query = select(Organisation.name).where(Organisation.state == "approved")
        with self.database.read() as session:
            return session.scalars(query.order_by(Organisation.name)).all()


def _notice(event: Event) -> Notice:
    component, _, version = (event.subject or "").partition("==")
    return Notice(
        number=event.id,
        at=event.at,
        act=event.action,
        component=component,
        version=version,
        reason=str(event.detail.get("reason") or ""),
    )
