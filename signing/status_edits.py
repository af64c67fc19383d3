"""Making the next version of the status role: what is withheld, what is lifted, and in words.

As everywhere, nothing is changed in place: each function takes what was said and returns what
shall be said, and `sign_status` puts it into a role.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tuf.api.metadata import Targets

from .errors import ConflictError, VerificationError
from .keys import SigningKey
from .role_edits import sign_role
from .roles import EXPIRY, check_reason
from .status import (
    MAX_WITHHELD,
    QUARANTINED,
    REVOKED,
    ROLE,
    Status,
    Withheld,
    order,
    status_in,
)
from .tlog.policy import FIELD


def withhold(status: Status, new: Withheld) -> Status:
    """``status`` with a release quarantined or revoked.

    Raises:
        ConflictError: nothing would change (``nothing-changes``), or the list is full
            (``too-many-withheld``).
        VerificationError: it is revoked already, and that is final (``revocation-lifted``).
        MalformedError: a reason that is not one line of plain text.
    """
    check_reason(new.reason, required=True)
    old = {order(one): one for one in status.withheld}
    before = old.get(order(new))
    if before is not None and before.state == REVOKED:
        if new.state == REVOKED:
            raise ConflictError("nothing-changes", f"{new.release} is {before}")
        raise _final(before)
    if before is not None and (before.state, before.reason) == (new.state, new.reason):
        raise ConflictError("nothing-changes", f"{new.release} is {before}")
    if before is None and len(old) >= MAX_WITHHELD:
        raise ConflictError(
            "too-many-withheld",
            f"role {ROLE}: {MAX_WITHHELD} releases are withheld already",
            "lift quarantines that are no longer needed",
        )
    return _with(status, {**old, order(new): new}.values())


def lift(status: Status, release: str) -> Status:
    """``status`` without the quarantine of ``release`` (``org/name==version``).

    Raises:
        ConflictError: it is not withheld (``nothing-changes``).
        VerificationError: it is revoked (``revocation-lifted``).
    """
    before = next((one for one in status.withheld if one.release == release), None)
    if before is None:
        raise ConflictError("nothing-changes", f"{release} is not withheld")
    if before.state != QUARANTINED:
        raise _final(before)
    return _with(status, (one for one in status.withheld if one is not before))


def _final(before: Withheld) -> VerificationError:
    return VerificationError(
        "revocation-lifted",
        f"role {ROLE}: {before.release}",
        "a revocation to stay as it is",
        "the wish to change it",
        "a revocation is final; its publisher releases another version",
    )


def _with(status: Status, withheld: Iterable[Withheld]) -> Status:
    return replace(status, withheld=tuple(sorted(withheld, key=order)))


def sign_status(status: Status, version: int, keys: Iterable[SigningKey]) -> bytes:
    """The role that says ``status``, for 48 hours from the moment at which its host looked.

    Raises:
        MalformedError: what nobody could read again.
    """
    signed = Targets(version=version, expires=status.at + EXPIRY[ROLE])
    signed.unrecognized_fields[FIELD] = status.to_json()
    status_in(signed)
    return sign_role(signed, keys)


def changes(before: Status | None, after: Status) -> list[str]:
    """What ``after`` withholds, and no longer withholds, compared with ``before``, a line each."""
    old = {} if before is None else {order(one): one for one in before.withheld}
    new = {order(one): one for one in after.withheld}
    lines = [f"{one.release}  {one}" for key, one in new.items() if old.get(key) != one]
    return lines + [
        f"{one.release}  no longer withheld (was {one})" for key, one in old.items()
        if key not in new
    ]  # fmt: skip
