"""Refusals in the form that each façade's own client shows to its user.

pip and twine show nothing but the reason phrase of the status line, uv the title and detail of the
problem document. So the sentence stands in both.
"""

from __future__ import annotations

from flask import Response

from ..api.problems import problem
from ..errors import RegistryError, row_of

_MAX_PHRASE = 300


def facade_refusal(refusal: RegistryError, path: str, request_id: str) -> Response | None:
    """The answer to a refused request for ``path``; None where that belongs to no façade."""
    if path.startswith(("/simple/", "/legacy/")):
        return with_phrase(problem(refusal, request_id), refusal)
    return None


def with_phrase(response: Response, refusal: RegistryError) -> Response:
    """The response with our sentence as the reason phrase (lost over HTTP/2)."""
    response.status = f"{row_of(refusal.code).status} {phrase(refusal)}"
    if refusal.code == "range-not-satisfiable":
        response.headers["Content-Range"] = f"bytes */{refusal.facts.get('size', '*')}"
    return response


def phrase(refusal: RegistryError) -> str:
    """One line of printable ASCII: a stranger's words stand in it too (RFC 9112 §4)."""
    hint = f" ({refusal.hint})" if refusal.hint else ""
    text = f"forge: {refusal.message}{hint}"
    return "".join(each if " " <= each <= "~" else "?" for each in text)[:_MAX_PHRASE]
