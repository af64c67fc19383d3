"""Atom feeds (RFC 4287), the sitemap (sitemaps.org) and the OpenSearch description. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten
from typing import Final

from ..api.rendering import instant
from .xml import document, element, leaf

ATOM: Final = "http://www.w3.org/2005/Atom"
SITEMAP: Final = "http://www.sitemaps.org/schemas/sitemap/0.9"
OPENSEARCH: Final = "http://a9.com/-/spec/opensearch/1.1/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """``id`` is the entry's for ever; ``link`` is the page that it speaks of."""

    id: str
    title: str
    link: str
    updated: datetime
    summary: str
    author: str


def atom(
    *, id_: str, title: str, link: str, language: str, entries: Sequence[Entry], began: datetime
) -> bytes:
    """A feed; without entries it is as old as ``began``."""
    updated = max((entry.updated for entry in entries), default=began)
    parts = [
        leaf("id", id_),
        leaf("title", title),
        leaf("updated", instant(updated)),
        element("link", rel="self", type="application/atom+xml", href=id_),
        element("link", rel="alternate", type="text/html", href=link),
    ]
    return document("feed", [*parts, *map(_entry, entries)], xmlns=ATOM, xml__lang=language)


def _entry(entry: Entry) -> str:
    return element(
        "entry",
        leaf("id", entry.id)
        + leaf("title", entry.title)
        + leaf("updated", instant(entry.updated))
        + element("link", rel="alternate", type="text/html", href=entry.link)
        + element("author", leaf("name", entry.author))
        + leaf("summary", entry.summary),
    )


def sitemap_index(places: Iterable[str]) -> bytes:
    """Where the parts of the sitemap are."""
    return document(
        "sitemapindex", (element("sitemap", leaf("loc", each)) for each in places), xmlns=SITEMAP
    )


def sitemap(places: Iterable[tuple[str, datetime | None]]) -> bytes:
    """A part of the sitemap: ``(address, when it changed)``."""
    return document(
        "urlset",
        (
            element(
                "url",
                leaf("loc", place) + ("" if at is None else leaf("lastmod", instant(at))),
            )
            for place, at in places
        ),
        xmlns=SITEMAP,
    )


def opensearch(*, name: str, description: str, pages: str, answers: str, language: str) -> bytes:
    """How a browser searches here (OpenSearch 1.1); the templates hold ``{searchTerms}``."""
    return document(
        "OpenSearchDescription",
        [
            leaf("ShortName", shorten(name, 16, placeholder="")),  # at most 16 (OpenSearch 1.1)
            leaf("LongName", shorten(name, 48, placeholder="")),
            leaf("Description", description),
            element("Url", type="text/html", method="get", template=pages),
            element("Url", type="application/json", method="get", template=answers),
            leaf("Language", language),
            leaf("InputEncoding", "UTF-8"),
            leaf("OutputEncoding", "UTF-8"),
        ],
        xmlns=OPENSEARCH,
    )
