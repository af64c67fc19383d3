"""What a ceremony changes, in words, computed from the bytes that would be signed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tuf.api.metadata import Root, Targets

from .ceremony import Ceremony, Change
from .ceremony_rules import quorums
from .digests import fingerprint
from .keys import PublicKey
from .roles import Delegation, delegations_in, keys_of_root, parse_root, parse_targets
from .status import ROLE as STATUS
from .tlog.policy import policy_in, policy_of

_STATUS_NEW = (
    "from then on clients refuse the registry unless these keys renew a statement every 48 hours:",
    "which releases are quarantined or revoked, and below which state nothing may fall back",
)
_STATUS_LOST = (
    "WHAT IS LOST: clients use quarantined and revoked releases again, and whoever steals the",
    "server can show old states to those who were never here before",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """How far one quorum is: key ids of those who signed and of those who have not."""

    by: str
    threshold: int
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]

    @property
    def missing(self) -> int:
        return max(0, self.threshold - len(self.signed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One change: a title, what it says line by line, its digest, and who signs it."""

    role: str
    version: int
    title: str
    lines: tuple[str, ...]
    digest: str
    signatures: tuple[Signatures, ...]


def describe(ceremony: Ceremony) -> tuple[Described, ...]:
    """Every change of a ceremony that `check_ceremony` has accepted."""
    return tuple(_describe(ceremony, change) for change in ceremony.changes)


def follows_from(ceremony: Ceremony) -> str:
    """What the ceremony builds on."""
    if not ceremony.roots:
        return "nothing: this FOUNDS A NEW AUTHORITY"
    number = len(ceremony.roots)
    return f"root version {number} of the authority {fingerprint(ceremony.roots[0])}"


def is_complete(described: tuple[Described, ...]) -> bool:
    return not any(one.missing for item in described for one in item.signatures)


def _describe(ceremony: Ceremony, change: Change) -> Described:
    signed = change.metadata.signed
    lines = [f"valid until {signed.expires:%Y-%m-%d}"]
    if change.role == "root":
        before = parse_root(ceremony.roots[-1]).signed if ceremony.roots else None
        lines += _root_lines(signed, before)
    else:
        current = ceremony.targets if change.role == "targets" else ceremony.registrar
        lines += _delegation_lines(signed, current)
        if change.role == "targets":
            lines += _log_lines(signed, current)
    return Described(
        role=change.role,
        version=signed.version,
        title=f"{change.role}, version {signed.version}",
        lines=tuple(lines),
        digest=f"sha256:{change.digest}",
        signatures=tuple(
            Signatures(
                by=quorum.by,
                threshold=quorum.threshold,
                signed=tuple(key.keyid for key in quorum.signed(change)),
                unsigned=tuple(
                    key.keyid for key in quorum.keys if key.keyid not in change.signatures
                ),
            )
            for quorum in quorums(ceremony, change.role)
        ),
    )


def _root_lines(root: Root, before: Root | None) -> list[str]:
    lines = []
    for role in ("root", "targets", "snapshot", "timestamp"):
        keys, threshold = keys_of_root(root, role), root.roles[role].threshold
        if before is None:
            lines += _all_new(f"{role} is signed by", keys, threshold)
            continue
        old = keys_of_root(before, role)
        lines += _differences(
            f"{role} is signed by", keys, threshold, old, before.roles[role].threshold
        )
    return lines


def _delegation_lines(signed: Targets, current: bytes | None) -> list[str]:
    after = delegations_in(signed)
    before = {} if current is None else delegations_in(parse_targets(current, "current").signed)
    lines: list[str] = []
    same = 0
    for name, now in after.items():
        old = before.get(name)
        if old is None:
            lines += _all_new(f"{name} is signed by", now.keys, now.threshold)
        elif _same(old, now):
            same += (old.profile, old.body) == (now.profile, now.body)
        else:
            lines += _differences(
                f"{name} is signed by", now.keys, now.threshold, old.keys, old.threshold
            )
        lines += _profile_lines(name, now, old)
        lines += _body_lines(name, now, old)
        if name == STATUS and old is None:
            lines += [f"  {line}" for line in _STATUS_NEW]
    if STATUS in before and STATUS not in after:
        was = before[STATUS]
        lines.append(f"{STATUS} is signed by nobody any more (was {_of(was)})")
        lines += [f"  - {key.keyid}   no longer" for key in was.keys]
        lines += [f"  {line}" for line in _STATUS_LOST]
    if same:
        lines.append(f"{same} name(s) as before, with their keys")
    if not after:
        lines.append("names nobody yet")
    return lines


def _log_lines(signed: Targets, current: bytes | None) -> list[str]:
    """The public log and its witnesses, and what of it is new or gone."""
    now = policy_in(signed)
    before = None if current is None else policy_of(current)
    if now is None:
        return ["names no public log" + ("" if before is None else f" (was {before.origin})")]
    quorum = f"{now.quorum} of {len(now.witnesses)} witnesses" if now.witnesses else "no witness"
    lines = [f"the public log is {now.origin}, believed with {quorum}"]
    old = () if before is None else (*before.keys, *before.witnesses)
    new = (*now.keys, *now.witnesses)
    if before is not None and before.quorum != now.quorum:
        lines[0] += f" (was {before.quorum} of {len(before.witnesses)})"
    lines += [f"  - {key.vkey}   no longer" for key in old if key not in new]
    return lines + [f"  + {key.vkey}" + ("" if key in old else "   new") for key in new]


def _profile_lines(name: str, now: Delegation, old: Delegation | None) -> list[str]:
    """Every field of the profile that is new or other, whatever fields profiles have."""
    before = None if old is None else old.profile
    if now.profile is None:
        return [] if before is None else [f"{name}: no profile any more"]
    return [
        f"{name}: {field.name} is {getattr(now.profile, field.name)!r}"
        for field in fields(now.profile)
        if before is None or getattr(before, field.name) != getattr(now.profile, field.name)
    ]


def _body_lines(name: str, now: Delegation, old: Delegation | None) -> list[str]:
    """What is said of a reviewer body, where that is new or other."""
    before = None if old is None else old.body
    if now.body == before:
        return []
    if now.body is None:
        return [f"{name}: nothing is said of the body any more"]
    theirs = ", ".join(sorted(now.body.organisations)) or "no organisation"
    return [
        f"{name}: display_name is {now.body.display_name!r}",
        f"{name}: belongs to {theirs}, whose releases it does not review",
    ]


def _of(delegation: Delegation) -> str:
    return f"{delegation.threshold} of {len(delegation.keys)} keys"


def _same(one: Delegation, other: Delegation) -> bool:
    return (set(one.keys), one.threshold) == (set(other.keys), other.threshold)


def _all_new(what: str, keys: tuple[PublicKey, ...], threshold: int) -> list[str]:
    return [f"{what} {threshold} of {len(keys)} keys", *(f"  + {key.keyid}" for key in keys)]


def _differences(
    what: str,
    keys: tuple[PublicKey, ...],
    threshold: int,
    old: tuple[PublicKey, ...],
    old_threshold: int,
) -> list[str]:
    gone = [f"  - {key.keyid}   no longer" for key in old if key not in keys]
    new = [f"  + {key.keyid}   new" for key in keys if key not in old]
    if not gone and not new and threshold == old_threshold:
        return [f"{what} {threshold} of {len(keys)} keys, as before"]
    was = f" (was {old_threshold} of {len(old)})"
    return [f"{what} {threshold} of {len(keys)} keys{was}", *gone, *new]
