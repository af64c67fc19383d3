"""Refusals as ``application/problem+json`` (RFC 9457), made from the one table of codes."""

from __future__ import annotations

import json

from flask import Response

from ..errors import RegistryError, row_of

CONTENT_TYPE = "application/problem+json"


def problem(error: RegistryError, request_id: str) -> Response:
    """The answer to a request that was refused. ASCII only, so that a terminal that shows it
    raw is not driven by what a stranger wrote."""
    row = row_of(error.code)
    document = {
        "type": f"/errors#{error.code}",
        "title": row.title,
        "status": row.status,
        "detail": error.message,
        "code": error.code,
        **({"hint": error.hint} if error.hint else {}),
        **{key: value for key, value in error.facts.items() if value is not None},
        "request_id": request_id,
    }
    response = Response(json.dumps(document) + "\n", row.status, content_type=CONTENT_TYPE)
    add_headers(response, error)
    return response


def add_headers(response: Response, error: RegistryError) -> None:
    """Headers that belong to a refusal: who to be (401), how long to wait (429, 503)."""
    status = row_of(error.code).status
    response.headers["Cache-Control"] = "no-store"
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="forge"'  # RFC 6750 §3
    elif status == 429:
        response.headers["Retry-After"] = str(error.facts.get("retry_after_seconds", 60))
    elif status == 503:
        response.headers["Retry-After"] = "300" if error.code == "read-only" else "5"
