"""The pages: what is here, one component, one organisation, what the error codes mean."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request

from signing.names import ComponentName, parse_org_name

from ..api.catalogue import health_answer
from ..api.problems import add_headers
from ..api.requests import query_integer, registry
from ..domain.text import harmless
from ..errors import TABLE, RegistryError, row_of

PAGE_SIZE = 50


def blueprint() -> Blueprint:
    """A fresh blueprint with every page."""
    pages = Blueprint("pages", __name__)
    pages.add_app_template_filter(harmless)
    pages.add_app_template_filter(human_size)
    pages.get("/")(index)
    pages.get("/components/<organisation>/<name>")(component)
    pages.get("/organisations/<name>")(organisation)
    pages.get("/errors")(errors)
    pages.get("/health")(health)
    return pages


def human_size(size: int) -> str:
    """``size`` in bytes as people read it."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def index() -> Response:
    """All components, or those that a search finds, page by page."""
    text = request.args.get("q", "")[:200]
    offset = query_integer("offset", 0, low=0, high=10**8)
    page = registry().catalogue.search(text, limit=PAGE_SIZE, offset=offset)
    return _page("index.html", page=page, query=text, offset=offset, page_size=PAGE_SIZE)


def component(organisation: str, name: str) -> Response:
    """One component with its versions, digests, signer, and how to install it."""
    details = registry().catalogue.component(
        ComponentName.parse(f"{organisation}/{name}", "address")
    )
    return _page("component.html", component=details)


def organisation(name: str) -> Response:
    """One organisation and its components."""
    row = registry().organisations.organisation(parse_org_name(name, "address"), None)
    return _page("organisation.html", organisation=row)


def errors() -> Response:
    """What each error code means: the one table, for people."""
    return _page("errors.html", table=TABLE)


def health() -> Response:
    """Whether the registry works, and which roles must be signed anew soon; JSON for programs."""
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) != "text/html":
        response = health_answer()
    else:
        response = _page("health.html", health=registry().health.state())
    response.headers["Vary"] = "Accept"
    return response


def refusal(error: RegistryError, request_id: str) -> Response:
    """A refusal as a page."""
    row = row_of(error.code)
    response = _page("refusal.html", error=error, row=row, request_id=request_id)
    response.status_code = row.status
    add_headers(response, error)
    return response


def _page(template: str, **values: object) -> Response:
    html = render_template(
        template,
        registry_name=registry().settings.name,
        fingerprint=registry().fingerprint,
        read_only=registry().publication.read_only,
        **values,
    )
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    return response
