"""What the status host does: look at the registry, check all of it, and sign what it saw.

It runs on a machine that is not the server, from a timer. Everything that is withheld is carried
forward from its own last word; what the registry shows must continue what this host saw before, or
nothing is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from packaging.version import Version

from signing.digests import sha256_hex
from signing.errors import VerificationError
from signing.keys import SigningKey
from signing.names import ComponentName
from signing.role_edits import add_signatures
from signing.roles import (
    Delegation,
    IndexEntry,
    delegations_of,
    parse_signed,
    parse_targets,
    releases_of,
    role_expires,
    verify_role,
)
from signing.status import (
    QUARANTINED,
    REVOKED,
    ROLE,
    LogSeen,
    SnapshotSeen,
    Status,
    Withheld,
    status_of,
)
from signing.status_edits import changes, lift, sign_status, withhold
from signing.updates import check_role_update

from ..border import sound
from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from ..remote.trust import View
from .ceremony_files import read_file
from .keys import open_key
from .roles import rebasing, send_roles
from .signers import ids, short

Release = tuple[ComponentName, Version]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What shall be withheld from now on, and what no longer."""

    quarantine: tuple[Release, ...] = ()
    revoke: tuple[Release, ...] = ()
    lift: tuple[Release, ...] = ()
    reason: str | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.quarantine or self.revoke or self.lift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A statement: ``sent``, or still young enough (``renewed`` is False), or waiting in ``file``
    for signatures by ``missing``."""

    version: int
    status: Status
    expires: datetime
    changes: tuple[str, ...]
    renewed: bool = True
    sent: bool = False
    file: Path | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Current:
    """The role as it is (None: none yet), and what its keys are."""

    data: bytes | None
    delegation: Delegation
    version: int = 0
    status: Status | None = None
    expires: datetime | None = field(default=None)


def say(
    context: Context,
    references: Sequence[str],
    edit: Edit,
    *,
    if_older_than: timedelta | None,
    out: Path | None,
) -> Said:
    """Sign the next statement with the keys that ``references`` name, and send it; or write it to
    ``out`` where others must sign too.

    With ``if_older_than`` nothing is signed while the last statement is younger and nothing shall
    change.
    """
    if bool(edit.quarantine or edit.revoke) != (edit.reason is not None):
        raise UsageError("--reason goes with --quarantine and --revoke, which need one")
    context.requires_status = False
    keys: list[SigningKey] = []

    def attempt(view: View) -> Said:
        current = _current(view)
        if current.status is not None and edit.is_empty and if_older_than is not None:
            assert current.expires is not None
            if context.now - current.status.at < if_older_than:
                return Said(
                    version=current.version,
                    status=current.status,
                    expires=current.expires,
                    changes=(),
                    renewed=False,
                )
        new = _edited(context, view, _seen(view, context.now, current.status), edit)
        if not keys:
            keys.extend(_listed(context, current.delegation, references))
        data = sign_status(new, current.version + 1, keys)
        return _deliver(context, view, current, data, out)

    said = rebasing(context, f"role {ROLE}", attempt)
    _confirm(context, said)
    return said


def sign_file(context: Context, path: Path, references: Sequence[str], out: Path | None) -> Said:
    """Sign the statement in ``path`` as well, and send it once that completes it.

    Raises:
        VerificationError: it says something else about the registry than this machine sees.
    """
    context.requires_status = False
    view, data = context.view, read_file(path)
    current = _current(view)
    with sound(str(path)):
        status = status_of(data, str(path))
    view.require_true(status)
    signed = add_signatures(data, _listed(context, current.delegation, references))
    said = _deliver(context, view, current, signed, out or path)
    _confirm(context, said)
    return said


def describe_file(context: Context, path: Path) -> list[str]:
    """What the statement in ``path`` would change, in words."""
    context.requires_status = False
    with sound(str(path)):
        return changes(_current(context.view).status, status_of(read_file(path), str(path)))


def first_words(
    context: Context, targets: bytes, references: Sequence[str], *, forget: bool
) -> bytes:
    """A statement that is good under the next ``targets`` role, to be sent along with it. With
    ``forget`` nothing of what the host before withheld is carried forward: it was a thief's."""
    view = context.view
    delegation = delegations_of(targets, "targets").get(ROLE)
    if delegation is None:
        raise UsageError("--status-key: the ceremony names no status host")
    data = view.stale_role(ROLE) if view.has_role(ROLE) else None
    before = None if data is None or forget else _carried(data, (view.targets, targets))
    keys = _listed(context, delegation, references)
    if len(keys) < delegation.threshold:
        raise ForgeError(
            "signature-missing",
            f"role {ROLE} needs {delegation.threshold} signatures of {ids(delegation.keys)}",
            hint="give --status-key for each of them",
        )
    version = 1 if data is None else parse_targets(data, ROLE).signed.version + 1
    new = sign_status(_seen(view, context.now, before), version, keys)
    check_role_update(ROLE, new, data, targets, context.now)
    return new


def _carried(data: bytes, parents: Sequence[bytes]) -> Status | None:
    """What ``data`` says, if the keys that one of ``parents`` names signed it."""
    for parent in parents:
        with suppress(VerificationError), sound(f"the role {ROLE}"):
            verify_role(parent, ROLE, data)
            return status_of(data)
    return None


def _current(view: View) -> _Current:
    delegation = delegations_of(view.targets, "targets").get(ROLE)
    if delegation is None:
        raise ForgeError(
            "not-found",
            f"{view.url}: its authority names no status host",
            hint="forge authority rotate status --add FILE --threshold K --from FOLDER -o PLAN",
        )
    data = view.status_role()
    if data is None:
        return _Current(data=None, delegation=delegation)
    return _Current(
        data=data,
        delegation=delegation,
        version=parse_targets(data, ROLE).signed.version,
        status=status_of(data),
        expires=role_expires(data, ROLE),
    )


def _seen(view: View, now: datetime, before: Status | None) -> Status:
    """What this machine sees of the registry now, with what was withheld before."""
    log, snapshot = view.log, view.snapshot_seen()
    return Status(
        at=now.replace(microsecond=0),
        log=None
        if log is None
        else LogSeen(key=log.signed.key, size=log.checkpoint.size, root=log.checkpoint.root),
        snapshot=SnapshotSeen(
            version=parse_signed(snapshot, "snapshot", "snapshot").signed.version,
            sha256=sha256_hex(snapshot),
        ),
        withheld=() if before is None else before.withheld,
    )


def _edited(context: Context, view: View, status: Status, edit: Edit) -> Status:
    for release in edit.lift:
        status = lift(status, f"{release[0]}=={release[1]}")
    for state, releases in ((QUARANTINED, edit.quarantine), (REVOKED, edit.revoke)):
        for release in releases:
            one = _withheld(context, view, status, release, state, edit.reason or "")
            status = withhold(status, one)
    return status


def _releases(context: Context, view: View, name: ComponentName) -> dict[str, IndexEntry]:
    """The signed index; also one that no longer counts, for what is in somebody's cache."""
    try:
        return view.require(name).releases
    except VerificationError as error:
        if error.code not in ("key-revoked", "threshold-not-met", "expired"):
            raise
        context.out.warn(f"the index of {name} does not verify any more ({error.code}): the digest "
                         "is taken from it all the same")  # fmt: skip
        with sound(f"the role of {name}"):
            return releases_of(view.stale_role(name.role), name)


def _withheld(
    context: Context, view: View, status: Status, release: Release, state: str, reason: str
) -> Withheld:
    """The release with the digest that the registry's signed index gives for it."""
    name, version = release
    releases = _releases(context, view, name)
    entry = releases.get(str(version))
    if entry is None:
        raise ForgeError(
            "not-found",
            f"{name} has no version {version} in {view.url}",
            hint="there are: " + ", ".join(reversed(releases)),
        )
    return Withheld(
        component=name,
        version=version,
        manifest_sha256=entry.manifest_sha256,
        state=state,
        reason=reason,
        since=status.at,
    )


def _listed(
    context: Context, delegation: Delegation, references: Sequence[str]
) -> list[SigningKey]:
    keys = [open_key(context, reference) for reference in references]
    for reference, key in zip(references, keys, strict=True):
        if key.public not in delegation.keys:
            raise ForgeError(
                "key-missing",
                f"{reference} is not a key of this registry's status host\n"
                f"expected {ids(delegation.keys)}\nfound    {short(key.public)}",
                hint="the authority names its keys: forge authority rotate status",
            )
    return keys


def _deliver(
    context: Context, view: View, current: _Current, data: bytes, out: Path | None
) -> Said:
    """Send the statement if its signatures suffice, else write it to ``out``."""
    signed = parse_targets(data, ROLE)
    status = status_of(data)
    said = Said(
        version=signed.signed.version,
        status=status,
        expires=signed.signed.expires,
        changes=tuple(changes(current.status, status)),
    )
    left = [key for key in current.delegation.keys if key.keyid not in signed.signatures]
    if len(current.delegation.keys) - len(left) < current.delegation.threshold:
        path = out or Path(f"{ROLE}.{said.version}.json")
        write_private(path, data, mode=0o644)
        return replace(said, file=path, missing=ids(left))
    check_role_update(ROLE, data, current.data, view.targets, context.now)
    send_roles(context, {ROLE: data})
    return replace(said, sent=True)


def _confirm(context: Context, said: Said) -> None:
    """What clients are shown now, as they verify it."""
    if not said.sent:
        return
    context.requires_status = True
    shown = context.fresh_view().status
    if shown != said.status:
        raise ForgeError(
            "registry-malformed",
            f"the registry accepted version {said.version} of the role {ROLE} but does not show it",
            hint="try `forge doctor` in a moment; tell the operator if it stays so",
        )
