"""Components and their releases: finding a row, and what the catalogue derives from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from secrets import randbits
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, insert, select, tuple_
from sqlalchemy.orm import Session

from signing.deprecation import Deprecation
from signing.names import ComponentName, OrgName, ProjectName
from signing.roles import IndexEntry

from ..db.engine import upsert
from ..db.later import later
from ..db.models import Component, Release, Requirement, ReviewStatement, table_of
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

_RELEASES: Final = table_of(Release).c
_COMPONENTS: Final = table_of(Component).c
_SEVERAL: Final = select(Component).where(
    tuple_(Component.organisation, Component.name).in_(bindparam("pairs", expanding=True))
)
_VERSIONS: Final = select(_RELEASES.component_id, _RELEASES.version, _RELEASES.yanked).where(
    _RELEASES.component_id.in_(bindparam("components", expanding=True))
)
_REQUIREMENTS: Final = table_of(Requirement)
_FORGET_REQUIREMENTS: Final = delete(_REQUIREMENTS).where(
    _REQUIREMENTS.c.component_id.in_(bindparam("components", expanding=True))
)
_PUBLISHED: Final = (
    select(_COMPONENTS.organisation, _COMPONENTS.name, _RELEASES.version)
    .join(table_of(Component), _RELEASES.component_id == _COMPONENTS.id)
    .where(
        tuple_(_COMPONENTS.organisation, _COMPONENTS.name, _RELEASES.version).in_(
            bindparam("triples", expanding=True)
        )
    )
)


def find_components(
    session: Session, names: Iterable[ComponentName]
) -> dict[ComponentName, Component]:
    """The rows of those of ``names`` of which something was published, in one question."""
    pairs = sorted({(each.org, each.name) for each in names})
    found = session.scalars(_SEVERAL, {"pairs": pairs})
    return {ComponentName(OrgName(row.organisation), ProjectName(row.name)): row for row in found}


def versions_of(
    session: Session, components: Iterable[Component]
) -> dict[int, list[tuple[str, str | None]]]:
    """``{component id: [(version, why it is yanked or None)]}``, in one question."""
    versions: dict[int, list[tuple[str, str | None]]] = {each.id: [] for each in components}
    asked = {"components": sorted(versions)}
    for number, version, yanked in session.connection().execute(_VERSIONS, asked):
        versions[number].append((version, yanked))
    return versions


def published_of(
    session: Session, asked: Iterable[tuple[ComponentName, str]]
) -> set[tuple[ComponentName, str]]:
    """Those of ``(component, version)`` that are published; costs less than to find them."""
    triples = sorted({(name.org, name.name, version) for name, version in asked})
    found = session.connection().execute(_PUBLISHED, {"triples": triples})
    return {
        (ComponentName(OrgName(org), ProjectName(name)), version) for org, name, version in found
    }


def find_component(session: Session, name: ComponentName) -> Component | None:
    """The row of a component; None when nothing of it was published."""
    return session.scalar(_COMPONENT, {"org": name.org, "name": name.name})


def find_release(session: Session, name: ComponentName, version: str) -> Release | None:
    """The row of a release; None when the version is not published."""
    return session.scalar(_RELEASE, {"org": name.org, "name": name.name, "version": version})


def is_published(session: Session, name: ComponentName, version: str) -> bool:
    """Whether there is such a release; costs less than to find it."""
    return bool(published_of(session, [(name, version)]))


def refresh_component(
    session: Session,
    row: Component,
    now: datetime,
    added: Release | None = None,
    others: Sequence[tuple[str, str | None]] | None = None,
) -> None:
    """Derives the component's description from its releases as they are in this transaction, of
    which ``added`` has just become one. ``others`` are all before it, where they are known."""
    if others is None:
        releases = versions_of(session, [row])[row.id]
    else:
        releases = [*others, *([(added.version, added.yanked)] if added is not None else ())]
    latest = latest_version((version, yanked is not None) for version, yanked in releases)
    assert latest is not None
    newest = added
    if newest is None or newest.version != latest:
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
    later(session, _note_requirements, (row.id, newest.details["requires"]))
    later(session, _mark, row.id)
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


def _note_requirements(session: Session, found: list[tuple[int, Iterable[str]]]) -> None:
    newest = dict(found)
    session.connection().execute(_FORGET_REQUIREMENTS, {"components": list(newest)})
    rows = [
        {"component_id": number, "required": each}
        for number, requires in newest.items()
        for each in requires
    ]
    if rows:
        session.connection().execute(insert(_REQUIREMENTS), rows)


def mark_reviewed(session: Session, name: ComponentName) -> None:
    """`mark_changed` for a component that reviewers said something about: what was found in it, or
    settled, may change its level."""
    said = exists().where(ReviewStatement.component == str(name))
    mark_changed(
        session,
        and_(Component.organisation == name.org, Component.name == name.name, said),
    )


def mark_changed(session: Session, condition: ColumnElement[bool]) -> None:
    """Leaves word, in this transaction, that the components of ``condition`` must be indexed for
    search again."""
    ids = session.scalars(select(Component.id).where(condition)).all()
    for start in range(0, len(ids), 500):  # far below SQLite's limit of parameters
        _mark(session, ids[start : start + 500])


def _mark(session: Session, ids: Sequence[int]) -> None:
    query = upsert(session, WAITING)
    # Made up, so that whoever is indexing the component right now sees that it changed.
    rows = [{"component_id": each, "mark": randbits(62)} for each in sorted(set(ids))]
    session.execute(
        query.on_conflict_do_update(
            index_elements=[WAITING.c.component_id], set_={"mark": query.excluded.mark}
        ),
        rows,
    )
