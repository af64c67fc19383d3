"""Lists of models and datasets, as Hugging Face's clients ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from signing.names import ComponentName, OrgName, ProjectName

from ..db.engine import Database
from ..db.models import Component, Release
from .releases import Served, served_of
from .serving import Gate, Standing, newest

MAX_PAGE: Final = 100
_MAX_SCANNED: Final = 1000  # components looked at for one page
_BATCH: Final = 100
_SORTS: Final = {
    "createdAt": Component.created_at,
    "created_at": Component.created_at,
    "lastModified": Component.updated_at,
    "last_modified": Component.updated_at,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """``tags``: all of them, as `info_json` writes them, in any case. ``start``: how many
    components, in this order, were looked at before."""

    kind: str
    search: str = ""
    author: str | None = None
    tags: Sequence[str] = ()
    sort: str = "lastModified"
    limit: int = MAX_PAGE
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """``next`` is the ``start`` of the next page; None: there is none."""

    releases: Sequence[Served]
    next: int | None


@dataclass(frozen=True, slots=True)
class HubListing:
    database: Database

    def list(self, wish: Wish) -> Listed:
        """The newest release that may be picked of each component that fits. Components of which
        none may be picked are left out."""
        found: list[Served] = []
        most = min(wish.limit, MAX_PAGE)
        with self.database.read() as session:
            gate = Gate.of(session)
            query = _fitting(wish)
            for start in range(wish.start, wish.start + _MAX_SCANNED, _BATCH):
                rows = session.execute(query.limit(_BATCH).offset(start)).all()
                releases = _releases(session, rows, gate)
                for at, (number, _, _) in enumerate(rows):
                    if len(found) == most:
                        return Listed(releases=found, next=start + at)
                    release = newest(releases[number])
                    if release is not None and _has_tags(release, wish.tags):
                        found.append(release)
                if len(rows) < _BATCH:
                    return Listed(releases=found, next=None)
        return Listed(releases=found, next=wish.start + _MAX_SCANNED)


def _releases(
    session: Session, rows: Sequence[Row[int, str, str]], gate: Gate
) -> dict[int, list[tuple[str, Standing, Served]]]:
    """The releases of each of the components ``(id, organisation, name)``."""
    names = {row: ComponentName(OrgName(org), ProjectName(name)) for row, org, name in rows}
    found: dict[int, list[tuple[str, Standing, Served]]] = {row: [] for row in names}
    for row in session.scalars(select(Release).where(Release.component_id.in_(names))):
        release = served_of(names[row.component_id], row, gate)
        found[row.component_id].append((release.version, release.standing, release))
    return found


def _fitting(wish: Wish) -> Select[int, str, str]:
    query = select(Component.id, Component.organisation, Component.name).where(
        Component.kind == wish.kind
    )
    if wish.author is not None:
        query = query.where(Component.organisation == wish.author)
    words = [*wish.search.casefold().split()[:8]]
    for tag in wish.tags:
        if tag.casefold().startswith("license:"):
            query = query.where(
                func.lower(Component.license) == tag.casefold().removeprefix("license:")
            )
        else:
            words.append(tag.casefold())
    for word in words:
        query = query.where(Component.search_text.contains(word, autoescape=True))
    order = _SORTS.get(wish.sort, Component.updated_at)
    return query.order_by(order.desc(), Component.id)


def _has_tags(release: Served, tags: Sequence[str]) -> bool:
    details = release.details
    own = {*details["tasks"], *details["languages"], f"license:{details['license']}"}
    return {tag.casefold() for tag in tags} <= {each.casefold() for each in own}
