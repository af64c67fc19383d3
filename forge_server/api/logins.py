"""``/logins``: approving, on one machine, the login of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Response, request

from ..errors import RegistryError
from ..services.device_logins import TOKEN_DAYS, Login
from .bodies import read_json
from .rendering import instant
from .requests import answer, audited, authenticated, caller, registry


def add_routes(api: Blueprint) -> None:
    api.get("/logins/<user_code>")(show_login)
    api.post("/logins/<user_code>")(decide_login)


@audited("login.show")
def show_login(user_code: str) -> Response:
    authenticated()
    with counted_guesses():
        return answer(_login(registry().device_logins.show(user_code)))


@audited("login.decide")
def decide_login(user_code: str) -> Response:
    authenticated()
    body = read_json(registry().settings.max_json_bytes).only(["decision"])
    decision = body.text("decision", max_chars=10)
    if decision not in ("approve", "refuse"):
        raise RegistryError(
            "malformed", f"request: decision: expected approve or refuse, found {decision!r}"
        )
    with counted_guesses():
        found = registry().device_logins.decide(caller(), user_code, approve=decision == "approve")
    return answer(_login(found))


@contextmanager
def counted_guesses() -> Iterator[None]:
    """Counts user codes that nobody was given, by address, also of callers that we know: who finds
    one that a program waits for could log it in to an account of their own (RFC 8628 §5.1).

    Raises:
        RegistryError: too many (``too-many-failures``).
    """
    registry().throttle.check(request.remote_addr, registry().clock())
    try:
        yield
    except RegistryError as error:
        if error.code == "login-not-found":
            registry().throttle.failed(request.remote_addr, registry().clock())
        raise


def _login(login: Login) -> dict[str, Any]:
    return {
        "user_code": login.user_code,
        "client": login.client,
        "device": login.device,
        "address": login.address,
        "actions": sorted(login.scope.actions),
        "token_name": login.token_name,
        "token_days": TOKEN_DAYS,
        "asked_at": instant(login.asked_at),
        "expires_at": instant(login.expires_at),
        "approved": login.approved,
    }
