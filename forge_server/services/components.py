"""Components and their releases: finding a row, and what the catalogue derives from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from secrets import randbits
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, insert, select
from sqlalchemy.orm import Session

from signing.deprecation import Deprecation
from signing.names import ComponentName
from signing.roles import IndexEntry

from ..db.models import Component, Release, Requirement
from ..domain.versions import latest_version
from ..search.tables import WAITING

# Made once: every publish asks them.
_COMPONENT: Final = select(Component).where(
    Component.organisation == bindparam("org"), Component.name == bindparam("name")
)
_RELEASE: Final = (
    select(Release)
    .join(Component, Release.component_id == Component.id)
    .where(
        Component.organisation == bindparam("org"),
        Component.name == bindparam("name"),
        Release.version == bindparam("version"),
    )
)


def find_component(session: Session, name: ComponentName) -> Component | None:
    """The row of a component; None when nothing of it was published."""
    return session.scalar(_COMPONENT, {"org": name.org, "name": name.name})


def find_release(session: Session, name: ComponentName, version: str) -> Release | None:
    """The row of a release; None when the version is not published."""
    return session.scalar(_RELEASE, {"org": name.org, "name": name.name, "version": version})


def refresh_component(session: Session, row: Component, now: datetime) -> None:
    """Derives the component's description from its releases as they are in this transaction."""
    releases = session.execute(
        select(Release.version, Release.yanked).where(Release.component_id == row.id)
    ).all()
    latest = latest_version((version, yanked is not None) for version, yanked in releases)
    assert latest is not None
    newest = session.scalars(
        select(Release).where(Release.component_id == row.id, Release.version == latest)
    ).one()
    row.latest = latest
    row.versions = len(releases)
    row.kind = newest.kind
    row.summary = newest.details["summary"]
    row.license = newest.details["license"]
    row.languages = newest.details["languages"]
    row.tasks = newest.details["tasks"]
    row.updated_at = now
    words = [row.organisation, row.name, row.kind, row.summary, *row.languages, *row.tasks]
    _note_requirements(session, row.id, newest.details["requires"])
    mark_changed(session, Component.id == row.id)
    row.search_text = f"{row.organisation}/{row.name} {' '.join(words)}".casefold()


def take_over(release: Release, entry: IndexEntry) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Repeats in the catalogue what the index says of a release that may change; yields the acts
    that this is, with their details."""
    said = entry.deprecated
    if (release.yanked, release.yanked_successor) != (entry.yanked, entry.yanked_successor):
        release.yanked, release.yanked_successor = entry.yanked, entry.yanked_successor
        act = "release.yank" if entry.yanked is not None else "release.unyank"
        yield act, {"reason": entry.yanked, "successor": entry.yanked_successor}
    if release.deprecated != (None if said is None else said.to_json()):
        release.deprecated = None if said is None else said.to_json()
        if said is None:
            yield "release.undeprecate", {"reason": None}
        else:
            yield "release.deprecate", {"reason": said.reason, "successor": said.successor}


def deprecation_of(release: Release) -> Deprecation | None:
    """What its publisher said of the release, as the catalogue repeats it."""
    return None if release.deprecated is None else Deprecation(**release.deprecated)


def _note_requirements(session: Session, component_id: int, requires: Iterable[str]) -> None:
    session.execute(delete(Requirement).where(Requirement.component_id == component_id))
    session.add_all(Requirement(component_id=component_id, required=each) for each in requires)


def mark_changed(session: Session, condition: ColumnElement[bool]) -> None:
    """Leaves word, in this transaction, that the components of ``condition`` must be indexed for
    search again."""
    ids = session.scalars(select(Component.id).where(condition)).all()
    for start in range(0, len(ids), 500):  # far below SQLite's limit of parameters
        part = ids[start : start + 500]
        session.execute(delete(WAITING).where(WAITING.c.component_id.in_(part)))
        # Made up, so that whoever is indexing the component right now sees that it changed.
        rows = [{"component_id": each, "mark": randbits(62)} for each in part]
        session.execute(insert(WAITING), rows)
