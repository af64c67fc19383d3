"""``/whoami`` and ``/tokens``."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response

from ..domain.members import ROLES
from ..domain.scopes import ACTIONS, parse_scope
from ..services.accounts import MAX_TOKEN_DAYS, TokenRow
from .described import TOKEN, described, request_body
from .requests import answer, authenticated, registry
from .shapes import (
    COMPONENT,
    COUNT,
    INSTANT,
    OPTIONAL_INSTANT,
    OPTIONAL_TEXT,
    ORGANISATION,
    TEXT,
    TEXTS,
    Integer,
    ListOf,
    Nullable,
    Record,
    Text,
)

DEFAULT_TOKEN_DAYS = 90
_ACTION: Final = Text(choices=ACTIONS)
_WHO: Final = Record(
    "Who",
    {
        "user": TEXT,
        "token": Record(
            "TokenInUse",
            {
                "id": COUNT,
                "name": TEXT,
                "scopes": TEXTS,
                "organisation": OPTIONAL_TEXT,
                "component": OPTIONAL_TEXT,
                "expires_at": INSTANT,
            },
        ),
        "organisations": ListOf(
            Record("Membership", {"name": TEXT, "role": Text(choices=ROLES)}),
        ),
    },
)
_TOKEN: Final = Record(
    "Token",
    {
        "id": COUNT,
        "name": TEXT,
        "actions": ListOf(_ACTION),
        "organisation": OPTIONAL_TEXT,
        "component": OPTIONAL_TEXT,
        "created_at": INSTANT,
        "expires_at": INSTANT,
        "last_used_at": OPTIONAL_INSTANT,
        "revoked_at": OPTIONAL_INSTANT,
    },
    says="A token as it is listed: everything but the secret.",
)
_NEW_TOKEN: Final = Record(
    "NewToken",
    {
        "name": Text(max_chars=100, min_chars=1, says="what it is for", example="ci"),
        "actions": ListOf(_ACTION, most=len(ACTIONS), least=1, says="every action unless given"),
        "organisation": Nullable(ORGANISATION.saying("for this organisation alone")),
        "component": Nullable(COMPONENT.saying("for this component alone")),
        "expires_in_days": Integer(
            low=1, high=MAX_TOKEN_DAYS, says=f"{DEFAULT_TOKEN_DAYS} unless given"
        ),
    },
    optional=frozenset({"actions", "organisation", "component", "expires_in_days"}),
)


def add_routes(api: Blueprint) -> None:
    api.get("/whoami")(whoami)
    api.get("/tokens")(list_tokens)
    api.post("/tokens")(create_token)
    api.delete("/tokens/<token_id>")(revoke_token)


@described(
    "account.show", "The user, the token with its scopes, and the user's organisations.",
    caller=TOKEN, answers={200: _WHO},
)  # fmt: skip
def whoami() -> Response:
    identity = authenticated().identity
    assert identity is not None
    return answer(
        {
            "user": identity.user,
            "token": {
                "id": identity.token_id,
                "name": identity.token_name,
                "scopes": identity.scope.texts(),
                "organisation": identity.scope.organisation,
                "component": identity.scope.component,
                "expires_at": INSTANT.render(identity.expires_at),
            },
            "organisations": [
                {"name": name, "role": role}
                for name, role in registry().accounts.memberships(identity)
            ],
        }
    )


@described(
    "token.list", "One's own tokens, with their last use.",
    caller=TOKEN, scopes=("read", "manage"),
    answers={200: Record("Tokens", {"tokens": ListOf(_TOKEN)})},
)  # fmt: skip
def list_tokens() -> Response:
    identity = authenticated().identity
    assert identity is not None
    if not identity.scope.allows("manage", None, None):
        identity.require("read")
    rows = registry().accounts.tokens(identity.user)
    return answer({"tokens": [_token(row) for row in rows]})


@described(
    "token.create", "Makes a token, which is shown this once.",
    caller=TOKEN, scopes=("manage",), body=_NEW_TOKEN,
    answers={
        201: _TOKEN.with_("MadeToken", token=Text(format="password", says="the secret, this once"))
    },
    refusals=("component-not-found", "organisation-not-found", "scope-exceeded"),
)  # fmt: skip
def create_token() -> Response:
    body = request_body()
    component = body.get("component")
    scope = parse_scope(
        body.get("actions", ACTIONS),
        body.get("organisation"),
        None if component is None else str(component),
    )
    row, secret = registry().accounts.create_token(
        authenticated(),
        name=body["name"],
        scope=scope,
        expires_in_days=body.get("expires_in_days", DEFAULT_TOKEN_DAYS),
    )
    return answer(_token(row) | {"token": secret}, 201)


@described(
    "token.revoke", "Revokes a token, at once and for good.", caller=TOKEN,
    answers={200: Record("RevokedToken", {"id": COUNT, "state": Text(choices=("revoked",))})},
    refusals=("token-not-found", "scope-missing"),
)  # fmt: skip
def revoke_token(token_id: str) -> Response:
    registry().accounts.revoke_token(authenticated(), int(token_id))
    return answer({"id": int(token_id), "state": "revoked"})


def _token(row: TokenRow) -> dict[str, Any]:
    return _TOKEN.of(
        row,
        actions=[action for action in ACTIONS if action in row.scope.actions],
        organisation=row.scope.organisation,
        component=row.scope.component,
    )
