"""What the registry holds, in numbers: `forge-server stats`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, extract, func, select
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..db.models import BlobDamage, Component, Organisation, Release, ReleaseFile
from ..domain.amounts import show_bytes
from .collection import last_collection
from .log import log_size


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationStats:
    name: str
    components: int
    releases: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthStats:
    """What was published in a month, ``2026-01``."""

    month: str
    releases: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """``logical_bytes`` is the sum of all releases; in ``deduplicated_bytes`` each file counts
    once, however many releases have it; ``stored_bytes`` adds what belonged to no release when the
    last `forge-server gc` looked. Manifests, bundles and chunk lists are not counted. The three
    members about that walk are None where there was none."""

    organisations: int
    components: int
    releases: int
    files: int
    logical_bytes: int
    deduplicated_bytes: int
    stored_bytes: int
    log_entries: int
    damaged_blobs: int
    collected_at: str | None
    unreferenced_blobs: int | None
    unreferenced_bytes: int | None
    by_organisation: tuple[OrganisationStats, ...]
    by_month: tuple[MonthStats, ...]


def count(database: Database) -> Stats:
    """The numbers of this moment."""
    with database.read() as session:
        files = select(func.max(ReleaseFile.size).label("size")).group_by(ReleaseFile.sha256)
        once = _number(session, func.sum(files.subquery().c.size))
        last = last_collection(session)
        # What is left: those that wait for the end of their grace period.
        left = None if last is None else last.unreferenced - last.deleted
        left_bytes = None if last is None else last.unreferenced_bytes - last.deleted_bytes
        return Stats(
            organisations=_number(
                session, func.count(Organisation.name), Organisation.state == "approved"
            ),
            components=_number(session, func.count(Component.id)),
            releases=_number(session, func.count(Release.id)),
            files=_number(session, func.sum(Release.file_count)),
            logical_bytes=_number(session, func.sum(Release.total_bytes)),
            deduplicated_bytes=once,
            stored_bytes=once + (left_bytes or 0),
            log_entries=log_size(session),
            damaged_blobs=_number(session, func.count(BlobDamage.sha256)),
            collected_at=None if last is None else last.finished_at or last.started_at,
            unreferenced_blobs=left,
            unreferenced_bytes=left_bytes,
            by_organisation=tuple(_organisations(session)),
            by_month=tuple(_months(session)),
        )


def _number(session: Session, what: Any, *conditions: ColumnElement[bool]) -> int:
    return int(session.scalar(select(what).where(*conditions)) or 0)


def _organisations(session: Session) -> Iterator[OrganisationStats]:
    query = (
        select(
            Component.organisation,
            func.count(Component.id.distinct()),
            func.count(Release.id),
            func.sum(Release.total_bytes),
        )
        .join(Release, Release.component_id == Component.id)
        .group_by(Component.organisation)
        .order_by(Component.organisation)
    )
    for name, components, releases, size in session.execute(query):
        yield OrganisationStats(
            name=name, components=components, releases=releases, bytes=int(size)
        )


def _months(session: Session) -> Iterator[MonthStats]:
    year, month = (extract(part, Release.published_at) for part in ("year", "month"))
    query = select(year, month, func.count(), func.sum(Release.total_bytes))
    for when, number, releases, size in session.execute(
        query.group_by(year, month).order_by(year, month)
    ):
        yield MonthStats(
            month=f"{int(when):04}-{int(number):02}", releases=releases, bytes=int(size)
        )


def lines(found: Stats) -> Iterator[str]:
    """The same for people."""
    yield f"organisations  {found.organisations}"
    yield f"components     {found.components}"
    yield f"releases       {found.releases}, {found.files} files, {show_bytes(found.logical_bytes)}"
    yield f"each file once {show_bytes(found.deduplicated_bytes)}"
    yield f"stored         {show_bytes(found.stored_bytes)}"
    yield f"public log     {found.log_entries} entries"
    if found.collected_at is None:
        yield "unreferenced   not counted yet (forge-server gc)"
    else:
        size = show_bytes(found.unreferenced_bytes or 0)
        yield f"unreferenced   {found.unreferenced_blobs} blobs, {size} ({found.collected_at})"
    if found.damaged_blobs:
        yield f"damaged        {found.damaged_blobs} blobs (forge-server scrub)"
    if found.by_organisation:
        yield ""
    for row in found.by_organisation:
        yield (
            f"{row.name:40}  {row.components:>6} components  {row.releases:>7} releases  "
            f"{show_bytes(row.bytes):>10}"
        )
    if found.by_month:
        yield ""
    for month in found.by_month:
        yield f"{month.month}  {month.releases:>7} releases  {show_bytes(month.bytes):>10}"
