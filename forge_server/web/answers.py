"""Answers for programs: each with a strong ETag over its very bytes, so that whoever asks again is
sent nothing while nothing changed."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from flask import Response, request

from . import languages


def answer(data: bytes, content_type: str) -> Response:
    """``data`` with its ETag, or 304 for whoever has it."""
    response = Response(data, content_type=content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(sha256(data).hexdigest()[:32])
    response.make_conditional(request)
    return response


def json_answer(value: dict[str, Any], content_type: str = "application/json") -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return answer(text.encode("utf-8", "replace"), content_type)


def xml_answer(data: bytes, kind: str) -> Response:
    return answer(data, f"application/{kind}; charset=utf-8")


def svg_answer(data: bytes) -> Response:
    response = answer(data, "image/svg+xml; charset=utf-8")
    # Opened by itself it is a picture and nothing else.
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox allow-top-navigation"
    return response


def page_address(path: str) -> str:
    """The absolute address of a page in the language of the answer."""
    return f"{request.host_url}{languages.language()}/{path}"
