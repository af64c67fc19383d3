"""Planning a ceremony: what the next root, targets and registrar shall say, nothing signed yet.

The plan needs no key. Whoever makes it cannot smuggle anything in: every keyholder's machine
reads the bytes again and says in words what they change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from tuf.api.metadata import Role, Root, Targets

from .authority_updates import verify_below, verify_root_chain
from .bodies import Body, is_reviews
from .ceremony import Ceremony, Change, payload_of
from .ceremony_rules import check_ceremony, check_quorum
from .errors import ConflictError, VerificationError
from .keys import PublicKey
from .role_edits import delegate
from .roles import EXPIRY, MAX_THRESHOLD, delegations_in, keys_of_root, parse_root, parse_targets
from .status import ROLE as STATUS
from .tlog.policy import FIELD, LogPolicy, policy_of, set_policy

OFFLINE = ("root", "targets", "registrar")
ONLINE = ("snapshot", "timestamp")
NO_BODIES: Mapping[str, Body] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """``threshold`` of ``keys`` sign for a role."""

    keys: tuple[PublicKey, ...]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The authority's signed metadata as it is now: all roots, current targets and registrar."""

    roots: tuple[bytes, ...]
    targets: bytes
    registrar: bytes

    def verify(self, fingerprint: str | None) -> Root:
        """The current root, after establishing that everything follows from the first one.

        Raises:
            VerificationError: a broken chain, or not from the root with ``fingerprint``.
        """
        root = verify_root_chain(self.roots, fingerprint)
        verify_below(root, self.targets, self.registrar)
        return root

    def key_set(self, role: str) -> KeySet:
        """Who signs for ``role`` now; no key and threshold 0 where no such status host or reviewer
        body is named."""
        if role in ("registrar", STATUS) or is_reviews(role):
            found = delegations_in(parse_targets(self.targets, "targets").signed).get(role)
            if found is None:
                return KeySet(keys=(), threshold=0)
            return KeySet(keys=found.keys, threshold=found.threshold)
        root = parse_root(self.roots[-1]).signed
        return KeySet(keys=keys_of_root(root, role), threshold=root.roles[role].threshold)

    def body(self, role: str) -> Body | None:
        """What is said of a reviewer body; None where it is not named."""
        found = delegations_in(parse_targets(self.targets, "targets").signed).get(role)
        return None if found is None else found.body


def check_key_set(role: str, keys: KeySet, *, dev: bool) -> KeySet:
    """Establishes that the threshold can be met, no key is there twice, and a root's quorum
    survives a loss.

    Raises:
        VerificationError: ``quorum-unsafe``.
    """
    count = len(keys.keys)
    if len(set(keys.keys)) != count:
        raise VerificationError("quorum-unsafe", f"{role} keys", "each key once", "one twice")
    if not 1 <= keys.threshold <= min(count, MAX_THRESHOLD):
        raise VerificationError(
            "quorum-unsafe", f"{role} keys", f"a threshold from 1 to {count}", keys.threshold
        )
    if role == "root":
        check_quorum(count, keys.threshold, dev=dev)
    return keys


def edit_key_set(
    role: str,
    current: KeySet,
    *,
    add: Sequence[PublicKey] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
) -> KeySet:
    """``current`` with keys added, keys removed (by the beginning of their id, 8 digits at
    least) and another threshold.

    Raises:
        VerificationError: a key to remove that is not there, or stands for several
            (``key-unlisted``); a key to add that is there (``quorum-unsafe``).
    """
    keys = list(current.keys)
    for wanted in remove:
        found = [key for key in keys if len(wanted) >= 8 and key.keyid.startswith(wanted)]
        if len(found) != 1:
            listed = ", ".join(key.keyid[:12] for key in keys)
            raise VerificationError(
                "key-unlisted", f"{role} keys", f"one of {listed} (8 digits at least)", wanted
            )
        keys.remove(found[0])
    keys += add
    wanted_threshold = current.threshold if threshold is None else threshold
    return KeySet(keys=tuple(keys), threshold=wanted_threshold)


def plan_first(
    now: datetime,
    *,
    root: KeySet,
    targets: KeySet,
    registrar: KeySet,
    snapshot: PublicKey,
    timestamp: PublicKey,
    log: LogPolicy | None = None,
    status: KeySet | None = None,
    dev: bool = False,
) -> Ceremony:
    """The first root of a new authority, with its targets and registrar roles; and with a
    ``status`` host, where one is named.

    Raises:
        VerificationError: ``quorum-unsafe``, or a key that is online and offline at once
            (``root-form``).
    """
    sets = {"root": root, "targets": targets, "registrar": registrar}
    sets |= {} if status is None else {STATUS: status}
    for role, keys in sets.items():
        check_key_set(role, keys, dev=dev)
    sets |= {
        "snapshot": KeySet(keys=(snapshot,), threshold=1),
        "timestamp": KeySet(keys=(timestamp,), threshold=1),
    }
    signed = Root(version=1, expires=_expiry(now, "root"), consistent_snapshot=True)
    for role in ("root", "targets", *ONLINE):
        signed.roles[role] = Role([], 1)
        _set_keys(signed, role, sets[role])
    first = Targets(version=1, expires=_expiry(now, "targets"))
    delegate(first, "registrar", registrar.keys, registrar.threshold)
    if status is not None:
        delegate(first, STATUS, status.keys, status.threshold)
    set_policy(first, log)
    empty = Targets(version=1, expires=_expiry(now, "registrar"))
    return _checked(
        Ceremony(
            roots=(),
            targets=None,
            registrar=None,
            changes=(_change("root", signed), _change("targets", first), _change(
                "registrar", empty)),
        ),
        now,
        dev=dev,
    )  # fmt: skip


def plan_next(
    chain: Chain,
    now: datetime,
    *,
    keys: dict[str, KeySet],
    renew: Collection[str] = (),
    log: LogPolicy | None = None,
    drop_status: bool = False,
    bodies: Mapping[str, Body] = NO_BODIES,
    dev: bool = False,
) -> Ceremony:
    """The ceremony that gives each role of ``keys`` these keys, those of ``renew`` a fresh expiry,
    and names the public ``log`` with its witnesses where that is given. A role whose own keys
    change is signed anew, in the same ceremony; but for the status role, which its host signs
    where it sees the registry, and those of reviewer bodies, which sign theirs when they can: until
    then nothing counts that only a key signed which was taken away. With ``drop_status`` no status
    host is named any more. ``bodies`` is what is said of reviewer bodies: ``{role: Body}``.

    Raises:
        VerificationError: a broken chain, ``quorum-unsafe`` or ``root-form``.
        ConflictError: nothing would change (``nothing-changes``).
    """
    chain.verify(None)
    changed = {role: wanted for role, wanted in keys.items() if wanted != chain.key_set(role)}
    for role, wanted in changed.items():
        check_key_set(role, wanted, dev=dev)
    new_log = log is not None and log != policy_of(chain.targets)
    dropped = drop_status and bool(chain.key_set(STATUS).keys)
    described = {role: body for role, body in bodies.items() if chain.body(role) != body}
    if not changed and not renew and not new_log and not dropped and not described:
        raise ConflictError(
            "nothing-changes", "nothing would change: these are the keys that sign now"
        )
    changes = []
    if "root" in renew or changed.keys() & {"root", "targets", *ONLINE}:
        signed = parse_root(chain.roots[-1]).signed
        _next(signed, now, "root")
        for role in changed.keys() & {"root", "targets", *ONLINE}:
            _set_keys(signed, role, changed[role])
        changes.append(_change("root", signed))
    below = {"targets", "registrar", STATUS, *filter(is_reviews, changed)}
    if "targets" in renew or new_log or dropped or described or changed.keys() & below:
        targets = parse_targets(chain.targets, "targets").signed
        _next(targets, now, "targets")
        for role in sorted(changed.keys() & (below - {"targets"})):
            _set_keys(targets, role, changed[role])
        for role, body in described.items():
            _describe(targets, role, body)
        if dropped:
            _drop(targets, STATUS)
        if new_log:
            set_policy(targets, log)
        changes.append(_change("targets", targets))
    if "registrar" in renew or "registrar" in changed:
        registrar = parse_targets(chain.registrar, "registrar").signed
        _next(registrar, now, "registrar")
        changes.append(_change("registrar", registrar))
    return _checked(
        Ceremony(
            roots=chain.roots,
            targets=chain.targets,
            registrar=chain.registrar,
            changes=tuple(changes),
        ),
        now,
        dev=dev,
    )


def _checked(ceremony: Ceremony, now: datetime, *, dev: bool) -> Ceremony:
    """Refused here is better than refused by five keyholders in a room."""
    check_ceremony(ceremony, now, fingerprint=None, dev=dev)
    return ceremony


def _next(signed: Root | Targets, now: datetime, role: str) -> None:
    signed.version += 1
    signed.expires = _expiry(now, role)


def _set_keys(signed: Root | Targets, role: str, wanted: KeySet) -> None:
    if isinstance(signed, Root):
        delegated: Role = signed.roles[role]
    else:
        assert signed.delegations is not None
        assert signed.delegations.roles is not None
        if role not in signed.delegations.roles:
            return delegate(signed, role, wanted.keys, wanted.threshold)
        delegated = signed.delegations.roles[role]
    new = {key.keyid for key in wanted.keys}
    for keyid in [keyid for keyid in delegated.keyids if keyid not in new]:
        signed.revoke_key(keyid, role)
    for key in wanted.keys:
        signed.add_key(key.tuf, role)
    delegated.threshold = wanted.threshold
    return None


def _describe(signed: Targets, role: str, body: Body) -> None:
    assert signed.delegations is not None
    assert signed.delegations.roles is not None
    signed.delegations.roles[role].unrecognized_fields[FIELD] = body.to_json()


def _drop(signed: Targets, role: str) -> None:
    assert signed.delegations is not None
    assert signed.delegations.roles is not None
    for keyid in list(signed.delegations.roles[role].keyids):
        signed.revoke_key(keyid, role)  # and the key itself, where no other role has it
    del signed.delegations.roles[role]


def _change(role: str, signed: Root | Targets) -> Change:
    return Change(role=role, payload=payload_of(signed), signatures={})


def _expiry(now: datetime, role: str) -> datetime:
    return (now + EXPIRY[role]).replace(microsecond=0)
