"""``/simple/``: the Python index, for pip, uv and whoever else speaks PEP 503 or 691.

``/simple/<distribution>/``; under ``/simple/-/<organisation>/`` the names of one organisation, and
under ``/simple/-/<organisation>/-/`` all names, both as its policies permit. The address of a file
holds its digest, so it never means other bytes and locks may keep it. Copies of another index's
files have addresses of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from flask import Blueprint, Response, redirect, request, url_for
from packaging.utils import canonicalize_name
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.wrappers import Response as AnyResponse

from storage.checks import is_digest

from ..api.limits import spend_one
from ..api.requests import registry
from ..errors import RegistryError
from ..static_plane.files import IMMUTABLE, REVALIDATE
from ..static_plane.ranges import etag_matches
from ..static_plane.routes import send_blob
from .pypi_index import Audience
from .pypi_pages import JSON, OFFERED, TEXT, render_names, render_project
from .quick import not_kept

_METADATA = ".metadata"


def blueprint() -> Blueprint:
    """A fresh blueprint with the Python index."""
    index = Blueprint("pypi", __name__, url_prefix="/simple")
    index.get("/")(names)
    index.get("/<name>/")(project)
    index.get("/-/files/<sha256>/<filename>")(file)
    index.get("/-/upstream/<sha256>/<filename>")(copy)
    index.get("/-/<organisation>/")(names)
    index.get("/-/<organisation>/<name>/")(project)
    index.get("/-/<organisation>/-/", endpoint="names_for")(_for_all(names))
    index.get("/-/<organisation>/-/<name>/", endpoint="project_for")(_for_all(project))
    index.get("/-/<organisation>/-/files/<sha256>/<filename>")(file)
    index.get("/-/<organisation>/-/upstream/<sha256>/<filename>")(copy)
    return index


def _for_all(view: Callable[..., AnyResponse]) -> Callable[..., AnyResponse]:
    return partial(view, all_names=True)


def names(organisation: str | None = None, *, all_names: bool = False) -> Response:
    form = _form()
    found = registry().python_index.names(_audience(organisation, all_names))
    if organisation is None or all_names:
        not_kept()  # names that are let through come and go by commands
    return _page(form, *render_names(found, form))


def project(name: str, organisation: str | None = None, *, all_names: bool = False) -> AnyResponse:
    form = _form()
    normal = str(canonicalize_name(name))
    if normal != name and normal:  # PEP 503: one address for all spellings
        target = ".project_for" if all_names else ".project"
        return redirect(url_for(target, name=normal, organisation=organisation), 301)
    here = "../" if all_names else "../-/"  # where files are, for this audience
    page = registry().python_index.page(
        name, _audience(organisation, all_names), form,
        lambda found: render_project(
            found, form, here + ("files/" if found.component is not None else "upstream/")
        ),
        spend_one,
    )  # fmt: skip
    if not page.lasts:
        not_kept()
    return _page(form, page.etag, page.data)


def file(sha256: str, filename: str, organisation: str | None = None) -> Response:
    """A file of a release, or with ``.metadata`` behind its name what a wheel says of itself."""
    index = registry().python_index
    return _send(
        sha256, filename, organisation,
        partial(index.require_file, spend=spend_one), partial(index.metadata, spend=spend_one),
    )  # fmt: skip


def copy(sha256: str, filename: str, organisation: str | None = None) -> Response:
    """The same of a copy of another index's file, which is fetched when somebody first asks."""
    index = registry().python_index
    not_kept()
    return _send(sha256, filename, organisation, index.require_copy, index.copied_metadata)


def _send(
    sha256: str,
    filename: str,
    organisation: str | None,
    require: Callable[[str, str, Audience | None], None],
    metadata: Callable[[str, str, Audience | None], tuple[str, bytes]],
) -> Response:
    wheel = filename.removesuffix(_METADATA)
    if not is_digest(sha256):
        raise RegistryError("blob-not-found", "expected a SHA-256 in the address, found another")
    audience = _audience(organisation, all_names=True)
    if wheel == filename:
        require(sha256, filename, audience)
        response = send_blob(sha256, filename)
        if audience is not None and response.status_code != 302:
            response.headers["Cache-Control"] = REVALIDATE  # what a policy permits may change
        return response
    digest, data = metadata(sha256, wheel, audience)
    if audience is not None:
        not_kept()
    cached = IMMUTABLE if audience is None else REVALIDATE
    return _cached(data, digest, "text/plain; charset=utf-8", cached)


def _audience(organisation: str | None, all_names: bool) -> Audience | None:
    return None if organisation is None else Audience(
        organisation=organisation, all_names=all_names
    )  # fmt: skip


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
