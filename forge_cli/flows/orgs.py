"""Organisations: applying for one, and signing what its members bring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signing.applications import sign_application
from signing.errors import MalformedError, VerificationError
from signing.names import ComponentName, parse_org_name
from signing.role_edits import add_signatures, new_role
from signing.roles import Delegation, delegations_of, role_version
from signing.updates import check_role_update

from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from ..keystore import StoredKey
from .roles import send_roles
from .signers import held, ids, own_key, unlock

_MAX_ROLE_BYTES = 5_000_000


def create(
    context: Context, org: str, kind: str, display_name: str, key: str | None
) -> tuple[StoredKey, Any]:
    """Apply for an organisation under our key; the authority decides."""
    name = parse_org_name(org)
    api = context.api_with_token()
    stored = own_key(context, key)
    private = unlock(context, [stored])
    application = sign_application(name, kind, display_name, private, 1, context.now)
    role = new_role(private, context.now, "organisation")
    answer = api.post(
        "applications", body={"application": application.decode(), "role": role.decode()}
    )
    return stored, answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What `sign_file` did. ``missing`` are keys that must still sign; none when it was sent."""

    organisation: str
    added: dict[ComponentName, Delegation]
    signed_with: tuple[str, ...]
    missing: str = ""


def read_role_file(path: Path) -> tuple[str, bytes]:
    """The organisation that a carried role file is about, and its bytes."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    if len(data) > _MAX_ROLE_BYTES:
        raise ForgeError("malformed", f"{path}: expected at most {_MAX_ROLE_BYTES} bytes")
    try:
        names = {ComponentName.from_role(role, str(path)).org for role in delegations_of(data)}
    except MalformedError as error:
        raise ForgeError(
            "malformed",
            f"{path}: expected a role that `forge publish` wrote, found something else "
            f"({error.message})",
        ) from None
    if len(names) != 1:
        raise ForgeError(
            "malformed",
            f"{path}: expected one organisation's role, found "
            + (", ".join(sorted(names)) or "nothing in it"),
        )
    return names.pop(), data


def additions(context: Context, org: str, data: bytes) -> dict[ComponentName, Delegation]:
    """What the role adds to the organisation's verified one: the thing that is being signed."""
    current = context.view.organisation_role(org)
    if current is None:
        raise ForgeError("not-found", f"organisation {org} is not registered in {context.url}")
    before = delegations_of(current, org)
    after = delegations_of(data, org)
    changed = [role for role in before if before[role] != after.get(role)]
    made, now = role_version(data, org), role_version(current, org)
    if made <= now and (changed or after.keys() - before.keys()):
        raise ForgeError(
            "role-version",
            f"the file was made for version {made} of the role of {org}, "
            f"which is at version {now} by now",
            hint="nothing is wrong with it, it is only old: "
            "the publisher runs `forge publish` again and brings the new file",
        )
    if changed:
        raise VerificationError(
            "chain-broken",
            f"role {org}",
            "additions only",
            f"a change of {changed[0]}",
            "do not sign it; ask whoever sent it",
        )
    return {
        ComponentName.from_role(role): delegation
        for role, delegation in after.items()
        if role not in before
    }


def sign_file(context: Context, path: Path, org: str, data: bytes) -> Signed:
    """Add our signatures to the role in ``path``; send it when that completes it."""
    added = additions(context, org, data)
    delegation = context.view.organisations()[org]
    stored = held(context, delegation)
    if not stored:
        raise ForgeError(
            "key-missing",
            f"none of your keys may sign for {org}\nexpected one of {ids(delegation.keys)}",
            hint="run it where the organisation's key is",
        )
    role = add_signatures(data, unlock(context, stored))
    names = tuple(key.name for key in stored)
    try:
        check_role_update(
            org, role, context.view.organisation_role(org), context.view.registrar, context.now
        )
    except VerificationError as error:
        if error.code != "threshold-not-met":
            raise
        write_private(path, role, mode=0o644)
        others = [key for key in delegation.keys if key not in {k.public for k in stored}]
        return Signed(organisation=org, added=added, signed_with=names, missing=ids(others))
    send_roles(context, {org: role})
    return Signed(organisation=org, added=added, signed_with=names)
