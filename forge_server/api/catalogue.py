"""``/`` and ``/components``: what this registry is, and what is in it."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response

from signing.assessment import LEVELS
from signing.names import ComponentName

from .. import __version__
from ..search.base import Query
from ..services.catalogue import MAX_PAGE, ComponentDetails
from .described import Parameter, asked, described
from .rendering import (
    DEPRECATION,
    EXPIRING,
    KIND,
    STATUS_ROLE,
    WITHHELD,
    optional_deprecation,
    optional_withheld,
    status_json,
)
from .requests import answer, registry
from .shapes import (
    BOOLEAN,
    COMPONENT,
    COUNT,
    DIGEST,
    INSTANT,
    OPTIONAL_TEXT,
    ORGANISATION,
    TEXT,
    TEXTS,
    VERSION,
    Integer,
    ListOf,
    MapOf,
    Nullable,
    Record,
    Text,
)

_MOST_NEAR: Final = 5
_REGISTRY: Final = Record(
    "Registry",
    {
        "name": TEXT,
        "api": Integer(low=1),
        "version": TEXT,
        "root_fingerprint": TEXT,
        "metadata_url": TEXT,
        "blobs_url": TEXT,
    },
)
_HEALTH: Final = Record(
    "Health",
    {
        "status": Text(choices=("ok", "warning", "problem", "read-only")),
        "read_only": OPTIONAL_TEXT,
        "checked_at": INSTANT,
        "snapshot_version": COUNT,
        "expiring": ListOf(EXPIRING),
        "status_role": Nullable(STATUS_ROLE),
    },
)
_ITEM: Final = Record(
    "ComponentItem",
    {
        "component": COMPONENT,
        "kind": KIND,
        "summary": TEXT,
        "latest": VERSION,
        "versions": COUNT,
        "license": TEXT,
        "updated_at": INSTANT,
        "yanked": BOOLEAN,
        "withheld": Nullable(WITHHELD),
        "deprecated": Nullable(DEPRECATION),
    },
    says="yanked says that all versions were; withheld and deprecated speak of the latest.",
)
_NEAR: Final = Record(
    "NearComponent",
    {
        "component": COMPONENT,
        "latest": Nullable(VERSION),
        "organisation_display_name": TEXT,
        "review": Text(choices=LEVELS),
        "states": TEXTS,
    },
    says="It is not what was asked for: whose it is and whether it was reviewed tell a slip of the "
    "finger from a name that was made to be mistaken for another.",
)
_VERSION: Final = Record(
    "ComponentVersion",
    {
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "size": COUNT,
        "files": COUNT,
        "published_at": INSTANT,
        "publisher": TEXT,
        "publisher_key": TEXT,
        "requires": MapOf(TEXT),
        "yanked": OPTIONAL_TEXT,
        "yanked_successor": OPTIONAL_TEXT,
        "deprecated": Nullable(DEPRECATION),
        "withheld": Nullable(WITHHELD),
    },
)
_COMPONENT: Final = Record(
    "Component",
    {
        "component": COMPONENT,
        "kind": KIND,
        "summary": TEXT,
        "license": TEXT,
        "languages": TEXTS,
        "tasks": TEXTS,
        "latest": VERSION,
        "expiring": ListOf(EXPIRING),
        "organisation": Record("Owner", {"name": ORGANISATION, "display_name": TEXT, "kind": TEXT}),
        "versions": ListOf(_VERSION, says="newest first"),
    },
)


def add_routes(api: Blueprint) -> None:
    api.get("/")(describe)
    api.get("/health")(show_health)
    api.get("/components")(search)
    api.get("/components/<organisation>/<name>")(show_component)


@described(
    "registry.show", "What this registry is, and the addresses of its planes.",
    answers={200: _REGISTRY},
)  # fmt: skip
def describe() -> Response:
    return answer(
        {
            "name": registry().settings.name,
            "api": 1,
            "version": __version__,
            "root_fingerprint": registry().fingerprint,
            "metadata_url": "/tuf/",
            "blobs_url": "/blobs/",
        }
    )


@described(
    "registry.health", "Whether the registry works, and what its operator must look at.",
    more="`status_role` is null, or the status host's word. For people and programs also at "
    "`/health`.",
    answers={200: _HEALTH},
)  # fmt: skip
def show_health() -> Response:
    return health_answer()


def health_answer() -> Response:
    """The registry's state, for programs; also at ``/health``."""
    state = registry().health.state()
    return answer(_HEALTH.of(state, status_role=status_json(state.status_role)))


@described(
    "component.search", "Components whose name, summary, languages or tasks hold every word.",
    query={
        "q": Parameter(shape=TEXT, says="the words; the first 200 characters count", default=""),
        "limit": Parameter(
            shape=Integer(low=1, high=MAX_PAGE), says="how many at most", default=50
        ),
        "offset": Parameter(
            shape=Integer(low=0, high=10**8), says="how many to pass over", default=0
        ),
    },
    more="Where nothing does, `near` holds components that it may have been meant for.",
    answers={
        200: Record("Page", {"total": COUNT, "items": ListOf(_ITEM), "near": ListOf(_NEAR)})
    },
)  # fmt: skip
def search() -> Response:
    page = registry().catalogue.search(
        asked("q")[:200], limit=asked("limit"), offset=asked("offset")
    )
    items = [
        _ITEM.of(
            item,
            withheld=optional_withheld(item.withheld),
            deprecated=optional_deprecation(item.deprecated),
        )
        for item in page.items
    ]
    near = [] if page.total else _near(asked("q"))
    return answer({"total": page.total, "items": items, "near": near})


def _near(text: str) -> list[dict[str, Any]]:
    """What the index of the pages finds, which knows of slips of the finger and of scripts."""
    if not text.strip():
        return []
    found = registry().index.search(Query(text=text, per_page=_MOST_NEAR))
    return [
        _NEAR.of(
            hit,
            component=f"{hit.organisation}/{hit.name}",
            latest=hit.version,
            organisation_display_name=hit.organisation_title,
        )
        for hit in [*found.hits, *found.suggestions][:_MOST_NEAR]
    ]


@described(
    "component.show", "A component with all its versions.",
    answers={200: _COMPONENT}, refusals=("component-not-found",),
)  # fmt: skip
def show_component(organisation: str, name: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    return answer(_details(registry().catalogue.component(component)))


def _details(details: ComponentDetails) -> dict[str, Any]:
    return _COMPONENT.of(
        details,
        organisation={
            "name": details.organisation,
            "display_name": details.organisation_display_name,
            "kind": details.organisation_kind,
        },
        versions=[
            _VERSION.of(
                item,
                deprecated=optional_deprecation(item.deprecated),
                withheld=optional_withheld(item.withheld),
            )
            for item in details.versions
        ],
    )
