"""What must hold before a new root or targets role of the authority is accepted.

The registry applies this to what it is sent, and every keyholder's machine to what it is asked
to sign: root N+1 is signed by the keys of root N and by its own (TUF 1.0 §5.3.4 and §6.1), and
whatever stands below it must still be reachable from it, or no client could go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tuf.api.metadata import Root, Targets

from .bodies import is_reviews
from .digests import fingerprint
from .errors import VerificationError
from .roles import (
    check_signed_by,
    delegations_in,
    keys_of_root,
    parse_root,
    parse_targets,
    verify_against,
)
from .status import ROLE as STATUS
from .tlog.policy import policy_in
from .updates import check_expiry, check_next, check_version

ONLINE_ROLES = ("snapshot", "timestamp")
OFFLINE_ROLES = ("root", "targets")


def verify_root_chain(roots: Sequence[bytes], expected: str | None = None) -> Root:
    """The newest of ``roots``, after establishing every link from the first one.

    ``expected`` is the fingerprint of the first, where somebody stated it. Expiry does not
    matter here: an old root only vouches for the next (TUF 1.0 §5.3).

    Raises:
        VerificationError: ``fingerprint-mismatch``, ``chain-broken`` or ``threshold-not-met``.
        ConflictError: a gap in the versions (``role-version``).
    """
    if not roots:
        raise VerificationError("chain-broken", "root of trust", "the first root", "none")
    found = fingerprint(roots[0])
    if expected is not None and found != expected:
        raise VerificationError(
            "fingerprint-mismatch",
            "the first root",
            expected,
            found,
            "this is another authority: sign nothing",
        )
    first = parse_root(roots[0])
    check_version("root", first.signed.version, 1)
    check_signed_by(first.signed, "root", first)
    current = first.signed
    for data in roots[1:]:
        current = _verify_next(data, current)
    return current


def verify_next_root(data: bytes, current: bytes) -> Root:
    """The root ``data``, after establishing that it follows ``current``; expiry does not matter.

    Raises:
        VerificationError: ``threshold-not-met``.
        ConflictError: not the next version (``role-version``).
    """
    return _verify_next(data, parse_root(current).signed)


def _verify_next(data: bytes, current: Root) -> Root:
    new = parse_root(data)
    check_version("root", new.signed.version, current.version + 1)
    check_signed_by(current, "root", new)  # TUF 1.0 §5.3.4: by the keys of the root before
    check_signed_by(new.signed, "root", new)  # and by its own
    return new.signed


def check_root_update(new: bytes, current: bytes, now: datetime) -> Root:
    """The root ``new``, after establishing that it may follow ``current``.

    Raises:
        VerificationError: not signed by enough of both roots' keys, expired or valid for too
            long, or in a form that clients do not follow.
        ConflictError: not the next version (``role-version``).
    """
    root = verify_next_root(new, current)
    check_root_form(root)
    check_expiry("root", root.expires, now)
    return root


def check_root_form(root: Root) -> None:
    """Establishes that ``root`` has the form that this registry and its clients rely on.

    Raises:
        VerificationError: ``root-form``.
        MalformedError: an unsound key or threshold.
    """
    keys = {role: keys_of_root(root, role) for role in (*OFFLINE_ROLES, *ONLINE_ROLES)}
    if root.consistent_snapshot is not True:
        raise _form("consistent snapshots (TUF 1.0 §6.2)", "none")
    for role in ONLINE_ROLES:
        if root.roles[role].threshold != 1:  # the server holds one key for each
            raise _form(f"threshold 1 for {role}", root.roles[role].threshold)
    offline = {key for role in OFFLINE_ROLES for key in keys[role]}
    for role in ONLINE_ROLES:
        both = [key.keyid[:12] for key in keys[role] if key in offline]
        if both:
            raise _form(f"a {role} key that signs nothing offline", f"{', '.join(both)} for both")


def _form(expected: str, found: object) -> VerificationError:
    return VerificationError("root-form", "role root", expected, found)


def check_targets_update(new: bytes, current: bytes, root: Root, now: datetime) -> None:
    """Establishes that the targets role ``new`` may follow ``current`` under ``root``.

    Raises:
        VerificationError: not signed by the keys that the root lists, expired, holding anything
            but the delegations to the registrar and the status host, or one of the server's own
            keys as the status host's (``root-form``).
        ConflictError: not the next version (``role-version``).
    """
    signed = verify_against(root, "targets", new).signed
    check_next_targets(signed, current, now)
    check_status_apart(root, signed)


def check_next_targets(signed: Targets, current: bytes | None, now: datetime) -> None:
    """`check_targets_update` without the signatures; ``current`` is None for the first."""
    check_next("targets", signed, current, now)
    roles = signed.delegations.roles if signed.delegations else None
    if not roles or "registrar" not in roles:
        raise VerificationError("chain-broken", "role targets", "a registrar", "none")


def check_status_apart(root: Root, targets: Targets) -> None:
    """Establishes that no key of the status host or of a reviewer is one of the server's: whoever
    stole the server could otherwise vouch for it.

    Raises:
        VerificationError: ``root-form``.
    """
    offline = [
        key
        for role, each in delegations_in(targets).items()
        if role == STATUS or is_reviews(role)
        for key in each.keys
    ]
    online = {key for role in ONLINE_ROLES for key in keys_of_root(root, role)}
    policy = policy_in(targets)
    online |= set() if policy is None else {key.public for key in policy.keys}
    both = [key.keyid[:12] for key in offline if key in online]
    if both:
        raise VerificationError(
            "root-form",
            "role targets",
            "keys of the status host and of reviewers that are not the server's (snapshot, "
            "timestamp, log)",
            f"{', '.join(both)} for both",
        )


def verify_below(root: Root, targets: bytes, registrar: bytes) -> None:
    """Establishes that ``targets`` and ``registrar`` verify from ``root`` downwards.

    Raises:
        VerificationError: ``threshold-not-met`` or ``chain-broken``.
    """
    delegator = verify_against(root, "targets", targets).signed
    verify_against(delegator, "registrar", registrar)


def check_reachable(root: Root, targets: bytes, registrar: bytes) -> None:
    """`verify_below` for roles that stay as they are while what is above them changes.

    Raises:
        VerificationError: ``left-behind``, naming the role that must be signed anew.
    """
    check_not_left_behind(root, "targets", targets)
    signed = parse_targets(targets, "targets").signed
    check_not_left_behind(signed, "registrar", registrar)
    check_status_apart(root, signed)


def check_not_left_behind(above: Root | Targets, role: str, data: bytes) -> None:
    """Establishes that ``role``, which stays as it is, verifies under the new role above it."""
    try:
        verify_against(above, role, data)
    except VerificationError as error:
        version = parse_targets(data, role).signed.version
        raise VerificationError(
            "left-behind",
            f"role {role}",
            f"a version {version + 1}, signed by its new keys, that comes along",
            f"version {version}: {error.expected}, {error.found}",
            "plan both in one ceremony and send them together",
        ) from None
