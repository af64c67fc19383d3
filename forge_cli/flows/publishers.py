"""Publishers of a project: who they are, and the organisation's word that changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from signing.errors import VerificationError
from signing.keys import PublicKey
from signing.names import ComponentName
from signing.publisher_edits import revoke_publisher, set_publishers
from signing.role_edits import add_signatures
from signing.roles import Delegation, delegations_of, role_expires, role_version
from signing.updates import check_role_update

from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from ..remote.trust import View
from .keys import read_public
from .roles import rebasing, send_roles
from .signers import held, ids, short, unlock

_MIN_ID_CHARS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What came of a change. ``file`` is set when it waits there for other signatures."""

    delegation: Delegation
    file: Path | None = None
    missing: str = ""


def publishers(view: View, component: ComponentName) -> Delegation:
    """Who may publish ``component``, as its organisation signed.

    Raises:
        ForgeError: ``not-found``.
    """
    role = view.organisation_role(component.org)
    delegation = None if role is None else delegations_of(role, component.org).get(component.role)
    if delegation is None:
        raise ForgeError(
            "not-found",
            f"{component}: the organisation lists no such component",
            hint="the first forge publish lists it",
        )
    return delegation


def add(context: Context, component: ComponentName, keys: Sequence[str]) -> Changed:
    """Let ``keys`` publish as well."""
    new = [named_key(context, key) for key in keys]

    def keys_after(before: Delegation) -> list[PublicKey]:
        there = [key for key in new if key in before.keys]
        if there:
            raise ForgeError(
                "already-exists", f"key {short(there[0])} publishes {component} already"
            )
        return [*before.keys, *new]

    return _set(context, component, keys_after, None)


def remove(context: Context, component: ComponentName, keys: Sequence[str]) -> Changed:
    """Take the right to publish from ``keys``; what they signed stays good."""

    def keys_after(before: Delegation) -> list[PublicKey]:
        gone = [listed_key(context, before.keys, key, component) for key in keys]
        return [key for key in before.keys if key not in gone]

    return _set(context, component, keys_after, None)


def replace(
    context: Context, component: ComponentName, keys: Sequence[str], threshold: int | None
) -> Changed:
    """Let exactly ``keys`` publish, ``threshold`` of them together."""
    new = [named_key(context, key) for key in keys]
    return _set(context, component, lambda before: new, threshold)


def revoke(
    context: Context, component: ComponentName, keyid: str, at: datetime | None, reason: str
) -> Changed:
    """Take a key back for good: nothing that it alone signed counts any more."""
    since = at or context.now
    if since > context.now:
        raise UsageError(f"--at {since:%Y-%m-%dT%H:%M:%SZ}: expected an instant in the past")

    def edit(role: bytes, before: Delegation) -> bytes:
        known = (*before.keys, *before.former.retired)
        key = listed_key(context, known, keyid, component)
        return revoke_publisher(role, component, key, since, reason, [], context.now)

    return _change(context, component, edit)


def named_key(context: Context, text: str) -> PublicKey:
    """The public key that ``text`` names: a PEM file, or a key of this machine."""
    path = Path(text)
    if path.suffix in (".pub", ".pem") or path.exists():
        return read_public(path)
    return context.keys.show(text).public


def listed_key(
    context: Context, known: Sequence[PublicKey], text: str, component: ComponentName
) -> PublicKey:
    """The one of ``known`` that ``text`` names: the beginning of its id, a file, or a name."""
    found = [key for key in known if len(text) >= _MIN_ID_CHARS and key.keyid.startswith(text)]
    if len(found) == 1:
        return found[0]
    try:
        named = named_key(context, text)
    except ForgeError:
        named = None
    if named is None or named not in known:
        raise ForgeError(
            "not-found",
            f"{text!r} names no key that publishes or published {component}\n"
            f"expected one of {ids(known)}",
            hint=f"forge org publisher list {component}",
        )
    return named


def _set(
    context: Context,
    component: ComponentName,
    keys_after: Callable[[Delegation], list[PublicKey]],
    threshold: int | None,
) -> Changed:
    def edit(role: bytes, before: Delegation) -> bytes:
        keys = list(dict.fromkeys(keys_after(before)))
        wanted = before.threshold if threshold is None else threshold
        if not 1 <= wanted <= len(keys):
            raise UsageError(
                f"{component}: {len(keys)} key(s) cannot give {wanted} signature(s)",
                hint="name the new keys and their number in one step: forge org publisher "
                "replace … --threshold N",
            )
        return set_publishers(role, component, keys, wanted, [], context.now)

    return _change(context, component, edit)


def _change(
    context: Context, component: ComponentName, edit: Callable[[bytes, Delegation], bytes]
) -> Changed:
    """Make the change on the verified role, sign it with our organisation keys, and send it, or
    write it to a file where others must sign too."""

    def attempt(view: View) -> Changed:
        before = publishers(view, component)
        current = view.organisation_role(component.org)
        assert current is not None
        unsigned = edit(current, before)
        after = delegations_of(unsigned, component.org)[component.role]
        needed = view.organisations()[component.org]
        stored = held(context, needed)[: needed.threshold]
        role = add_signatures(unsigned, unlock(context, stored))
        if len(stored) < needed.threshold:
            path = Path(f"{component.org}.{role_version(role)}.json")
            write_private(path, role, mode=0o644)
            others = [key for key in needed.keys if key not in {own.public for own in stored}]
            return Changed(delegation=after, file=path, missing=ids(others))
        check_role_update(component.org, role, current, view.registrar, context.now)
        send_roles(context, {component.org: role})
        return Changed(delegation=after)

    return rebasing(context, component.org, attempt)


def describe_changes(context: Context, org: str, data: bytes) -> list[str]:
    """What the role in ``data`` changes in the organisation's verified one, a line each: the
    thing that is being signed.

    Raises:
        VerificationError: a delegation is taken away, or a revocation.
    """
    current = context.view.organisation_role(org)
    if current is None:
        raise ForgeError("not-found", f"organisation {org} is not registered in {context.url}")
    before, after = delegations_of(current, org), delegations_of(data, org)
    made, now = role_version(data, org), role_version(current, org)
    if made <= now and before != after:
        raise ForgeError(
            "role-version",
            f"the file was made for version {made} of the role of {org}, "
            f"which is at version {now} by now",
            hint="nothing is wrong with it, it is only old: whoever made it repeats the command "
            "(for a new component `forge publish`) and brings the new file",
        )
    gone = sorted(before.keys() - after.keys())
    if gone:
        raise VerificationError(
            "chain-broken",
            f"role {org}",
            "every delegation kept",
            f"none to {gone[0]}",
            "do not sign it; ask whoever sent it",
        )
    lines: list[str] = []
    for role, new in after.items():
        if before.get(role) != new:
            lines += _lines(str(ComponentName.from_role(role)), before.get(role), new)
    expires = role_expires(data, org)
    if not lines and expires > role_expires(current, org):
        return [f"{org}  nothing but its expiry, {expires:%Y-%m-%d} now"]
    return lines


def _lines(name: str, old: Delegation | None, new: Delegation) -> list[str]:
    had = old.keys if old is not None else ()
    lines = [f"{name}  key {key.keyid}" for key in new.keys if key not in had]
    revoked = {item.key: item for item in new.former.revoked}
    if old is None:
        return lines
    for key in (*had, *old.former.retired):
        if (item := revoked.get(key)) is not None:
            why = f": {item.reason}" if item.reason else ""
            at = f"{item.at:%Y-%m-%d %H:%M} UTC"
            lines.append(f"{name}  REVOKES key {key.keyid} since {at}{why}")
        elif key in had and key not in new.keys:
            lines.append(f"{name}  no longer key {key.keyid}")
    if old.threshold != new.threshold:
        lines.append(f"{name}  {new.threshold} of {len(new.keys)} keys needed")
    return lines or [f"{name}  other details of its former keys"]
