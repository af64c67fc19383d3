"""The pages: what somebody in an agency reads. Each address begins with a language."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request, url_for
from flask.sansio.app import App

from signing.names import ComponentName, parse_org_name

from ..api.catalogue import health_answer
from ..api.problems import add_headers
from ..api.requests import registry
from ..errors import TABLE, RegistryError, row_of
from . import languages, rendering
from .rendering import page
from .views import component, home, interface, login, organisation, release, verify, whole

_LANG = f"/<any({','.join(languages.LANGUAGES)}):lang>"
_COMPONENT = f"{_LANG}/<organisation>/<name>"


def blueprint() -> Blueprint:
    """A fresh blueprint with every page."""
    pages = Blueprint("pages", __name__)
    pages.record_once(lambda state: _install(state.app))
    pages.url_value_preprocessor(_language)
    for path, view in (
        ("/", choose),
        ("/components/<organisation>/<name>", old_component),
        ("/organisations/<name>", old_organisation),
        ("/errors", errors),
        ("/health", health),
        ("/login", login.choose_login),
        (f"{_LANG}/", home.home),
        (f"{_LANG}/search", home.search),
        (f"{_LANG}/log", whole.log),
        (f"{_LANG}/reviews", whole.reviews),
        (f"{_LANG}/tombstones", whole.tombstones),
        (f"{_LANG}/trust", whole.trust),
        (f"{_LANG}/statistics", whole.statistics),
        (f"{_LANG}/regions/", organisation.regions),
        (f"{_LANG}/regions/<region>", organisation.region),
        (f"{_LANG}/api", interface.interface),
        (f"{_LANG}/verify", verify.verify),
        (f"{_LANG}/login", login.login),
        (f"{_LANG}/<organisation>", organisation.organisation),
        (_COMPONENT, component.card),
        (f"{_COMPONENT}/versions", component.versions),
        (f"{_COMPONENT}/files", component.files),
        (f"{_COMPONENT}/lineage", component.lineage),
        (f"{_COMPONENT}/security", component.security),
        (f"{_COMPONENT}/use", component.use),
        (f"{_COMPONENT}/history", component.history),
        (f"{_COMPONENT}/<version>", release.release),
        (f"{_COMPONENT}/<version>/images/<path:path>", release.image),
    ):
        pages.get(path)(view)
    pages.post(f"{_LANG}/verify")(verify.verify_bundle)
    pages.post(f"{_LANG}/login")(login.decide_login)
    return pages


def _install(app: App) -> None:
    rendering.install(app)
    app.add_template_global(rendering.to, "to")


def _language(_: str | None, values: dict[str, str] | None) -> None:
    """The language of the address is not the views' business."""
    if values is not None and "lang" in values:
        languages.use(values.pop("lang"))


def choose() -> Response:
    """To the pages in the reader's language; an old search goes along."""
    lang = languages.preferred()
    text = request.args.get("q")
    there = (
        url_for("pages.home", lang=lang)
        if text is None
        else url_for("pages.search", lang=lang, q=text[:200])
    )
    return _redirect(there, 302)


def old_component(organisation: str, name: str) -> Response:
    """The address that a component had before the pages had languages."""
    found = ComponentName.parse(f"{organisation}/{name}", "address")
    lang = languages.preferred()
    return _redirect(
        url_for("pages.card", lang=lang, organisation=found.org, name=found.name), 301
    )  # fmt: skip


def old_organisation(name: str) -> Response:
    """The address that an organisation had before the pages had languages."""
    found = parse_org_name(name, "address")
    return _redirect(
        url_for("pages.organisation", lang=languages.preferred(), organisation=found), 301
    )


def _redirect(address: str, status: int) -> Response:
    response = redirect(address, status, Response)
    assert isinstance(response, Response)
    # Who shares a cache does not share a language.
    response.headers["Vary"] = "Accept-Language, Cookie"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def errors() -> Response:
    """What each error code means: the one table, for people."""
    languages.use("en")
    return page("errors.html", table=TABLE)


def health() -> Response:
    """Whether the registry works, and which roles must be signed anew soon; JSON for programs."""
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) != "text/html":
        response = health_answer()
    else:
        languages.use("en")
        response = page("health.html", health=registry().health.state())
    response.headers["Vary"] = "Accept"
    return response


def refusal(error: RegistryError, request_id: str) -> Response:
    """A refusal as a page."""
    row = row_of(error.code)
    response = page("refusal.html", row.status, error=error, row=row, request_id=request_id)
    add_headers(response, error)
    return response
