"""Renewing roles before they expire, and warning of those that will."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from signing.bodies import body_of, is_reviews
from signing.names import ComponentName, parse_org_name
from signing.renewal import expiring, renew_role
from signing.roles import Delegation, delegations_of, role_expires, role_version, verify_role
from signing.updates import check_role_update

from ..border import sound
from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from ..remote.trust import View
from .roles import rebasing, send_roles
from .signers import held, ids, unlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A role that was signed anew. ``file`` is set when it waits there for other signatures."""

    role: str
    expires: datetime
    file: Path | None = None
    missing: str = ""


def renew(context: Context, name: str) -> Renewed:
    """Sign the role of an organisation, or of one of its projects, anew; also an expired one."""
    if "/" in name:
        return _renew(context, ComponentName.parse(name).role)
    return _renew(context, parse_org_name(name))


def renew_all(context: Context) -> list[Renewed]:
    """Sign anew every role that ends within 60 days and needs no other keys than ours."""
    due = [item.role for item in expiring(held_expiries(context, context.view), context.now)]
    return [_renew(context, role) for role in due]


def held_expiries(context: Context, view: View) -> dict[str, datetime]:
    """``{role: expiry}`` of all roles that our keys can sign alone."""
    found = {}
    for org, delegation in view.organisations().items():
        if not view.has_role(org):
            continue
        ours = len(held(context, delegation)) >= delegation.threshold
        role = _current(view, org)
        if ours:
            found[org] = role_expires(role, org)
        for name, project in delegations_of(role, org).items():
            if len(held(context, project)) >= project.threshold and view.has_role(name):
                found[name] = role_expires(view.stale_role(name), name)
    return found


def _current(view: View, role: str) -> bytes:
    """The current role, signed by those who may, expired or not: TUF's client would refuse the
    very roles that most need renewing."""
    if not view.has_role(role):
        raise ForgeError("not-found", f"{role.replace('.', '/')}: no such role in {view.url}")
    data = view.stale_role(role)
    parent = _current(view, role.partition(".")[0]) if "." in role else view.registrar
    with sound(f"the role {role}"):
        verify_role(parent, role, data)
    return data


def _renew(context: Context, role: str) -> Renewed:
    def attempt(view: View) -> Renewed:
        current = _current(view, role)
        project = "." in role
        parent = _current(view, role.partition(".")[0]) if project else view.registrar
        needed: Delegation = delegations_of(parent)[role]
        stored = held(context, needed)[: needed.threshold]
        if not stored or (project and len(stored) < needed.threshold):
            raise ForgeError(
                "key-missing" if not stored else "signature-missing",
                f"{role.replace('.', '/')} needs {needed.threshold} signature(s), and you hold "
                f"{len(stored)} of its keys\nexpected {ids(needed.keys)}",
                hint="run it where they are",
            )
        new = renew_role(current, role, unlock(context, stored), context.now)
        expires = role_expires(new, role)
        if len(stored) < needed.threshold:
            path = Path(f"{role}.{role_version(new)}.json")
            write_private(path, new, mode=0o644)
            others = [key for key in needed.keys if key not in {own.public for own in stored}]
            return Renewed(role=role, expires=expires, file=path, missing=ids(others))
        check_role_update(role, new, current, parent, context.now)
        send_roles(context, {role: new})
        return Renewed(role=role, expires=expires)

    return rebasing(context, role, attempt)


def require_one(name: str | None, everything: bool) -> None:
    """Raises UsageError unless exactly one of the two says what to renew."""
    if (name is None) is not everything:
        raise UsageError("say what to renew: ORG, ORG/NAME, or --all")


def warn_expiring(context: Context, *, but: Collection[str] = ()) -> None:
    """Warn of every role that this run relied on and that ends within 60 days.

    ``but`` names roles that were signed anew just now.
    """
    if not context.asked_registry:
        return
    for item in expiring(context.view.expiries(), context.now):
        if item.role not in but:
            context.out.warn(f"{item}; {advice(item.role)}")


def advice(role: str) -> str:
    """Who must do what about a role that expires."""
    if role in ("root", "targets", "registrar"):
        return "the authority must sign it anew"
    if role == "status":
        return "its host renews it with: forge authority status"
    if is_reviews(role):
        return f"{body_of(role)} renews it by whatever it signs; then nothing that it signed counts"
    name = role.replace(".", "/")
    who = "a publisher" if "." in role else "the organisation"
    return f"{who} renews it with: forge renew {name}"
