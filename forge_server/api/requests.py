"""What every view needs: the registry, the caller, and small parsers of parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from flask import Response, current_app, g, request

from ..domain.tokens import contains_token
from ..errors import RegistryError
from ..services.callers import Caller, Identity
from ..services.transfers import Transfers
from ..wiring import Registry

_View = TypeVar("_View", bound=Callable[..., Any])


def registry() -> Registry:
    found = current_app.extensions["forge"]
    assert isinstance(found, Registry)
    return found


def transfers() -> Transfers:
    found = current_app.extensions["forge-transfers"]
    assert isinstance(found, Transfers)
    return found


def caller() -> Caller:
    """Who asks, as far as is known up to now."""
    found = g.caller
    assert isinstance(found, Caller)
    return found


def begin(request_id: str) -> None:
    """Prepares the request; refuses a token in the address before anything logs it."""
    g.caller = Caller(address=request.remote_addr, request_id=request_id)
    if contains_token(request.full_path):
        raise RegistryError(
            "token-in-url",
            "address: expected no access token, found one",
            "revoke that token and send the next one in the Authorization header",
        )


def authenticated(before: str = "") -> Caller:
    """The caller with an identity. ``before`` is what may stand before an access token.

    Raises:
        RegistryError: no token, or one that is not accepted; too many of those.
    """
    identity = _identity(before)
    if identity is None:
        raise RegistryError(
            "not-authenticated", "expected an access token, found none", "log in: forge login"
        )
    return caller()


def known() -> Caller:
    """The caller, with an identity if a token was sent; a bad token is refused all the same."""
    _identity()
    return caller()


def _identity(before: str = "") -> Identity | None:
    if caller().identity is not None:
        return caller().identity
    header = request.headers.get("Authorization")
    if header is None:
        return None
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer":
        registry().throttle.check(request.remote_addr, registry().clock())
        raise RegistryError(
            "token-invalid", "Authorization: expected Bearer and an access token, found another"
        )
    return authenticated_with(token.strip(" ").removeprefix(before)).identity


def authenticated_with(token: str) -> Caller:
    """The caller, known by an access token that came in whatever form.

    Raises:
        RegistryError: it is not accepted; too many of those.
    """
    registry().throttle.check(request.remote_addr, registry().clock())
    identity = registry().accounts.authenticate(token.strip(" "))
    g.caller = replace(caller(), identity=identity)
    return caller()


def audited(action: str) -> Callable[[_View], _View]:
    """Names a view's action for the audit log, where its refusals go."""

    def mark(view: _View) -> _View:
        view.audit_action = action  # type: ignore[attr-defined]
        return view

    return mark


def answer(value: object, status: int = 200) -> Response:
    """``value`` as JSON, in ASCII (see `problems`)."""
    response = Response(json.dumps(value) + "\n", status, content_type="application/json")
    private = "Authorization" in request.headers or status != 200
    response.headers["Cache-Control"] = "no-store" if private else "no-cache"
    return response


def query_integer(name: str, default: int, *, low: int, high: int) -> int:
    """The query parameter ``name`` as an integer from ``low`` to ``high``.

    Raises:
        RegistryError: it is something else (``malformed``).
    """
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise RegistryError(
            "malformed", f"request: {name}: expected {low} to {high}, found {text!r:.40}"
        )
    return int(text)
