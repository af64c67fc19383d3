"""Approving a login that was begun on another machine (RFC 8628 §3.3).

Nobody is logged in on these pages: the form takes an access token, uses it for this one decision
and forgets it. So there is no session that another site could use in somebody's name, and nothing
that a browser keeps.
"""

from __future__ import annotations

from typing import Final

from flask import Response, redirect, request, url_for

from ...api.bodies import content_length
from ...api.logins import counted_guesses
from ...api.problems import add_headers
from ...api.requests import audited, authenticated_with, caller, registry
from ...errors import RegistryError, row_of
from ...services.device_logins import TOKEN_DAYS, Login
from .. import languages
from ..rendering import page

_MAX_FORM_BYTES: Final = 16 * 1024
_CODE: Final = "user_code"
# What the page has words for; the rest is answered like everywhere.
_SAID: Final = frozenset(
    (
        "login-not-found", "login-expired", "login-decided", "scope-missing", "scope-exceeded",
        "too-many-failures", "token-invalid", "token-expired", "token-revoked", "account-disabled",
    )
)  # fmt: skip


def choose_login() -> Response:
    """The address that programs print, to the page in the reader's language."""
    code = request.args.get(_CODE, "")[:20]
    there = url_for("pages.login", lang=languages.preferred(), user_code=code or None)
    response = redirect(there, 302, Response)
    assert isinstance(response, Response)
    return _private(response)


def login() -> Response:
    """Asks for the code, and shows what is known of the login that it belongs to."""
    code = request.args.get(_CODE, "").strip()[:20]
    if not code:
        return _page(code="")
    try:
        with counted_guesses():
            found = registry().device_logins.show(code)
    except RegistryError as refusal:
        return _refused(refusal, code, None)
    return _page(code=code, found=found)


@audited("login.decide")
def decide_login() -> Response:
    """Approves or refuses with the token that came in the form.

    Raises:
        RegistryError: the body is no form of ours (``malformed``, ``too-large``).
    """
    content_length(_MAX_FORM_BYTES)
    request.max_content_length = request.max_form_memory_size = _MAX_FORM_BYTES
    code = request.form.get(_CODE, "").strip()[:20]
    decision = request.form.get("decision")
    if decision not in ("approve", "refuse"):
        raise RegistryError("malformed", "request: decision: expected approve or refuse")
    found: Login | None = None
    try:
        with counted_guesses():
            found = registry().device_logins.show(code)
            authenticated_with(request.form.get("token", "").strip())
            found = registry().device_logins.decide(caller(), code, approve=decision == "approve")
    except RegistryError as refusal:
        _note(refusal)
        return _refused(refusal, code, found)
    return _page(code=code, found=found, done=decision)


def _refused(refusal: RegistryError, code: str, found: Login | None) -> Response:
    """The page again, in the reader's language, where it has words for what is wrong."""
    if refusal.code not in _SAID:
        raise refusal
    response = _page(row_of(refusal.code).status, code=code, found=found, problem=refusal.code)
    add_headers(response, refusal)
    return response


def _note(refusal: RegistryError) -> None:
    """What every refused change leaves behind, also when the answer is a page."""
    if refusal.code not in _SAID or refusal.code == "too-many-failures":
        return
    if caller().identity is None and refusal.code != "login-not-found":  # counted already
        registry().throttle.failed(request.remote_addr, registry().clock())
    registry().audit.refused(caller(), "login.decide", request.path, refusal)


def _page(status: int = 200, /, **values: object) -> Response:
    return _private(
        page("login.html", status, here_address=request.remote_addr, days=TOKEN_DAYS, **values)
    )


def _private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
