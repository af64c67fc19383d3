"""What is asked of a search, what it answers, and what an index promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from signing.errors import MalformedError

FACETS: Final = (
    "kind",
    "task",
    "language",
    "organisation_kind",
    "region",
    "licence",
    "review",
    "risk",
    "format",
    "size",
)
SORTS: Final = ("relevance", "updated", "name", "size")
UNKNOWN: Final = "unknown"
"""The value of a facet about which nobody said anything."""
SIZES: Final[Mapping[str, int | None]] = {
    "up-to-1-mb": 10**6,
    "up-to-10-mb": 10**7,
    "up-to-100-mb": 10**8,
    "up-to-1-gb": 10**9,
    "up-to-10-gb": 10**10,
    "over-10-gb": None,
}
"""The values of the facet ``size``, each with the most bytes that it stands for."""
NO_LANGUAGE: Final = "und"
"""Undetermined (ISO 639-2): the summary in ``forge.toml`` does not say its language."""
MAX_TEXT: Final = 200
MAX_PER_PAGE: Final = 100
MAX_PAGE: Final = 10_000
_MAX_CHOSEN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """``text`` as somebody typed it, ``chosen`` values of facets: any of one facet's, and of every
    facet one. ``language`` is the reader's. ``page`` counts from 1.

    Raises:
        MalformedError: an unknown facet or order, or a number out of its range.
    """

    text: str = ""
    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    sort: str = "relevance"
    page: int = 1
    per_page: int = 20
    language: str = "en"

    def __post_init__(self) -> None:
        for name in self.chosen:
            if name not in FACETS:
                raise MalformedError("search", f"one of {', '.join(FACETS)}", f"{name!r:.60}")
        if sum(map(len, self.chosen.values())) > _MAX_CHOSEN:
            raise MalformedError("search", f"at most {_MAX_CHOSEN} choices", "more")
        if self.sort not in SORTS:
            raise MalformedError("search: sort", f"one of {', '.join(SORTS)}", f"{self.sort!r:.60}")
        for name, value, most in (
            ("page", self.page, MAX_PAGE),
            ("per_page", self.per_page, MAX_PER_PAGE),
        ):
            if not 1 <= value <= most:
                raise MalformedError(f"search: {name}", f"1 to {most}", str(value)[:20])
        # What is longer than any name or summary finds nothing more, and costs something.
        object.__setattr__(self, "text", self.text[:MAX_TEXT])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One component, described by its latest version. ``title`` and ``summary`` by language, empty
    where the publisher gives none; a text whose language is not said stands under `NO_LANGUAGE`.
    What nobody said is None, and never made up. ``states`` are those of `web.words`
    that are not ``good``; ``exact``: its name is what was asked for."""

    organisation: str
    name: str
    version: str | None
    title: Mapping[str, str]
    summary: Mapping[str, str]
    organisation_title: str
    organisation_names: Mapping[str, str]
    kind: str
    task: str | None
    licence: str | None
    languages: tuple[str, ...]
    region: str | None
    size: int
    updated_at: datetime
    review: str
    risk: str | None
    states: tuple[str, ...]
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetValue:
    """``count`` is how many components have this value under the other facets' choices."""

    value: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """``facets`` holds the commonest values of each first. ``suggestions`` are components with
    names that are near, or the same in another script, when nothing or little was found.
    ``respelt``: nothing holds a word as it was typed, and the hits hold one that is near it."""

    hits: Sequence[Hit]
    total: int
    page: int
    pages: int
    facets: Mapping[str, Sequence[FacetValue]]
    suggestions: Sequence[Hit]
    respelt: bool


class Index(Protocol):
    """Every implementation finds the same first hits for the corpus in ``tests/search_corpus.py``.

    A component whose name, or organisation and name, is what was asked for comes first, in every
    order. The text is never read as a language of the database's own.
    """

    def search(self, query: Query) -> Results:
        """One page of what there is; the same index gives the same query the same answer."""
        ...

    def refresh(self) -> int:
        """Indexes what changed since the last time; returns how many components. Called after a
        publish and by the worker; many may call it at once, and it may die at any moment."""
        ...

    def rebuild(self) -> int:
        """Throws the index away and makes it again; returns how many components are in it."""
        ...
