"""An organisation changes who publishes a project: add, replace, remove, revoke.

Each function takes the organisation's current role and returns the next, signed by ``org_keys``,
which may be fewer than it needs: others add theirs with `role_edits.add_signatures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from tuf.api.metadata import DelegatedRole, Targets

from .errors import VerificationError
from .keys import PublicKey, SigningKey
from .names import ComponentName
from .publisher_keys import FormerKeys, Revocation, check_revocation_reason, key_revoked
from .role_edits import next_version, sign_role
from .roles import Delegation, delegation_of


def set_publishers(
    org_role: bytes,
    component: ComponentName,
    keys: Sequence[PublicKey],
    threshold: int,
    org_keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The next version of the organisation's role, in which ``threshold`` of ``keys`` publish.

    Keys that are no longer among them are retired: what they signed stays good.

    Raises:
        VerificationError: the project is not there (``chain-broken``), or one of ``keys`` was
            revoked (``key-revoked``), which is for good.
    """
    before = delegation_of(org_role, component.role, component.org)
    revocation = before.former.revocation_of(key.keyid for key in keys)
    if revocation is not None:
        raise key_revoked(revocation, str(component))
    retired = [*before.former.retired, *before.keys]
    former = FormerKeys(
        retired=tuple(key for key in retired if key not in keys), revoked=before.former.revoked
    )
    return _with(org_role, component, keys, threshold, former, org_keys, now)


def revoke_publisher(
    org_role: bytes,
    component: ComponentName,
    key: PublicKey,
    at: datetime,
    reason: str,
    org_keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The next version of the organisation's role, in which ``key`` (listed or retired) counts
    for nothing since ``at``, neither for new releases nor for what it signed.

    Raises:
        VerificationError: no such key there (``key-unlisted``), or too few would remain
            (``threshold-not-met``).
    """
    check_revocation_reason(reason)
    before = delegation_of(org_role, component.role, component.org)
    if key not in (*before.keys, *before.former.retired):
        raise VerificationError(
            "key-unlisted", str(component), "a key that publishes or published it", key.keyid[:12]
        )
    keys = [other for other in before.keys if other != key]
    if len(keys) < before.threshold:
        raise VerificationError(
            "threshold-not-met",
            str(component),
            f"at least {before.threshold} publisher key(s) that remain",
            len(keys),
            f"name a successor first: forge org publisher add {component} --key PUBLIC",
        )
    former = FormerKeys(
        retired=tuple(other for other in before.former.retired if other != key),
        revoked=(*before.former.revoked, Revocation(key=key, at=at, reason=reason)),
    )
    return _with(org_role, component, keys, before.threshold, former, org_keys, now)


def check_revocations_kept(name: str, before: Delegation, after: Delegation) -> None:
    """Establishes that no revocation was taken back or altered.

    Raises:
        VerificationError: ``key-revoked``.
    """
    kept = {item.key: item for item in after.former.revoked}
    for item in before.former.revoked:
        if kept.get(item.key) != item:
            raise VerificationError(
                "key-revoked",
                f"role {name}: {before.role}",
                f"the revocation of key {item.key.keyid[:12]} kept as it was signed",
                "none" if item.key not in kept else "another",
                "a revocation is for good; give the publisher a new key",
            )


def _with(
    org_role: bytes,
    component: ComponentName,
    keys: Sequence[PublicKey],
    threshold: int,
    former: FormerKeys,
    org_keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    signed = next_version(org_role, component.org, now)
    assert signed.delegations is not None
    assert signed.delegations.roles is not None
    role = signed.delegations.roles[component.role]
    role.keyids = [key.keyid for key in keys]
    role.threshold = threshold
    role.unrecognized_fields.pop("forge", None)
    if former.keys():
        role.unrecognized_fields["forge"] = former.to_json()
    known = signed.delegations.keys
    known.update({key.keyid: key.tuf for key in (*keys, *former.keys())})
    used = _used(signed)
    for keyid in [keyid for keyid in known if keyid not in used]:
        del known[keyid]
    data = sign_role(signed, org_keys)
    delegation_of(data, component.role, component.org)  # a threshold that can be met, each key once
    return data


def _used(signed: Targets) -> set[str]:
    roles: Iterable[DelegatedRole] = (
        signed.delegations.roles.values()
        if signed.delegations is not None and signed.delegations.roles is not None
        else ()
    )
    used: set[str] = set()
    for role in roles:
        forge = role.unrecognized_fields.get("forge", {})
        used |= {*role.keyids, *forge.get("retired", ())}
        used |= {item["keyid"] for item in forge.get("revoked", ())}
    return used
