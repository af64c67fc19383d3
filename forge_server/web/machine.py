"""The pages for programs: JSON at the address of each page, and JSON-LD; beside them what is taken
into other places (`syndication`)."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from signing.names import parse_org_name
from signing.profile import REGIONS

from ..api.requests import query_integer, registry
from ..errors import RegistryError
from ..search.base import Query
from ..services.pages_component import MAX_FILES
from . import languages, syndication, twins
from .answers import json_answer
from .meanings import MEANINGS
from .views import component as sheets
from .views.home import NEWEST, asked
from .views.verify import digest_of

_LANG: Final = f"/<any({','.join(languages.LANGUAGES)}):lang>"
_COMPONENT: Final = f"{_LANG}/<organisation>/<name>"


def blueprint() -> Blueprint:
    """A fresh blueprint with every address that is for programs."""
    machine = Blueprint("machine", __name__)
    machine.url_value_preprocessor(_language)
    for path, view in (
        (f"{_LANG}/index.json", home),
        (f"{_LANG}/search.json", search),
        (f"{_LANG}/trust.json", trust),
        (f"{_LANG}/log.json", log),
        (f"{_LANG}/reviews.json", reviews),
        (f"{_LANG}/tombstones.json", tombstones),
        (f"{_LANG}/statistics.json", statistics),
        (f"{_LANG}/regions.json", regions),
        (f"{_LANG}/regions/<region>.json", region),
        (f"{_LANG}/verify.json", verify),
        (f"{_LANG}/<organisation>.json", organisation),
        (f"{_COMPONENT}.json", component),
        (f"{_COMPONENT}/versions.json", versions),
        (f"{_COMPONENT}/files.json", files),
        (f"{_COMPONENT}/tensors.json", tensors),
        (f"{_COMPONENT}/lineage.json", lineage),
        (f"{_COMPONENT}/security.json", security),
        (f"{_COMPONENT}/use.json", use),
        (f"{_COMPONENT}/history.json", history),
        (f"{_COMPONENT}/<version>.json", security),
        (f"{_COMPONENT}.jsonld", json_ld),
        (f"{_COMPONENT}.atom", syndication.component_feed),
        (f"{_LANG}/<organisation>.atom", syndication.organisation_feed),
        (f"{_LANG}/tombstones.atom", syndication.notices),
        (f"{_COMPONENT}/badge.svg", syndication.badge),
        (f"{_COMPONENT}/<version>/qr.svg", syndication.qr_code),
        (f"{_LANG}/opensearch.xml", syndication.opensearch),
        ("/sitemap.xml", syndication.sitemap_index),
        ("/sitemaps/<int:number>.xml", syndication.sitemap),
        ("/robots.txt", syndication.robots),
    ):
        machine.get(path)(view)
    return machine


def _language(_: str | None, values: dict[str, str] | None) -> None:
    """The language of the address is not the views' business."""
    if values is not None and "lang" in values:
        languages.use(values.pop("lang"))


def search() -> Response:
    """What the search page shows, under the same parameters."""
    query = asked()
    value = {"query": twins.plain(query), **twins.results(registry().index.search(query))}
    return json_answer(value)


def log() -> Response:
    """The checkpoint, its witnesses, and how the log grew."""
    return json_answer({"log": twins.plain(registry().registry_pages.log())})


def reviews() -> Response:
    """Who may review, what waits for them, and what ends soon."""
    return json_answer(twins.plain(registry().assurances.reviews()))


def home() -> Response:
    """What this registry is, and what is new in it."""
    newest = registry().index.search(Query(sort="updated", per_page=NEWEST))
    return json_answer(
        {
            "name": registry().settings.name,
            "root_fingerprint": registry().fingerprint,
            "languages": list(languages.LANGUAGES),
            "components": newest.total,
            "newest": twins.results(newest)["hits"],
        }
    )


def trust() -> Response:
    """What each state means, in the language of the address."""
    return json_answer(
        {
            "root_fingerprint": registry().fingerprint,
            "states": [
                {"group": one.group, "state": one.key, "means": one.sentence()} for one in MEANINGS
            ],
        }
    )


def tombstones() -> Response:
    """What was taken back."""
    return json_answer({"tombstones": twins.plain(registry().registry_pages.tombstones())})


def statistics() -> Response:
    """The figures, and downloads by day as far as they passed through this registry."""
    figures = twins.plain(registry().registry_pages.figures())
    return json_answer({**figures, "downloads": twins.plain(registry().downloads.recent())})


def regions() -> Response:
    """Every region, with the names of its organisations."""
    found: dict[str, list[str]] = {each: [] for each in REGIONS}
    for owner in registry().registry_pages.organisations():
        if owner.region is not None:
            found[owner.region].append(owner.name)
    return json_answer({"regions": found})


def region(region: str) -> Response:
    """The organisations of a region and a page of their components."""
    if region not in REGIONS:
        raise RegistryError("not-found", f"expected a region like MA-04, found {region!r:.40}")
    query = Query(
        chosen={"region": frozenset((region,))},
        sort="updated",
        page=query_integer("page", 1, low=1, high=1000),
        language=languages.language(),
    )
    return json_answer(
        {
            "region": region,
            "organisations": twins.plain(registry().registry_pages.organisations(region)),
            "components": twins.results(registry().index.search(query)),
        }
    )


def verify() -> Response:
    """The signed releases that a digest belongs to: ``?sha256=``."""
    digest = digest_of(request.args.get("sha256", ""))
    if digest is None:
        raise RegistryError("malformed", "request: sha256: expected 64 hexadecimal digits")
    return json_answer(
        {"sha256": digest, "found": twins.plain(registry().release_pages.find([digest]))}
    )


def organisation(organisation: str) -> Response:
    """Who it is, and what it published."""
    name = parse_org_name(organisation, "address")
    return json_answer(
        {
            "owner": twins.plain(registry().component_pages.owner(name)),
            "components": twins.plain(registry().registry_pages.components_of(name)),
        }
    )


def component(organisation: str, name: str) -> Response:
    """The component at its latest version, and the texts of its card."""
    found = sheets.sheet(organisation, name)
    texts = registry().component_pages.texts(found.name, found.item.version, found.details.card)
    return json_answer({**twins.component(found), "texts": twins.plain(texts)})


def versions(organisation: str, name: str) -> Response:
    """Every version, newest first; with ``old`` and ``new`` what differs between two of them."""
    found = sheets.sheet(organisation, name)
    value: dict[str, Any] = {"versions": twins.plain(found.details.versions)}
    old, new = request.args.get("old"), request.args.get("new")
    if old is not None and new is not None:
        value["differences"] = twins.plain(
            registry().component_pages.difference(found.name, old, new)
        )
    return json_answer({"component": found.details.component, **value})


def files(organisation: str, name: str) -> Response:
    """The files of ``version`` (the latest), 500 from ``first`` on."""
    found = sheets.sheet(organisation, name, request.args.get("version"))
    first = query_integer("first", 0, low=0, high=10**6)
    listed = registry().component_pages.files(found.name, found.item.version, first)
    return json_answer(
        {
            "component": found.details.component,
            "version": found.item.version,
            "most": MAX_FILES,
            **twins.plain(listed),
        }
    )


def tensors(organisation: str, name: str) -> Response:
    """What the header of the model file at ``path`` says, 500 tensors from ``first`` on."""
    found = sheets.sheet(organisation, name, request.args.get("version"))
    path = request.args.get("path", "")
    first = query_integer("first", 0, low=0, high=10**6)
    return json_answer(
        {
            "component": found.details.component,
            "version": found.item.version,
            **twins.tensors(registry().tensors.header(found.name, found.item.version, path), first),
        }
    )


def lineage(organisation: str, name: str) -> Response:
    """What it stands on, and what stands on it."""
    found = sheets.sheet(organisation, name)
    reading = registry().component_pages
    return json_answer(
        {
            "component": found.details.component,
            "version": found.item.version,
            "requires": twins.plain(reading.requires(found.item.requires)),
            "required_by": twins.plain(reading.required_by(found.name)),
        }
    )


def security(organisation: str, name: str, version: str | None = None) -> Response:
    """A release (the latest) with every check that a client makes, as it came out here."""
    found = sheets.sheet(organisation, name, version)
    checks = registry().release_pages.checks(found.name, found.item.version)
    return json_answer({**twins.component(found), "checks": twins.plain(checks)})


def use(organisation: str, name: str) -> Response:
    """The command that installs exactly the release that is shown, and where its signature is."""
    found = sheets.sheet(organisation, name)
    return json_answer(
        {
            "component": found.details.component,
            "version": found.item.version,
            "usable": found.standing.usable,
            "install": f'forge install "{found.details.component}=={found.item.version}"',
            "manifest_sha256": found.item.manifest_sha256,
            "bundle": f"{request.host_url}blobs/{found.item.bundle_sha256}",
        }
    )


def history(organisation: str, name: str) -> Response:
    """Everything that happened to it, with its place in the public log."""
    found = sheets.sheet(organisation, name)
    happenings = registry().component_pages.history(found.name)
    return json_answer({"component": found.details.component, "history": twins.plain(happenings)})


def json_ld(organisation: str, name: str) -> Response:
    """The component for search engines (schema.org)."""
    found = sheets.sheet(organisation, name)
    described = twins.json_ld(found, request.host_url, languages.language())
    return json_answer(described, "application/ld+json")
