"""Organisations: applying for one, and signing what its members bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signing.applications import sign_application
from signing.errors import MalformedError, VerificationError
from signing.names import ComponentName, parse_org_name
from signing.profile import OrgProfile
from signing.role_edits import add_signatures, new_role
from signing.roles import Delegation, delegations_of, parse_targets
from signing.updates import check_role_update

from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from ..keystore import StoredKey
from .publishers import describe_changes
from .roles import send_roles
from .signers import held, ids, own_key, unlock

_MAX_ROLE_BYTES = 5_000_000


def create(
    context: Context, org: str, profile: OrgProfile, keys: Sequence[str], threshold: int
) -> tuple[list[StoredKey], Any]:
    """Apply for an organisation under our keys; the authority decides."""
    name = parse_org_name(org)
    profile.check()
    api = context.api_with_token()
    stored = [own_key(context, key) for key in keys] or [own_key(context, None)]
    if not 1 <= threshold <= len(stored):
        raise UsageError(f"--threshold {threshold}: expected 1 to {len(stored)}, one per --key")
    private = unlock(context, stored)
    application = sign_application(
        name,
        profile.kind,
        profile.display_name,
        private,
        threshold,
        context.now,
        region=profile.region,
        names=profile.names,
        contact=profile.contact,
    )
    role = new_role(private, context.now, "organisation")
    answer = api.post(
        "applications", body={"application": application.decode(), "role": role.decode()}
    )
    return stored, answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What `sign_file` did. ``missing`` are keys that must still sign; none when it was sent."""

    organisation: str
    changes: tuple[str, ...]
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


def sign_file(context: Context, path: Path, org: str, data: bytes) -> Signed:
    """Add our signatures to the role in ``path``; send it when that completes it."""
    changes = tuple(describe_changes(context, org, data))
    delegation = context.view.organisations()[org]
    stored = held(context, delegation)
    if not stored:
        raise ForgeError(
            "key-missing",
            f"none of your keys may sign for {org}\nexpected one of {ids(delegation.keys)}",
            hint="run it where the organisation's key is",
        )
    already = set(parse_targets(data, org).signatures)
    fresh = [key for key in stored if key.public.keyid not in already]
    role = add_signatures(data, unlock(context, fresh))
    names = tuple(key.name for key in fresh)
    if missing := _missing(context, org, role, delegation):
        write_private(path, role, mode=0o644)
        return Signed(organisation=org, changes=changes, signed_with=names, missing=missing)
    send_roles(context, {org: role})
    return Signed(organisation=org, changes=changes, signed_with=names)


def send_file(context: Context, org: str, data: bytes) -> Signed:
    """Send the role, to which everybody who must has put a signature.

    Raises:
        ForgeError: ``signature-missing``.
    """
    changes = tuple(describe_changes(context, org, data))
    if missing := _missing(context, org, data, context.view.organisations()[org]):
        raise ForgeError(
            "signature-missing",
            f"the role of {org} still lacks signatures\nmissing  {missing}",
            hint="carry it to a holder of one of these keys: forge org sign FILE",
        )
    send_roles(context, {org: data})
    return Signed(organisation=org, changes=changes, signed_with=())


def _missing(context: Context, org: str, role: bytes, delegation: Delegation) -> str:
    """The ids of keys one of which must still sign; empty when none."""
    view = context.view
    try:
        check_role_update(org, role, view.organisation_role(org), view.registrar, context.now)
    except VerificationError as error:
        if error.code != "threshold-not-met":
            raise
        signed = set(parse_targets(role, org).signatures)
        return ids([key for key in delegation.keys if key.keyid not in signed])
    return ""
