"""One release: its verification check by check, and the images of its card."""

from __future__ import annotations

from typing import Final

from flask import Response

from signing.names import ComponentName

from ...api.requests import registry
from ...errors import RegistryError
from ...static_plane.files import IMMUTABLE
from ..markdown import image_type
from ..rendering import page
from .component import sentence, sheet

_MAX_IMAGE_BYTES: Final = 5_000_000


def release(organisation: str, name: str, version: str) -> Response:
    """Every check with what was seen, and the signed files to take along."""
    found = sheet(organisation, name, version)
    return page(
        "release.html",
        sheet=found,
        tab="",
        sentence=sentence(found),
        checks=registry().release_pages.checks(found.name, found.item.version),
    )


def image(organisation: str, name: str, version: str, path: str) -> Response:
    """An image of a release, for its card: a file of it that is an image in name and content."""
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    files = registry().component_pages.named_files(component, version, [path])
    nothing = RegistryError("not-found", "no image of this release has this address")
    if path not in files or not registry().handed_out.is_public(files[path].sha256):
        raise nothing
    data = registry().release_pages.small_blob(files[path].sha256, _MAX_IMAGE_BYTES)
    kind = None if data is None else image_type(path, data)
    if data is None or kind is None:
        raise nothing
    response = Response(data, content_type=kind)
    response.headers["ETag"] = f'"{files[path].sha256}"'
    response.headers["Cache-Control"] = IMMUTABLE
    # Opened by itself it is a picture and nothing else.
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
