"""Refusals in the form that each façade's own client shows to its user.

pip and twine show nothing but the reason phrase of the status line, uv the title and detail of the
problem document, Hugging Face's clients the header ``X-Error-Message``, container tools the message
of an error. So the sentence stands in each of them.
"""

from __future__ import annotations

import json
from typing import Final

from flask import Response

from ..api.problems import add_headers, problem
from ..domain.text import harmless
from ..errors import RegistryError, row_of

_MAX_PHRASE: Final = 300
_HUB_CODES: Final = {
    "component-not-found": "RepoNotFound",
    "revision-not-found": "RevisionNotFound",
    "file-not-found": "EntryNotFound",
}
_OCI_CODES: Final = {
    "not-found": "NAME_UNKNOWN",
    "component-not-found": "NAME_UNKNOWN",
    "revision-not-found": "MANIFEST_UNKNOWN",
    "blob-not-found": "BLOB_UNKNOWN",
    "malformed": "DIGEST_INVALID",
    "method-not-allowed": "UNSUPPORTED",
    "too-many-requests": "TOOMANYREQUESTS",
}
# RFC 6749 §5.2 and RFC 8628 §3.5: the codes that programs which log in understand.
_OAUTH_CODES: Final = {
    "login-not-found": "invalid_grant",
    "login-expired": "expired_token",
    "login-denied": "access_denied",
}
# The one text for which Hub clients say that the token is bad, and not that nothing is there.
_BAD_TOKEN: Final = "Invalid credentials in Authorization header"  # noqa: S105


def facade_refusal(refusal: RegistryError, path: str, request_id: str) -> Response | None:
    """The answer to a refused request for ``path``; None where that belongs to no façade."""
    if path.startswith(("/simple/", "/legacy/")):
        response = problem(refusal, request_id)
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = 'Basic realm="forge"'  # what these clients send
        return _with_phrase(response, refusal)
    if path.startswith(("/oauth/", "/hf/oauth/")):
        return _with_phrase(_oauth(refusal), refusal, 400 if refusal.code in _OAUTH_CODES else None)
    if path.startswith("/hf/"):
        return _with_phrase(_hub(refusal), refusal)
    if path.startswith("/v2/"):
        return _with_phrase(_oci(refusal), refusal)
    return None


def _with_phrase(response: Response, refusal: RegistryError, status: int | None = None) -> Response:
    """The response with our sentence as the reason phrase (lost over HTTP/2)."""
    response.status = f"{status or row_of(refusal.code).status} {phrase(refusal)}"
    if refusal.code == "range-not-satisfiable":
        response.headers["Content-Range"] = f"bytes */{refusal.facts.get('size', '*')}"
    return response


def _hub(refusal: RegistryError) -> Response:
    status = row_of(refusal.code).status
    text = _BAD_TOKEN if status == 401 else sentence(refusal)
    response = Response(
        json.dumps({"error": text}) + "\n", status, content_type="application/json"
    )  # fmt: skip
    add_headers(response, refusal)
    response.headers["X-Error-Message"] = header_text(text)
    if refusal.code in _HUB_CODES:
        response.headers["X-Error-Code"] = _HUB_CODES[refusal.code]
    if "commit" in refusal.facts:  # lets clients remember that the file is not there
        response.headers["X-Repo-Commit"] = str(refusal.facts["commit"])
    return response


def _oauth(refusal: RegistryError) -> Response:
    """RFC 6749 §5.2. Who asks too often is told to slow down, and asks on."""
    status = row_of(refusal.code).status
    other = "server_error" if status >= 500 else "slow_down" if status == 429 else "invalid_request"
    text = sentence(refusal)
    value = {"error": _OAUTH_CODES.get(refusal.code, other), "error_description": text}
    response = Response(json.dumps(value) + "\n", status, content_type="application/json")
    add_headers(response, refusal)
    response.headers["X-Error-Message"] = header_text(text)
    return response


def _oci(refusal: RegistryError) -> Response:
    """distribution-spec v1.1, "Error Codes"."""
    code = _OCI_CODES.get(refusal.code, "UNKNOWN")
    error = {"code": code, "message": sentence(refusal)}
    response = Response(
        json.dumps({"errors": [error]}) + "\n",
        row_of(refusal.code).status,
        content_type="application/json",
    )
    add_headers(response, refusal)
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    if refusal.code == "method-not-allowed":
        response.headers["Allow"] = "GET, HEAD"
    return response


def sentence(refusal: RegistryError) -> str:
    """What happened and what to do, as one text."""
    hint = f" ({refusal.hint})" if refusal.hint else ""
    return f"forge: {refusal.message}{hint}"


def phrase(refusal: RegistryError) -> str:
    """One line of printable ASCII: a stranger's words stand in it too (RFC 9112 §4)."""
    text = sentence(refusal)
    return "".join(each if " " <= each <= "~" else "?" for each in text)[:_MAX_PHRASE]


def header_text(text: str) -> str:
    """``text`` for a header that a person reads: its UTF-8 bytes, as WSGI wants them (PEP 3333),
    without anything that would end the line."""
    plain = harmless(text)[:_MAX_PHRASE].replace("\ufffd", "?")
    return plain.encode("utf-8").decode("latin-1")
