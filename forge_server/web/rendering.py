"""From values to a page: the words of its language, its headers, and 304 where nothing changed."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from flask import Response, render_template, request, url_for
from flask.sansio.app import App
from markupsafe import Markup, escape

from ..api.openapi import unlinked
from ..api.requests import registry
from ..domain.text import harmless
from . import languages, words

_COOKIE_SECONDS: Final = 365 * 86400


def install(app: App) -> None:
    """Gives the templates of ``app`` languages, filters and words."""
    languages.install(app)
    app.add_template_filter(harmless)
    app.add_template_filter(languages.size, "human_size")
    app.add_template_filter(languages.number, "number")
    app.add_template_filter(languages.day, "day")
    app.add_template_filter(languages.instant, "instant")
    app.add_template_filter(languages.month, "month")
    app.add_template_filter(bdi)
    app.add_template_filter(described)
    app.add_template_filter(code)
    app.jinja_env.globals.update(say=words.say, languages=languages.NAMES)


def bdi(text: object) -> Markup:
    """A stranger's words among ours: harmless, and without a say in the direction of the rest."""
    return Markup("<bdi>{}</bdi>").format(harmless(str(text)))


def code(text: object) -> Markup:
    """A name, digest or command, which reads from left to right in every language."""
    return Markup('<bdi dir="ltr"><code>{}</code></bdi>').format(harmless(str(text)))


def described(text: str) -> Markup:
    """The English of a description, without its links; what stands in backticks is code."""
    parts = unlinked(text).split("`")
    marked = [code(part) if at % 2 else escape(part) for at, part in enumerate(parts)]
    return Markup("").join(marked)


def page(template: str, status: int = 200, /, **values: object) -> Response:
    """``template`` as an answer, with a strong ETag; 304 for whoever has these very bytes."""
    html = render_template(
        template,
        registry_name=registry().settings.name,
        fingerprint=registry().fingerprint,
        read_only=registry().publication.read_only,
        lang=languages.language(),
        direction=languages.direction(),
        here=_here(),
        **values,
    )
    data = html.encode()
    response = Response(data, status, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Language"] = languages.language()
    if status == 200:
        response.set_etag(sha256(data).hexdigest()[:32])
        response.make_conditional(request)
        _remember(response)
    return response


def _here() -> dict[str, str]:
    """The address of this page in each language."""
    first, _, rest = request.full_path.rstrip("?")[1:].partition("/")
    if first not in languages.LANGUAGES:
        return {name: f"/{name}/" for name in languages.LANGUAGES}
    return {name: f"/{name}/{rest}" for name in languages.LANGUAGES}


def _remember(response: Response) -> None:
    """Keeps the language that somebody reads although another one would have been chosen."""
    if request.path[1:3] and languages.language() != languages.preferred():
        response.set_cookie(
            languages.COOKIE, languages.language(), max_age=_COOKIE_SECONDS, path="/",
            httponly=True, samesite="Lax", secure=request.is_secure,
        )  # fmt: skip


def to(endpoint: str, **values: object) -> str:
    """The address of a page in the language of this one."""
    return url_for(f"pages.{endpoint}", lang=languages.language(), **values)  # type: ignore[arg-type]
