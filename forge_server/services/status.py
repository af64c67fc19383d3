"""The status role at the server: what it must agree with, what it withholds, how old it is.

The server is what the status host watches. It checks what it is sent all the same: a statement that
clients would refuse must not be announced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from signing.digests import sha256_hex
from signing.errors import SigningError, VerificationError
from signing.roles import delegations_of, parse_targets, verify_role
from signing.status import (
    QUARANTINED,
    REVOKED,
    ROLE,
    SnapshotSeen,
    Status,
    Withheld,
    order,
    status_of,
)
from signing.status_rules import log_to_check
from signing.tlog.merkle import root_of
from signing.tlog.policy import policy_of
from storage import PathNotFoundError, PublishedTree

from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .log import hash_reader, log_size
from .rolebook import current_role, require_role
from .superseded import oldest_nameable


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusState:
    """How the status host is: ``at`` is None while it has not signed anything yet."""

    version: int
    at: datetime | None
    expires: datetime | None
    withheld: tuple[Withheld, ...] = ()


def named_status(session: Session) -> StatusState | None:
    """What the status host said last; None where the authority names no such host."""
    targets = current_role(session, "targets")
    if targets is None or ROLE not in delegations_of(targets, "targets"):
        return None
    data = current_role(session, ROLE)
    if data is None:
        return StatusState(version=0, at=None, expires=None)
    signed, status = parse_targets(data, ROLE).signed, status_of(data)
    return StatusState(
        version=signed.version, at=status.at, expires=signed.expires, withheld=status.withheld
    )


def is_status_sound(session: Session) -> bool:
    """Whether clients find what the targets role promises: no status host, or its signed word."""
    try:
        require_status_sound(session)
    except (RegistryError, SigningError):
        return False
    return True


def require_status_sound(session: Session) -> None:
    """Establishes that no client stands without the status role that the targets role names.

    Raises:
        VerificationError: ``left-behind``; it must come along.
    """
    targets = current_role(session, "targets")
    if targets is None or ROLE not in delegations_of(targets, "targets"):
        return
    data = current_role(session, ROLE)
    found: object = "none"
    if data is not None:
        try:
            verify_role(targets, ROLE, data)
        except VerificationError as error:
            found = f"{error.expected}, {error.found}"
        else:
            return
    raise VerificationError(
        "left-behind",
        f"role {ROLE}",
        "a version that is signed by the status host's keys and comes along",
        found,
        "send both together, from the status host: forge authority submit FILE --status-key KEY",
    )


def require_own_history(session: Session, tree: PublishedTree, data: bytes, now: datetime) -> None:
    """Establishes that what the status host saw is this registry: its log and its snapshot, which
    will stay where clients find it.

    Raises:
        VerificationError: ``status-contradicts``.
    """
    status = status_of(data)
    policy = policy_of(require_role(session, "targets"))
    seen = log_to_check(status, policy)
    if policy is not None and seen is None:
        raise _contradicts(
            "the public log", f"a state of {policy.origin} under its present key", "none"
        )
    if seen is not None:
        size = log_size(session)
        if seen.size > size:
            raise _contradicts("the log", f"at most {size} entries", seen.size)
        root = root_of(seen.size, hash_reader(session, seen.size))
        if root != seen.root:
            raise _contradicts(
                f"the log's first {seen.size} entries", f"root {root.hex()}", seen.root.hex()
            )
    oldest = oldest_nameable(session, now)
    if status.snapshot.version < oldest:
        raise _contradicts("its snapshot", f"version {oldest} or newer", status.snapshot.version)
    _require_own_snapshot(tree, status.snapshot)


def _require_own_snapshot(tree: PublishedTree, seen: SnapshotSeen) -> None:
    # From the published tree: the database forgets all but the last few.
    name = f"{seen.version}.snapshot.json"
    try:
        found = sha256_hex(tree.read(name))
    except PathNotFoundError:
        raise _contradicts("its snapshot", "one that was published here", name) from None
    if found != seen.sha256:
        raise _contradicts(name, f"sha256 {found}", seen.sha256)


def _contradicts(what: str, expected: str, found: object) -> VerificationError:
    return VerificationError(
        "status-contradicts",
        f"role {ROLE}: {what}",
        expected,
        found,
        "the status host saw another registry than this one: it must look into it",
    )


def record_withheld(
    audit: Audit, session: Session, caller: Caller, before: bytes | None, after: bytes
) -> frozenset[str]:
    """An event, and a leaf of the public log, for every release whose state has changed; returns
    the digests of their manifests."""
    old = {} if before is None else _by_order(status_of(before))
    new = _by_order(status_of(after))
    changed = []
    for key, one in new.items():
        if old.get(key) != one:
            changed.append(one.manifest_sha256)
            action = {QUARANTINED: "release.quarantine", REVOKED: "release.revoke"}[one.state]
            _record(audit, session, caller, action, one)
    for key, one in old.items():
        if key not in new:
            changed.append(one.manifest_sha256)
            _record(audit, session, caller, "release.unquarantine", one)
    return frozenset(changed)


def _by_order(status: Status) -> dict[object, Withheld]:
    return {order(one): one for one in status.withheld}


def _record(audit: Audit, session: Session, caller: Caller, action: str, one: Withheld) -> None:
    audit.record(
        session,
        caller,
        action,
        one.release,
        manifest_sha256=one.manifest_sha256,
        reason=one.reason,
    )
