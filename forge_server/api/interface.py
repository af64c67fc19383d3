"""``/openapi.json``: the interface as programs read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from flask import Blueprint, Flask, Response, current_app, request

from ..settings import Settings
from .described import JSON, described
from .openapi import Operation, document, operations
from .requests import registry
from .shapes import ANY, MapOf

PREFIX: Final = "/api/v1"
DOCUMENT: Final = f"{PREFIX}/openapi.json"
_MAX_AGE_SECONDS: Final = 300
_KEPT: Final = "forge-openapi"


def add_routes(api: Blueprint) -> None:
    api.get(DOCUMENT.removeprefix(PREFIX))(show_document)


@described(
    "registry.interface", "This document: the interface in OpenAPI 3.1.",
    more="For people at `/en/api`.", answers={200: MapOf(ANY)}, etag=True,
)  # fmt: skip
def show_document() -> Response:
    kept = current_app.extensions.get(_KEPT)
    if kept is None:  # made once: nothing in it changes while the process lives
        kept = current_app.extensions[_KEPT] = text_of(current_app, registry().settings)
    response = Response(kept, content_type=JSON)
    response.headers["Cache-Control"] = f"public, max-age={_MAX_AGE_SECONDS}"
    response.set_etag(sha256(kept).hexdigest()[:32])
    response.make_conditional(request)
    return response


def text_of(app: Flask, settings: Settings, *, indent: int | None = None) -> bytes:
    """The document; with ``indent`` one member a line, so that a change is a short difference."""
    value: dict[str, Any] = document(described_routes(app), settings, PREFIX)
    return (
        json.dumps(value, indent=indent, separators=None if indent else (",", ":")).encode() + b"\n"
    )


def described_routes(app: Flask) -> Sequence[Operation]:
    """Every route of the interface that has a description."""
    return operations(app.url_map, app.view_functions, PREFIX)
