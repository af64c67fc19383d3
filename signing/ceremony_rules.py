"""What each keyholder's machine checks by itself, before it signs and after it merged.

No machine trusts another's judgement. A file is signed only when it follows, version by version
and signature by signature, from the first root whose fingerprint the keyholder stated; when
nothing in it is hidden from the words that describe it; and when the key is one of those asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tuf.api.metadata import Root, Targets

from .authority_updates import (
    check_next_targets,
    check_not_left_behind,
    check_reachable,
    check_root_form,
    check_status_apart,
    verify_below,
    verify_root_chain,
)
from .bodies import is_reviews
from .ceremony import Ceremony, Change
from .errors import VerificationError
from .keys import PublicKey
from .roles import delegations_in, keys_of_root, parse_root, parse_targets
from .tlog.policy import FIELD, policy_in
from .updates import check_expiry, check_next, check_version

MIN_QUORUM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Whose signatures one change needs: ``threshold`` of ``keys``. ``by`` says who they are."""

    by: str
    keys: tuple[PublicKey, ...]
    threshold: int

    def signed(self, change: Change) -> tuple[PublicKey, ...]:
        return tuple(key for key in self.keys if key.keyid in change.signatures)

    def missing(self, change: Change) -> int:
        """How many signatures are still needed."""
        return max(0, self.threshold - len(self.signed(change)))


def check_quorum(keys: int, threshold: int, *, dev: bool) -> None:
    """Establishes that ``threshold`` of ``keys`` root keys survive one theft and one loss.

    Raises:
        VerificationError: ``quorum-unsafe``; never with ``dev``.
    """
    if not dev and not MIN_QUORUM <= threshold < keys:
        raise VerificationError(
            "quorum-unsafe",
            "root quorum",
            "at least 2 of 3: k keys must sign, k >= 2, and more than k exist (k < n)",
            f"{threshold} of {keys}",
            "with k = 1 one thief has everything, with k = n one lost key loses everything; "
            "for development only: --dev",
        )


def check_ceremony(
    ceremony: Ceremony, now: datetime, *, fingerprint: str | None, dev: bool = False
) -> None:
    """Establishes that the file may be signed by those it asks, and that the signatures in it
    are genuine. Whether they suffice is not asked here (`ceremony_signing.finish`).

    ``fingerprint`` is the keyholder's word for the first root; None only for a first root.

    Raises:
        VerificationError: ``fingerprint-mismatch``, ``chain-broken``, ``left-behind``,
            ``quorum-unsafe``, ``hidden-content``, ``expired``, ``signature-invalid``,
            ``key-unlisted`` or ``threshold-not-met``.
        ConflictError: not the next version (``role-version``).
    """
    before = _check_before(ceremony, fingerprint)
    for change in ceremony.changes:
        _check_change(ceremony, change, before, now, dev=dev)
    _check_left_behind(ceremony, before)
    _check_status_host(ceremony, before)
    for change in ceremony.changes:
        _check_signatures(change, quorums(ceremony, change.role))


def _check_before(ceremony: Ceremony, fingerprint: str | None) -> Root | None:
    """The current root, after establishing the whole chain that the file brings along."""
    if not ceremony.roots:
        if fingerprint is not None:
            raise VerificationError(
                "chain-broken",
                "ceremony",
                f"one that follows from {fingerprint}",
                "a first root, which follows from nothing",
                "sign it only if a new authority is being founded",
            )
        if [change.role for change in ceremony.changes] != ["root", "targets", "registrar"]:
            raise VerificationError(
                "chain-broken", "first root", "root, targets and registrar together", "fewer"
            )
        return None
    root = verify_root_chain(ceremony.roots, fingerprint)
    verify_below(root, ceremony.targets or b"", ceremony.registrar or b"")
    return root


def _check_change(
    ceremony: Ceremony, change: Change, before: Root | None, now: datetime, *, dev: bool
) -> None:
    signed = change.metadata.signed
    _check_nothing_hidden(change.role, signed)
    if change.role == "root":
        check_version("root", signed.version, 1 if before is None else before.version + 1)
        check_root_form(signed)
        check_expiry("root", signed.expires, now)
        quorum = signed.roles["root"]
        check_quorum(len(quorum.keyids), quorum.threshold, dev=dev)
    elif change.role == "targets":
        check_next_targets(signed, ceremony.targets, now)
    else:
        check_next("registrar", signed, ceremony.registrar, now)


def _check_nothing_hidden(role: str, signed: Root | Targets) -> None:
    """Refuses members that our words do not describe."""
    odd = [*signed.unrecognized_fields]
    if role == "targets" and isinstance(signed, Targets) and policy_in(signed) is not None:
        odd.remove(FIELD)  # the public log: read to the last member, and shown
    if isinstance(signed, Root):
        odd += [name for item in signed.roles.values() for name in item.unrecognized_fields]
        listed = {keyid for item in signed.roles.values() for keyid in item.keyids}
        odd += [f"key {keyid[:12]}" for keyid in signed.keys if keyid not in listed]
    elif signed.delegations is not None:
        odd += [*signed.delegations.unrecognized_fields]
        for item in (signed.delegations.roles or {}).values():
            # Profiles of organisations and bodies: read to the last member, and shown.
            profile = {"forge"} if role == "registrar" or is_reviews(item.name) else set()
            odd += [name for name in item.unrecognized_fields if name not in profile]
    if odd:
        raise VerificationError(
            "hidden-content", f"role {role}", "nothing beyond what is shown", ", ".join(odd)
        )


def _check_left_behind(ceremony: Ceremony, before: Root | None) -> None:
    """Establishes that a role which does not change is still reachable from what does."""
    if before is None:
        return
    changed_root, changed_targets = ceremony.change("root"), ceremony.change("targets")
    assert ceremony.targets is not None
    assert ceremony.registrar is not None
    if changed_root is not None and changed_targets is None:
        check_reachable(changed_root.metadata.signed, ceremony.targets, ceremony.registrar)
    if changed_targets is not None and ceremony.change("registrar") is None:
        targets = changed_targets.metadata.signed
        check_not_left_behind(targets, "registrar", ceremony.registrar)


def _check_status_host(ceremony: Ceremony, before: Root | None) -> None:
    """Establishes that the server's keys and the status host's are apart once this is signed."""
    changed_root, changed_targets = ceremony.change("root"), ceremony.change("targets")
    root: Root | None = before if changed_root is None else changed_root.metadata.signed
    assert root is not None
    if changed_targets is not None:
        check_status_apart(root, changed_targets.metadata.signed)
    elif changed_root is not None:
        check_status_apart(root, parse_targets(ceremony.targets or b"", "targets").signed)


def _check_signatures(change: Change, asked: Sequence[Quorum]) -> None:
    listed = {key.keyid: key for quorum in asked for key in quorum.keys}
    for keyid, signature in change.signatures.items():
        subject = f"role {change.role}: signature by {keyid[:12]}"
        if keyid not in listed:
            raise VerificationError("key-unlisted", subject, "a key that is asked to sign", keyid)
        listed[keyid].verify(bytes.fromhex(signature), change.payload, subject)


def quorums(ceremony: Ceremony, role: str) -> tuple[Quorum, ...]:
    """Whose signatures the change of ``role`` needs: each of these, one key may serve several.

    A root is signed by the keys of the root before it and by its own (TUF 1.0 §6.1).
    """
    new_root = ceremony.change("root")
    before = None if not ceremony.roots else _current_root(ceremony)
    after: Root | None = before if new_root is None else new_root.metadata.signed
    assert after is not None
    if role == "root":
        needed = [] if before is None else [_of_root(before, "root", "the current root's keys")]
        return (*needed, _of_root(after, "root", "the new root's keys" if before else "its keys"))
    if role == "targets":
        return (_of_root(after, "targets", "the targets keys"),)
    new_targets = ceremony.change("targets")
    targets = (
        parse_targets(ceremony.targets or b"", "targets").signed
        if new_targets is None
        else new_targets.metadata.signed
    )
    registrar = delegations_in(targets)["registrar"]
    return (Quorum(by="the registrar's keys", keys=registrar.keys, threshold=registrar.threshold),)


def _current_root(ceremony: Ceremony) -> Root:
    return parse_root(ceremony.roots[-1]).signed


def _of_root(root: Root, role: str, by: str) -> Quorum:
    return Quorum(by=by, keys=keys_of_root(root, role), threshold=root.roles[role].threshold)
