"""``/simple/``: the Python index, for pip, uv and whoever else speaks PEP 503 or 691.

``/simple/<distribution>/``, and the same for one organisation under ``/simple/-/<organisation>/``.
The address of a file holds its digest, so it never means other bytes and locks may keep it.
"""

from __future__ import annotations

from functools import lru_cache

from flask import Blueprint, Response, redirect, request, url_for
from packaging.utils import canonicalize_name
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.wrappers import Response as AnyResponse

from storage.checks import is_digest

from ..api.requests import registry
from ..errors import RegistryError
from ..static_plane.files import IMMUTABLE, REVALIDATE
from ..static_plane.ranges import etag_matches
from ..static_plane.routes import send_blob
from .pypi_pages import JSON, OFFERED, TEXT, render_names, render_project

_METADATA = ".metadata"


def blueprint() -> Blueprint:
    """A fresh blueprint with the Python index."""
    index = Blueprint("pypi", __name__, url_prefix="/simple")
    index.get("/")(names)
    index.get("/<name>/")(project)
    index.get("/-/files/<sha256>/<filename>")(file)
    index.get("/-/<organisation>/")(names)
    index.get("/-/<organisation>/<name>/")(project)
    return index


def names(organisation: str | None = None) -> Response:
    form = _form()
    if organisation is not None:
        registry().organisations.organisation(organisation, None)  # it must be one
    return _page(form, *render_names(registry().python_index.names(organisation), form))


def project(name: str, organisation: str | None = None) -> AnyResponse:
    form = _form()
    normal = str(canonicalize_name(name))
    if normal != name and normal:  # PEP 503: one address for all spellings
        return redirect(url_for(".project", name=normal, organisation=organisation), 301)
    files = "../-/files/" if organisation is None else "../../files/"
    etag, data = registry().python_index.page(
        name, organisation, form, lambda found: render_project(found, form, files)
    )
    return _page(form, etag, data)


def file(sha256: str, filename: str) -> Response:
    """A file of a release, or with ``.metadata`` behind its name what a wheel says of itself."""
    wheel = filename.removesuffix(_METADATA)
    if not is_digest(sha256):
        raise RegistryError("blob-not-found", "expected a SHA-256 in the address, found another")
    index = registry().python_index
    if wheel == filename:
        index.require_file(sha256, filename)
        return send_blob(sha256, filename)
    digest, data = index.metadata(sha256, wheel)
    return _cached(data, digest, "text/plain; charset=utf-8", IMMUTABLE)


def _form() -> str:
    """The media type to answer with (PEP 691, RFC 9110 §12.5.1).

    Raises:
        RegistryError: none that the client takes (``not-acceptable``).
    """
    accept = request.headers.get("Accept")
    form = TEXT if accept is None else _best(accept)
    if form is None:
        raise RegistryError(
            "not-acceptable", f"Accept: expected {JSON} or {TEXT}, found {accept!r:.100}"
        )
    return form


@lru_cache(maxsize=256)
def _best(accept: str) -> str | None:
    """Clients send a handful of different headers, and millions of times."""
    return parse_accept_header(accept, MIMEAccept).best_match(OFFERED)


def _page(form: str, etag: str, data: bytes) -> Response:
    response = _cached(data, etag, f"{form}; charset=utf-8" if form == TEXT else form, REVALIDATE)
    response.vary.add("Accept")
    return response


def _cached(data: bytes, etag: str, content_type: str, cache_control: str) -> Response:
    if etag_matches(request.headers.get("If-None-Match"), etag):
        response = Response(status=304)
    else:
        response = Response(data, content_type=content_type)
    response.headers["ETag"] = f'"{etag}"'
    response.headers["Cache-Control"] = cache_control
    return response
