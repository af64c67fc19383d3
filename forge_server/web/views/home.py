"""The first page, and the search."""

from __future__ import annotations

from flask import Response, request
from werkzeug.datastructures import MultiDict

from ...api.requests import query_integer, registry
from ...errors import RegistryError
from ...search.base import FACETS, MAX_PAGE, MAX_TEXT, SORTS, Query, Results
from .. import languages
from ..rendering import page, to

NEWEST = 6
_SHOWN = 8  # values of a facet before the rest is folded away
_MAX_VALUES = 30


def home() -> Response:
    """The search box, what is new, and where to go from here."""
    lang = languages.language()
    newest = registry().index.search(Query(sort="updated", per_page=NEWEST, language=lang))
    return page("home.html", newest=newest)


def search() -> Response:
    """What a search finds, with facets; every choice is a link, so it works without script."""
    query = asked()
    results = registry().index.search(query)
    return page(
        "search.html",
        query=query,
        results=results,
        address=_address,
        facets=_facets(query, results),
        sorts=SORTS,
        shown=_SHOWN,
        values=_MAX_VALUES,
        filtered=any(query.chosen.values()),
    )


def asked() -> Query:
    """The search that the parameters of this request ask for."""
    sort = request.args.get("sort", "relevance")
    if sort not in SORTS:
        raise RegistryError("malformed", f"request: sort: expected one of {', '.join(SORTS)}")
    return Query(
        text=request.args.get("q", "")[:MAX_TEXT].strip(),
        chosen={
            facet: frozenset(value[:100] for value in request.args.getlist(facet)[:20])
            for facet in FACETS
            if request.args.get(facet)
        },
        sort=sort,
        page=query_integer("page", 1, low=1, high=MAX_PAGE),
        language=languages.language(),
    )


def _facets(query: Query, results: Results) -> list[str]:
    """The facets that help to choose: those with values to choose from."""
    return [
        facet
        for facet in FACETS
        if len(results.facets.get(facet, ())) > 1 or query.chosen.get(facet)
    ]


def _address(
    query: Query, *, facet: str = "", value: str = "", sort: str = "", page: int = 1
) -> str:  # fmt: skip
    """The same search with that value chosen, or not chosen any more, or sorted otherwise."""
    chosen = {name: set(values) for name, values in query.chosen.items()}
    if facet:
        chosen.setdefault(facet, set()).symmetric_difference_update({value})
    arguments: MultiDict[str, str] = MultiDict()
    if query.text:
        arguments.add("q", query.text)
    for name in FACETS:
        for each in sorted(chosen.get(name, ())):
            arguments.add(name, each)
    order = sort or query.sort
    if order != "relevance":
        arguments.add("sort", order)
    if page != 1:
        arguments.add("page", str(page))
    return to("search", **arguments.to_dict(flat=False))
