"""``/whoami`` and ``/tokens``."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ..domain.scopes import ACTIONS, parse_scope
from ..services.accounts import TokenRow
from .bodies import read_json
from .rendering import instant, optional_instant
from .requests import answer, audited, authenticated, registry

DEFAULT_TOKEN_DAYS = 90


def add_routes(api: Blueprint) -> None:
    api.get("/whoami")(whoami)
    api.get("/tokens")(list_tokens)
    api.post("/tokens")(create_token)
    api.delete("/tokens/<int:token_id>")(revoke_token)


@audited("account.show")
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
                "expires_at": instant(identity.expires_at),
            },
            "organisations": [
                {"name": name, "role": role}
                for name, role in registry().accounts.memberships(identity)
            ],
        }
    )


@audited("token.list")
def list_tokens() -> Response:
    identity = authenticated().identity
    assert identity is not None
    if not identity.scope.allows("manage", None, None):
        identity.require("read")
    rows = registry().accounts.tokens(identity.user)
    return answer({"tokens": [_token(row) for row in rows]})


@audited("token.create")
def create_token() -> Response:
    caller = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(
        ["name"], optional=("actions", "organisation", "component", "expires_in_days")
    )
    organisation, component = (
        None if body.value.get(key) is None else body.text(key, max_chars=90)
        for key in ("organisation", "component")
    )
    scope = parse_scope(
        body.texts("actions") if "actions" in body.value else ACTIONS, organisation, component
    )
    days = (
        body.integer("expires_in_days", low=1)
        if "expires_in_days" in body.value
        else DEFAULT_TOKEN_DAYS
    )
    row, secret = registry().accounts.create_token(
        caller, name=body.text("name", max_chars=100), scope=scope, expires_in_days=days
    )
    return answer(_token(row) | {"token": secret}, 201)


@audited("token.revoke")
def revoke_token(token_id: int) -> Response:
    registry().accounts.revoke_token(authenticated(), token_id)
    return answer({"id": token_id, "state": "revoked"})


def _token(row: TokenRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "actions": [action for action in ACTIONS if action in row.scope.actions],
        "organisation": row.scope.organisation,
        "component": row.scope.component,
        "created_at": instant(row.created_at),
        "expires_at": instant(row.expires_at),
        "last_used_at": optional_instant(row.last_used_at),
        "revoked_at": optional_instant(row.revoked_at),
    }
