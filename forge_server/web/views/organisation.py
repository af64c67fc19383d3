"""Organisations and regions."""

from __future__ import annotations

from collections import Counter

from flask import Response

from signing.names import parse_org_name
from signing.profile import REGIONS

from ...api.requests import query_integer, registry
from ...errors import RegistryError
from ...search.base import Query
from .. import languages
from ..rendering import page


def organisation(organisation: str) -> Response:
    """Who it is, how to reach it, and what it published."""
    name = parse_org_name(organisation, "address")
    return page(
        "organisation.html",
        owner=registry().component_pages.owner(name),
        components=registry().registry_pages.components_of(name),
    )


def regions() -> Response:
    """Every region, with how many organisations there are."""
    found = registry().registry_pages.organisations()
    return page("regions.html", regions=REGIONS, counts=Counter(one.region for one in found))


def region(region: str) -> Response:
    """The organisations of a region, and their components."""
    if region not in REGIONS:
        raise RegistryError("not-found", f"expected a region like MA-04, found {region!r:.40}")
    results = registry().index.search(
        Query(
            chosen={"region": frozenset((region,))},
            sort="updated",
            page=query_integer("page", 1, low=1, high=1000),
            language=languages.language(),
        )
    )
    return page(
        "region.html",
        region=region,
        owners=registry().registry_pages.organisations(region),
        results=results,
    )
