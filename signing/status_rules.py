"""What follows from the status host's word, and what its next one may say.

The registry applies this to what it is sent, clients to what they are shown, and the status host to
what it sees before it signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tuf.api.metadata import Metadata, Targets

from .ages import ago
from .digests import sha256_hex
from .errors import VerificationError
from .roles import check_signed_by, parse_root, parse_signed, parse_targets
from .status import REVOKED, ROLE, LogSeen, Status, order, status_in
from .tlog.policy import LogPolicy


def check_kept(before: Status, after: Status) -> None:
    """Establishes that what was revoked stays revoked, word for word.

    Whoever holds the keys may withhold more at any time, and lift a quarantine. Whether ``before``
    still counts is for the caller to know: keys that the authority took away bind nobody.

    Raises:
        VerificationError: ``revocation-lifted``.
    """
    now = {order(one): one for one in after.withheld}
    for one in before.withheld:
        if one.state == REVOKED and now.get(order(one)) != one:
            found = now.get(order(one))
            raise VerificationError(
                "revocation-lifted",
                f"role {ROLE}: {one.release}",
                f"still {one}",
                "nothing of it" if found is None else str(found),
                "a revocation is final: do not rely on this registry, tell the authority",
            )


def check_follows(
    targets: Targets, current: bytes | None, new: Status, new_version: int | None = None
) -> None:
    """`check_kept`, and with ``new_version`` that it is no older, against the role ``current``:
    what is there, or was seen before, in its exact bytes. It binds as long as the keys that
    ``targets`` names today signed it."""
    if current is None:
        return
    metadata = parse_targets(current, ROLE)
    try:
        check_signed_by(targets, ROLE, metadata)
    except VerificationError:
        return  # the authority named other keys since
    if new_version is not None and new_version < metadata.signed.version:
        raise VerificationError(
            "rollback",
            f"role {ROLE}",
            f"at least version {metadata.signed.version}, as seen before",
            new_version,
            "the registry or a mirror offers an old state: do not use it, tell its operator",
        )
    check_kept(status_in(metadata.signed), new)


def check_minimum(status: Status, named: bytes, current: Mapping[str, int]) -> None:
    """Establishes that no role is older than in the snapshot that the status host saw.

    ``named`` are that snapshot's bytes; ``current`` is ``{role: version}`` of the snapshot that is
    shown now. A thief of the server's keys can sign a snapshot that lists old roles; this is what
    gives it away, also to somebody who was never here before.

    Raises:
        VerificationError: ``digest-mismatch``, or ``rollback`` naming the role.
    """
    require_named(status, named)
    for role, least in snapshot_versions(named).items():
        if current.get(role, 0) < least:
            raise VerificationError(
                "rollback",
                f"role {role}",
                f"at least version {least}, which the status host saw on "
                f"{status.at:%Y-%m-%d %H:%M} UTC",
                f"version {current[role]}" if role in current else "no such role",
                "the registry or a mirror offers an old state: do not use it, tell the authority",
            )


def require_named(status: Status, data: bytes) -> None:
    """Establishes that ``data`` is the snapshot that the status host named. To be asked before
    `is_superseded`: any other one by keys that were taken away would otherwise do.

    Raises:
        VerificationError: ``digest-mismatch``.
    """
    if (found := sha256_hex(data)) != status.snapshot.sha256:
        raise VerificationError(
            "digest-mismatch",
            f"snapshot version {status.snapshot.version}",
            f"sha256 {status.snapshot.sha256} (role {ROLE})",
            found,
        )


def snapshot_versions(data: bytes) -> dict[str, int]:
    """``{role: version}`` that a snapshot lists."""
    meta = parse_signed(data, "snapshot", "snapshot").signed.meta
    return {name.removesuffix(".json"): file.version for name, file in meta.items()}


def is_superseded(named: bytes, roots: Sequence[bytes]) -> bool:
    """Whether the snapshot was signed by server keys that the authority has taken away since.

    It binds nobody then: who stole those keys could have listed any version in it, and the registry
    would never reach them (TUF 1.0 §5.3.11). ``named`` passed `require_named`; ``roots`` are all
    roots in order, verified before.
    One that no root's keys signed does bind: it is from a later root than we are shown.
    """
    metadata = parse_signed(named, "snapshot", "snapshot")
    signed = [_signed_under(root, metadata) for root in roots]
    return any(signed) and not signed[-1]


def _signed_under(root: bytes, metadata: Metadata[Any]) -> bool:
    try:
        check_signed_by(parse_root(root).signed, "snapshot", metadata)
    except VerificationError:
        return False
    return True


def log_to_check(status: Status, policy: LogPolicy | None) -> LogSeen | None:
    """What the log that ``policy`` names must begin with; None where the status host saw none, or
    saw it under a key that the authority has taken away since.

    Raises:
        VerificationError: it saw another log (``status-contradicts``).
    """
    seen = status.log
    if seen is None:
        return None
    if policy is None or seen.origin != policy.origin:
        raise VerificationError(
            "status-contradicts",
            f"role {ROLE}: the public log",
            "none, as the authority names none" if policy is None else policy.origin,
            seen.origin,
            "the status host must sign anew: forge authority status",
        )
    return seen if seen.key in policy.keys else None


def stale(status: Status, expires: datetime, now: datetime) -> VerificationError:
    """What is said of a status role that has expired: since when nobody renewed it."""
    return VerificationError(
        "status-stale",
        f"role {ROLE}",
        "a statement that its host renews every day and that lasts 48 hours",
        f"one that has not been renewed since {status.at:%Y-%m-%d %H:%M} UTC "
        f"(expired {expires:%Y-%m-%d %H:%M} UTC, {ago(now - expires)} ago)",
        "the registry or a mirror may be frozen, or the status host stands still: ask the "
        "authority; its host runs: forge authority status",
    )


def missing() -> VerificationError:
    """What is said where the authority names a status host and there is no word of it."""
    return VerificationError(
        "status-missing",
        f"role {ROLE}",
        "a statement by the status host that the authority names",
        "none",
        "the registry holds it back, or the status host has not signed yet: ask the authority; "
        "its host runs: forge authority status",
    )
