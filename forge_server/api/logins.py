"""``/logins``: approving, on one machine, the login of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from flask import Blueprint, Response, request

from ..domain.scopes import ACTIONS
from ..errors import RegistryError
from ..services.device_logins import TOKEN_DAYS, Login
from .described import TOKEN, described, request_body
from .requests import answer, caller, registry
from .shapes import BOOLEAN, COUNT, INSTANT, OPTIONAL_TEXT, TEXT, ListOf, Nullable, Record, Text

_LOGIN: Final = Record(
    "Login",
    {
        "user_code": TEXT,
        "client": TEXT,
        "device": OPTIONAL_TEXT,
        "address": OPTIONAL_TEXT,
        "actions": ListOf(Text(choices=ACTIONS)),
        "token_name": TEXT,
        "token_days": COUNT,
        "asked_at": INSTANT,
        "expires_at": INSTANT,
        "approved": Nullable(BOOLEAN),
    },
    says="Who asks to be logged in, and for what; device is the asker's own word.",
)
_DECISIONS: Final = ("approve", "refuse")
_REFUSALS: Final = ("login-not-found", "login-expired", "too-many-failures")


def add_routes(api: Blueprint) -> None:
    api.get("/logins/<user_code>")(show_login)
    api.post("/logins/<user_code>")(decide_login)


@described(
    "login.show", "Who asks to be logged in with this code, from where and for what.",
    caller=TOKEN, answers={200: _LOGIN}, refusals=_REFUSALS,
)  # fmt: skip
def show_login(user_code: str) -> Response:
    with counted_guesses():
        return answer(_login(registry().device_logins.show(user_code)))


@described(
    "login.decide", "Approves or refuses a login, with a token that may do all that is asked for.",
    caller=TOKEN, scopes=("manage",),
    body=Record("LoginDecision", {"decision": Text(choices=_DECISIONS)}),
    answers={200: _LOGIN}, refusals=(*_REFUSALS, "login-decided", "scope-exceeded"),
)  # fmt: skip
def decide_login(user_code: str) -> Response:
    approve = request_body()["decision"] == "approve"
    with counted_guesses():
        return answer(_login(registry().device_logins.decide(caller(), user_code, approve=approve)))


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
    return _LOGIN.of(login, actions=sorted(login.scope.actions), token_days=TOKEN_DAYS)
