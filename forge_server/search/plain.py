"""An index without an index: every component is looked at for each search.

It serves a registry of some hundred components and the tests of the pages; see `base` for what it
promises.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sqlalchemy import select

from ..db.engine import Database
from ..db.models import Component, Organisation, Release
from ..services.pages_component import Owner, owner_of
from ..services.status import withheld_by_digest
from .base import FACETS, SIZES, UNKNOWN, FacetValue, Hit, Query, Results


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    hit: Hit
    values: Mapping[str, frozenset[str]]
    words: str


@dataclass(frozen=True, slots=True)
class PlainIndex:
    database: Database

    def search(self, query: Query) -> Results:
        words = _folded(query.text).split()
        rows = [row for row in self._rows(query) if all(word in row.words for word in words)]
        found = [row for row in rows if _chosen(row, query, FACETS)]
        hits = sorted((row.hit for row in found), key=lambda hit: _order(hit, query.sort))
        hits.sort(key=lambda hit: not hit.exact)
        first = (query.page - 1) * query.per_page
        return Results(
            hits=hits[first : first + query.per_page],
            total=len(hits),
            page=query.page,
            pages=max(1, -(-len(hits) // query.per_page)),
            facets={facet: _facet(rows, query, facet) for facet in FACETS},
            suggestions=[] if hits else self._near(query.text),
        )

    def refresh(self) -> int:
        return 0

    def rebuild(self) -> int:
        return 0

    def _near(self, text: str) -> list[str]:
        with self.database.read() as session:
            names = session.execute(select(Component.organisation, Component.name)).all()
        by_name = {name: f"{organisation}/{name}" for organisation, name in names}
        return [by_name[name] for name in get_close_matches(_folded(text), by_name, 5, 0.6)]

    def _rows(self, query: Query) -> list[_Row]:
        with self.database.read() as session:
            withheld = withheld_by_digest(session)
            rows = session.execute(
                select(Component, Organisation, Release)
                .join(Organisation, Component.organisation == Organisation.name)
                .join(
                    Release,
                    (Release.component_id == Component.id) & (Release.version == Component.latest),
                )
            )
            return [
                _row(component, owner_of(organisation), release, withheld, query.text)
                for component, organisation, release in rows
            ]


def _row(
    component: Component, owner: Owner, release: Release, withheld: Mapping[str, Any], text: str
) -> _Row:  # fmt: skip
    full = f"{component.organisation}/{component.name}"
    one = withheld.get(release.manifest_sha256)
    states = [one.state] if one is not None else []
    if release.yanked is not None:
        states.append("yanked")
    risk = (release.details.get("risk") or {}).get("class")
    size = next(name for name, most in SIZES.items() if most is None or release.total_bytes <= most)
    hit = Hit(
        organisation=component.organisation,
        name=component.name,
        version=component.latest,
        title={},
        summary={"": component.summary},
        organisation_title=owner.display_name,
        kind=component.kind,
        task=component.tasks[0] if component.tasks else None,
        licence=component.license,
        languages=tuple(component.languages),
        region=owner.region,
        size=release.total_bytes,
        updated_at=component.updated_at,
        review="community",
        risk=risk,
        states=tuple(states),
        exact=text.strip().casefold() in (component.name, full),
    )
    return _Row(
        hit=hit,
        values={
            "kind": frozenset((component.kind,)),
            "task": frozenset(component.tasks or (UNKNOWN,)),
            "language": frozenset(component.languages or (UNKNOWN,)),
            "organisation_kind": frozenset((owner.kind,)),
            "region": frozenset((owner.region or UNKNOWN,)),
            "licence": frozenset((component.license,)),
            "review": frozenset(("community",)),
            "risk": frozenset((risk or UNKNOWN,)),
            "format": frozenset((UNKNOWN,)),
            "size": frozenset((size,)),
        },
        words=_folded(f"{component.search_text} {owner.display_name}"),
    )


def _chosen(row: _Row, query: Query, facets: Sequence[str]) -> bool:
    return all(
        row.values[facet] & query.chosen[facet]
        for facet in facets
        if query.chosen.get(facet)
    )  # fmt: skip


def _facet(rows: Sequence[_Row], query: Query, facet: str) -> list[FacetValue]:
    others = [other for other in FACETS if other != facet]
    counts = Counter(
        value for row in rows if _chosen(row, query, others) for value in row.values[facet]
    )
    chosen = query.chosen.get(facet, frozenset())
    return [
        FacetValue(value=value, count=count, chosen=value in chosen)
        for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _order(hit: Hit, sort: str) -> Any:
    by_name = (hit.organisation, hit.name)
    if sort == "updated":
        return (-hit.updated_at.timestamp(), by_name)
    return ((hit.size if sort == "size" else 0), by_name)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char))
