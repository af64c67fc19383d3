"""``/v2/``: every component as an OCI repository that can be pulled from (distribution-spec v1.1).

Nothing can be pushed: a release is signed by its publisher, and a push has no place for that.
"""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from storage.checks import is_digest

from ..api.requests import audited, query_integer, registry
from ..errors import RegistryError
from ..static_plane.files import IMMUTABLE, REVALIDATE
from ..static_plane.ranges import etag_matches
from ..static_plane.routes import send_blob
from .oci_manifests import INDEX, MANIFEST, Document, referrers_index

_MAX_PAGE: Final = 1000
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")


def blueprint() -> Blueprint:
    """A fresh blueprint with the pull half of the distribution interface."""
    oci = Blueprint("oci", __name__, url_prefix="/v2")
    oci.get("/")(ping)
    oci.get("/_catalog")(catalogue)
    oci.get("/<organisation>/<name>/tags/list")(tags)
    oci.get("/<organisation>/<name>/manifests/<reference>")(manifest)
    oci.get("/<organisation>/<name>/blobs/<digest>")(blob)
    oci.get("/<organisation>/<name>/referrers/<digest>")(referrers)
    oci.get("/<path:rest>")(unknown)
    oci.add_url_rule("/<path:rest>", "refuse_write", refuse_write, methods=_WRITES)
    oci.after_request(_version)
    return oci


def ping() -> Response:
    return _json({})


def catalogue() -> Response:
    count = query_integer("n", 100, low=1, high=_MAX_PAGE)
    found = registry().oci.names(request.args.get("last", "")[:200], count + 1)
    return _page({"repositories": found[:count]}, found, count)


def tags(organisation: str, name: str) -> Response:
    count = query_integer("n", _MAX_PAGE, low=0, high=_MAX_PAGE)
    last = request.args.get("last", "")
    found = [tag for tag in registry().oci.tags(organisation, name) if tag > last]
    return _page({"name": f"{organisation}/{name}", "tags": found[:count]}, found, count)


def manifest(organisation: str, name: str, reference: str) -> Response:
    found = registry().oci.document(organisation, name, reference)
    by_digest = reference.startswith("sha256:")
    return _document(found, IMMUTABLE if by_digest else REVALIDATE)


def blob(organisation: str, name: str, digest: str) -> Response:
    sha256 = digest.removeprefix("sha256:")
    if not _DIGEST.fullmatch(digest) or not is_digest(sha256):
        raise RegistryError("blob-not-found", f"expected sha256:…, found {digest!r:.100}")
    data = registry().oci.require_blob(organisation, name, sha256)
    if data is None:
        response = send_blob(sha256, sha256)
    else:
        response = Response(data, content_type="application/octet-stream")
        response.headers["ETag"] = f'"{sha256}"'
        response.headers["Cache-Control"] = IMMUTABLE
    response.headers["Docker-Content-Digest"] = digest
    return response


def referrers(organisation: str, name: str, digest: str) -> Response:
    if not _DIGEST.fullmatch(digest):
        raise RegistryError("malformed", f"digest: expected sha256:…, found {digest!r:.100}")
    found = list(registry().oci.referrers(organisation, name, digest))
    kind = request.args.get("artifactType")
    if kind is not None:
        kind = kind.replace(" ", "+")  # as some write it; no media type has a space
        found = [each for each in found if each.artifact_type == kind]
    response = Response(referrers_index(found), content_type=INDEX)
    response.headers["Cache-Control"] = REVALIDATE
    if kind is not None:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    return response


def unknown(rest: str) -> Response:
    raise RegistryError("not-found", f"expected organisation/name, found {rest!r:.200}")


@audited("release.publish")
def refuse_write(rest: str) -> Response:
    raise RegistryError(
        "method-not-allowed",
        f"{request.method}: this registry is read-only over OCI; uploads must be signed by the "
        "publisher",
        "publish with: forge publish FOLDER",
    )


def _document(found: Document, cache_control: str) -> Response:
    if etag_matches(request.headers.get("If-None-Match"), found.sha256):
        response = Response(status=304)
    else:
        response = Response(found.data, content_type=MANIFEST)
    response.headers["Docker-Content-Digest"] = f"sha256:{found.sha256}"
    response.headers["ETag"] = f'"{found.sha256}"'
    response.headers["Cache-Control"] = cache_control
    return response


def _page(value: dict[str, object], found: list[str], count: int) -> Response:
    """A part of a list, with the address of the next one (distribution-spec, "Listing Tags")."""
    response = _json(value)
    if 0 < count < len(found):
        query = urlencode({"n": count, "last": found[count - 1]})
        response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return response


def _json(value: object) -> Response:
    response = Response(json.dumps(value), content_type="application/json")
    response.headers["Cache-Control"] = REVALIDATE
    return response


def _version(response: Response) -> Response:
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    return response
