"""What is taken into places that are not ours: feeds, badges, QR codes, the sitemap, and how to
search from a browser's bar.

Addresses in them are absolute, from the ``Host`` that was asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from flask import Response, request
from flask_babel import pgettext

from signing.assessment import COMMUNITY
from signing.names import parse_org_name

from ..api.requests import registry
from ..errors import RegistryError
from . import badges, feeds, languages, words
from .answers import answer, page_address, svg_answer, xml_answer
from .feeds import Entry
from .views import component as sheets

_BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # of a feed in which nothing happened yet


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
                id=f"{page_address(release)}#{one.act}-{one.at:%Y%m%dT%H%M%S}",
                title=f"{found.details.component} {one.version or ''}: {act}",
                link=page_address(release),
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
            id=f"{page_address(one.component)}/{one.version}",
            title=f"{one.component} {one.version}",
            link=f"{page_address(one.component)}/{one.version}",
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
            id=f"{page_address(one.component)}/{one.version}#{one.act}-{one.number}",
            title=f"{one.component} {one.version}: {words.say('act', one.act)}",
            link=f"{page_address(one.component)}/{one.version}",
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
        id_=f"{page_address(page)}.atom",
        title=title,
        link=page_address(page),
        language=languages.language(),
        entries=entries,
        began=_BEGAN,
    )
    return xml_answer(data, "atom+xml")


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
        evidence=page_address(f"{found.details.component}/{found.item.version}"),
        direction=languages.direction(),
    )
    return svg_answer(data)


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
        evidence=page_address(f"{found.details.component}/security"),
        direction=languages.direction(),
    )
    return svg_answer(data)


def qr_code(organisation: str, name: str, version: str) -> Response:
    """Name, version and digest of a release, to be compared without typing."""
    found = sheets.sheet(organisation, name, version)
    words_ = f"{found.details.component}=={found.item.version} sha256:{found.item.manifest_sha256}"
    return svg_answer(badges.qr_code(words_))


def opensearch() -> Response:
    """For the search bar of a browser."""
    name = registry().settings.name
    data = feeds.opensearch(
        name=name,
        description=pgettext("nav", "Signed AI components of the Kingdom"),
        pages=f"{page_address('search')}?q={{searchTerms}}",
        answers=f"{page_address('search.json')}?q={{searchTerms}}",
        language=languages.language(),
    )
    return xml_answer(data, "opensearchdescription+xml")


def sitemap_index() -> Response:
    """Where the parts of the sitemap are; the first holds the pages that are no component's."""
    parts = registry().feeds.parts()
    places = [f"{request.host_url}sitemaps/{number}.xml" for number in range(parts + 1)]
    return xml_answer(feeds.sitemap_index(places), "xml")


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
    return xml_answer(feeds.sitemap(places), "xml")


def robots() -> Response:
    """Everything may be read; the sitemap says where it is."""
    text = f"User-agent: *\nDisallow: /api/\n\nSitemap: {request.host_url}sitemap.xml\n"
    return answer(text.encode(), "text/plain; charset=utf-8")
