"""``/`` and ``/components``: what this registry is, and what is in it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from signing.names import ComponentName

from .. import __version__
from ..services.catalogue import MAX_PAGE, ComponentDetails
from .rendering import (
    expiring_json,
    instant,
    optional_deprecation,
    optional_withheld,
    status_json,
)
from .requests import answer, audited, query_integer, registry


def add_routes(api: Blueprint) -> None:
    api.get("/")(describe)
    api.get("/health")(show_health)
    api.get("/components")(search)
    api.get("/components/<organisation>/<name>")(show_component)


@audited("registry.show")
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


@audited("registry.health")
def show_health() -> Response:
    return health_answer()


def health_answer() -> Response:
    """The registry's state, for programs; also at ``/health``."""
    state = registry().health.state()
    return answer(
        {
            "status": state.status,
            "read_only": state.read_only,
            "checked_at": instant(state.checked_at),
            "snapshot_version": state.snapshot_version,
            "expiring": [expiring_json(item) for item in state.expiring],
            "status_role": status_json(state.status_role),
        }
    )


@audited("component.search")
def search() -> Response:
    page = registry().catalogue.search(
        request.args.get("q", "")[:200],
        limit=query_integer("limit", 50, low=1, high=MAX_PAGE),
        offset=query_integer("offset", 0, low=0, high=10**8),
    )
    items = [
        {
            "component": item.component,
            "kind": item.kind,
            "summary": item.summary,
            "latest": item.latest,
            "versions": item.versions,
            "license": item.license,
            "updated_at": instant(item.updated_at),
            "yanked": item.yanked,
            "withheld": optional_withheld(item.withheld),
            "deprecated": optional_deprecation(item.deprecated),
        }
        for item in page.items
    ]
    return answer({"total": page.total, "items": items})


@audited("component.show")
def show_component(organisation: str, name: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    return answer(_details(registry().catalogue.component(component)))


def _details(details: ComponentDetails) -> dict[str, Any]:
    return {
        "component": details.component,
        "kind": details.kind,
        "summary": details.summary,
        "license": details.license,
        "languages": list(details.languages),
        "tasks": list(details.tasks),
        "latest": details.latest,
        "expiring": [expiring_json(item) for item in details.expiring],
        "organisation": {
            "name": details.organisation,
            "display_name": details.organisation_display_name,
            "kind": details.organisation_kind,
        },
        "versions": [
            {
                "version": item.version,
                "manifest_sha256": item.manifest_sha256,
                "size": item.size,
                "files": item.files,
                "published_at": instant(item.published_at),
                "publisher": item.publisher,
                "publisher_key": item.publisher_key,
                "requires": item.requires,
                "yanked": item.yanked,
                "yanked_successor": item.yanked_successor,
                "deprecated": optional_deprecation(item.deprecated),
                "withheld": optional_withheld(item.withheld),
            }
            for item in details.versions
        ],
    }
