"""The pages for programs: JSON at the address of each page, JSON-LD, feeds, badges, QR codes, the
sitemap and how to search from a browser's bar.

Each answer has a strong ETag over its very bytes, so that whoever asks again is sent nothing while
nothing changed. Addresses in them are absolute, from the ``Host`` that was asked for.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from flask import Blueprint, Response, request
from flask_babel import pgettext

from signing.assessment import COMMUNITY
from signing.names import parse_org_name
from signing.profile import REGIONS

from ..api.requests import query_integer, registry
from ..errors import RegistryError
from ..search.base import Query
from ..services.pages_component import MAX_FILES
from . import badges, feeds, languages, twins, words
from .feeds import Entry
from .meanings import MEANINGS
from .views import component as sheets
from .views.home import NEWEST, asked
from .views.verify import digest_of

_LANG: Final = f"/<any({','.join(languages.LANGUAGES)}):lang>"
_COMPONENT: Final = f"{_LANG}/<organisation>/<name>"
_BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # of a feed in which nothing happened yet


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
        (f"{_COMPONENT}.atom", component_feed),
        (f"{_LANG}/<organisation>.atom", organisation_feed),
        (f"{_LANG}/tombstones.atom", notices),
        (f"{_COMPONENT}/badge.svg", badge),
        (f"{_COMPONENT}/<version>/qr.svg", qr_code),
        (f"{_LANG}/opensearch.xml", opensearch),
        ("/sitemap.xml", sitemap_index),
        ("/sitemaps/<int:number>.xml", sitemap),
        ("/robots.txt", robots),
    ):
        machine.get(path)(view)
    return machine


def _language(_: str | None, values: dict[str, str] | None) -> None:
    """The language of the address is not the views' business."""
    if values is not None and "lang" in values:
        languages.use(values.pop("lang"))


def _answer(data: bytes, content_type: str) -> Response:
    """``data`` with its ETag, or 304 for whoever has it."""
    response = Response(data, content_type=content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(sha256(data).hexdigest()[:32])
    response.make_conditional(request)
    return response


def _json(value: dict[str, Any], content_type: str = "application/json") -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _answer(text.encode("utf-8", "replace"), content_type)


def _xml(data: bytes, kind: str) -> Response:
    return _answer(data, f"application/{kind}; charset=utf-8")


def _svg(data: bytes) -> Response:
    response = _answer(data, "image/svg+xml; charset=utf-8")
    # Opened by itself it is a picture and nothing else.
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox allow-top-navigation"
    return response


def _address(path: str) -> str:
    return f"{request.host_url}{languages.language()}/{path}"


def search() -> Response:
    """What the search page shows, under the same parameters."""
    query = asked()
    value = {"query": twins.plain(query), **twins.results(registry().index.search(query))}
    return _json(value)


def log() -> Response:
    """The checkpoint, its witnesses, and how the log grew."""
    return _json({"log": twins.plain(registry().registry_pages.log())})


def reviews() -> Response:
    """Who may review, what waits for them, and what ends soon."""
    return _json(twins.plain(registry().assurances.reviews()))


def home() -> Response:
    """What this registry is, and what is new in it."""
    newest = registry().index.search(Query(sort="updated", per_page=NEWEST))
    return _json(
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
    return _json(
        {
            "root_fingerprint": registry().fingerprint,
            "states": [
                {"group": one.group, "state": one.key, "means": one.sentence()} for one in MEANINGS
            ],
        }
    )


def tombstones() -> Response:
    """What was taken back."""
    return _json({"tombstones": twins.plain(registry().registry_pages.tombstones())})


def statistics() -> Response:
    """The figures, and downloads by day as far as they passed through this registry."""
    figures = twins.plain(registry().registry_pages.figures())
    return _json({**figures, "downloads": twins.plain(registry().downloads.recent())})


def regions() -> Response:
    """Every region, with the names of its organisations."""
    found: dict[str, list[str]] = {each: [] for each in REGIONS}
    for owner in registry().registry_pages.organisations():
        if owner.region is not None:
            found[owner.region].append(owner.name)
    return _json({"regions": found})


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
    return _json(
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
    return _json({"sha256": digest, "found": twins.plain(registry().release_pages.find([digest]))})


def organisation(organisation: str) -> Response:
    """Who it is, and what it published."""
    name = parse_org_name(organisation, "address")
    return _json(
        {
            "owner": twins.plain(registry().component_pages.owner(name)),
            "components": twins.plain(registry().registry_pages.components_of(name)),
        }
    )


def component(organisation: str, name: str) -> Response:
    """The component at its latest version, and the texts of its card."""
    found = sheets.sheet(organisation, name)
    texts = registry().component_pages.texts(found.name, found.item.version, found.details.card)
    return _json({**twins.component(found), "texts": twins.plain(texts)})


def versions(organisation: str, name: str) -> Response:
    """Every version, newest first; with ``old`` and ``new`` what differs between two of them."""
    found = sheets.sheet(organisation, name)
    value: dict[str, Any] = {"versions": twins.plain(found.details.versions)}
    old, new = request.args.get("old"), request.args.get("new")
    if old is not None and new is not None:
        value["differences"] = twins.plain(
            registry().component_pages.difference(found.name, old, new)
        )
    return _json({"component": found.details.component, **value})


def files(organisation: str, name: str) -> Response:
    """The files of ``version`` (the latest), 500 from ``first`` on."""
    found = sheets.sheet(organisation, name, request.args.get("version"))
    first = query_integer("first", 0, low=0, high=10**6)
    listed = registry().component_pages.files(found.name, found.item.version, first)
    return _json(
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
    return _json(
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
    return _json(
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
    return _json({**twins.component(found), "checks": twins.plain(checks)})


def use(organisation: str, name: str) -> Response:
    """The command that installs exactly the release that is shown, and where its signature is."""
    found = sheets.sheet(organisation, name)
    return _json(
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
    return _json({"component": found.details.component, "history": twins.plain(happenings)})


def json_ld(organisation: str, name: str) -> Response:
    """The component for search engines (schema.org)."""
    found = sheets.sheet(organisation, name)
    described = twins.json_ld(found, request.host_url, languages.language())
    return _json(described, "application/ld+json")


def component_feed(organisation: str, name: str) -> Response:
    """What happened to one component."""
    found = sheets.sheet(organisation, name)
    owner = found.owner.title(languages.language())
    entries = []
    for one in registry().component_pages.history(found.name)[:50]:
        release = f"{found.details.component}/{one.version}" if one.version else str(found.name)
        act = words.say("act", one.act)
        entries.append(
            Entry(
                id=f"{_address(release)}#{one.act}-{one.at:%Y%m%dT%H%M%S}",
                title=f"{found.details.component} {one.version or ''}: {act}",
                link=_address(release),
                updated=one.at,
                summary=one.reason or act,
                author=owner,
            )
        )
    return _feed(f"{found.details.component}", entries, str(found.details.component))


def organisation_feed(organisation: str) -> Response:
    """The newest releases of one organisation."""
    owner = registry().component_pages.owner(parse_org_name(organisation, "address"))
    title = owner.title(languages.language())
    entries = [
        Entry(
            id=f"{_address(one.component)}/{one.version}",
            title=f"{one.component} {one.version}",
            link=f"{_address(one.component)}/{one.version}",
            updated=one.published_at,
            summary=one.summary,
            author=title,
        )
        for one in registry().feeds.newest(owner.name)
    ]
    return _feed(title, entries, owner.name)


def notices() -> Response:
    """Security notices of the whole registry: what was withdrawn, stopped or revoked."""
    entries = [
        Entry(
            id=f"{_address(one.component)}/{one.version}#{one.act}-{one.number}",
            title=f"{one.component} {one.version}: {words.say('act', one.act)}",
            link=f"{_address(one.component)}/{one.version}",
            updated=one.at,
            summary=one.reason or words.say("act", one.act),
            author=registry().settings.name,
        )
        for one in registry().feeds.notices()
    ]
    title = f"{registry().settings.name}: {pgettext('nav', 'Taken back')}"
    return _feed(title, entries, "tombstones")


def _feed(title: str, entries: list[Entry], page: str) -> Response:
    data = feeds.atom(
        id_=f"{_address(page)}.atom",
        title=title,
        link=_address(page),
        language=languages.language(),
        entries=entries,
        began=_BEGAN,
    )
    return _xml(data, "atom+xml")


def badge(organisation: str, name: str) -> Response:
    """What is so of the latest version and since when, with a link to the page that shows it."""
    found = sheets.sheet(organisation, name)
    if not found.standing.states and (reviewed := _reviewed(found)) is not None:
        return reviewed
    state = found.standing.states[0] if found.standing.states else "good"
    since = found.item.published_at
    if found.standing.withheld is not None and state == found.standing.withheld.state:
        since = found.standing.withheld.since
    elif found.standing.expired_at is not None and state == "expired":
        since = found.standing.expired_at
    # Of a withdrawal or a deprecation nobody keeps the day beside the release: its history shows
    # it.
    when = () if state in ("yanked", "deprecated") else (f"{since:%F}",)
    data = badges.badge(
        left=found.details.component,
        right=(found.item.version, words.say("state", state), *when),
        state=state,
        evidence=_address(f"{found.details.component}/{found.item.version}"),
        direction=languages.direction(),
    )
    return _svg(data)


def _reviewed(found: sheets.Sheet) -> Response | None:
    """The badge of a release that a reviewer decided about, with the days between which that
    counts (ISO 8601 §5.5); None where nobody's word does."""
    assessment = found.assurance.assessment
    state = "rejected" if assessment.rejected_by else assessment.level
    standing = [one for one in assessment.standing if one.passed == (state != "rejected")]
    if state == COMMUNITY or not standing:
        return None
    until = assessment.until or max(one.expires for one in standing)
    word = words.say("decision", "failed") if state == "rejected" else words.say("review", state)
    data = badges.badge(
        left=found.details.component,
        right=(found.item.version, word, f"{max(one.at for one in standing):%F}/{until:%F}"),
        state=state,
        evidence=_address(f"{found.details.component}/security"),
        direction=languages.direction(),
    )
    return _svg(data)


def qr_code(organisation: str, name: str, version: str) -> Response:
    """Name, version and digest of a release, to be compared without typing."""
    found = sheets.sheet(organisation, name, version)
    words_ = f"{found.details.component}=={found.item.version} sha256:{found.item.manifest_sha256}"
    return _svg(badges.qr_code(words_))


def opensearch() -> Response:
    """For the search bar of a browser."""
    name = registry().settings.name
    data = feeds.opensearch(
        name=name,
        description=pgettext("nav", "Signed AI components of the Kingdom"),
        pages=f"{_address('search')}?q={{searchTerms}}",
        answers=f"{_address('search.json')}?q={{searchTerms}}",
        language=languages.language(),
    )
    return _xml(data, "opensearchdescription+xml")


def sitemap_index() -> Response:
    """Where the parts of the sitemap are; the first holds the pages that are no component's."""
    parts = registry().feeds.parts()
    places = [f"{request.host_url}sitemaps/{number}.xml" for number in range(parts + 1)]
    return _xml(feeds.sitemap_index(places), "xml")


def sitemap(number: int) -> Response:
    """A part of the sitemap: 0 is pages and organisations, each other one 12,500 components."""
    if number > registry().feeds.parts():
        raise RegistryError("not-found", f"sitemap: expected a part, found {number}")
    found: list[tuple[str, datetime | None]]
    if number == 0:
        pages = ("", "search", "regions/", "trust", "log", "tombstones", "statistics", "verify")
        found = [(each, None) for each in (*pages, *registry().feeds.organisations())]
    else:
        found = [(one.component, one.updated_at) for one in registry().feeds.part(number)]
    places = [
        (f"{request.host_url}{language}/{path}", at)
        for path, at in found
        for language in languages.LANGUAGES
    ]
    return _xml(feeds.sitemap(places), "xml")


def robots() -> Response:
    """Everything may be read; the sitemap says where it is."""
    text = f"User-agent: *\nDisallow: /api/\n\nSitemap: {request.host_url}sitemap.xml\n"
    return _answer(text.encode(), "text/plain; charset=utf-8")
