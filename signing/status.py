"""The ``status`` role: what somebody away from the server saw of the registry, signed every day.

TUF's snapshot and timestamp are signed by the server, so a thief of the server says with them
whatever suits. The status role is signed elsewhere, by keys that the targets role names, and lasts
48 hours. It is TUF targets metadata without targets; what it says stands in its member ``forge``::

    "forge": {"at": "2026-01-31T12:00:00Z",
              "log": {"key": "…", "origin": "…", "root": "…", "size": 1234},
              "snapshot": {"sha256": "…", "version": 99},
              "withheld": [{"component": "org/name", "manifest_sha256": "…", "reason": "…",
                            "since": "…", "state": "quarantined", "version": "1.0.0"}, …]}

``at`` is when its host looked. ``log`` is the public log as it was then (absent where the authority
names none): whoever is shown a log that does not begin so is shown another one. ``snapshot`` is the
snapshot of that moment: no role may be older now, whoever signed the snapshot that says so.
``withheld`` are releases that must not be used: *quarantined* ones until that is lifted, *revoked*
ones for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from packaging.version import Version
from tuf.api.metadata import Metadata, Targets

from .digests import parse_digest, sha256_hex
from .encoding import Fields
from .errors import MalformedError, VerificationError, WithheldError
from .names import ComponentName, parse_version
from .publisher_keys import parse_instant
from .roles import EXPIRY, check_reason, check_signed_by, parse_root, parse_signed, parse_targets
from .tlog.note import ED25519, NoteKey
from .tlog.policy import FIELD, LogPolicy

ROLE: Final = "status"
QUARANTINED: Final = "quarantined"
REVOKED: Final = "revoked"
STATES: Final = (QUARANTINED, REVOKED)
CODES: Final = {QUARANTINED: "release-quarantined", REVOKED: "release-revoked"}
MAX_WITHHELD: Final = 5000  # about 2 MB of a role of which clients read 5 MB at most
_ROOT = re.compile(r"[0-9a-f]{64}")
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSeen:
    """The public log as the status host saw it: ``size`` leaves with this ``root``, signed by
    ``key``."""

    key: NoteKey
    size: int
    root: bytes

    @property
    def origin(self) -> str:
        return self.key.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSeen:
    """The snapshot that was current then, by version and the SHA-256 of its bytes."""

    version: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A release that must not be used. ``state`` is one of `STATES`."""

    component: ComponentName
    version: Version
    manifest_sha256: str
    state: str
    reason: str
    since: datetime

    @property
    def release(self) -> str:
        return f"{self.component}=={self.version}"

    def __str__(self) -> str:
        return f"{self.state} since {self.since:%Y-%m-%d %H:%M} UTC: {self.reason}"

    def error(self) -> WithheldError:
        """The refusal to use it."""
        back = (
            "a quarantine may be lifted: ask again later, or take another version"
            if self.state == QUARANTINED
            else "a revocation is final: take another version, and stop using this one"
        )
        return WithheldError(
            CODES[self.state],
            f"{self.release} must not be used: {self}",
            back,
            component=str(self.component),
            version=str(self.version),
            manifest_sha256=self.manifest_sha256,
            state=self.state,
            reason=self.reason,
            since=_text(self.since),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What one version of the role says. ``withheld`` is sorted by component and version."""

    at: datetime
    snapshot: SnapshotSeen
    log: LogSeen | None = None
    withheld: tuple[Withheld, ...] = ()

    def find(self, manifest_sha256: str) -> Withheld | None:
        """Whether the release with this identity is withheld."""
        return next((one for one in self.withheld if one.manifest_sha256 == manifest_sha256), None)

    def to_json(self) -> dict[str, Any]:
        """The member ``forge``."""
        value: dict[str, Any] = {
            "at": _text(self.at),
            "snapshot": {"version": self.snapshot.version, "sha256": self.snapshot.sha256},
            "withheld": [withheld_json(one) for one in self.withheld],
        }
        if self.log is not None:
            value["log"] = {
                "origin": self.log.origin,
                "key": self.log.key.vkey,
                "size": self.log.size,
                "root": self.log.root.hex(),
            }
        return value


def withheld_json(one: Withheld) -> dict[str, str]:
    """An entry as it stands in the role, and in answers of both programs."""
    return {
        "component": str(one.component),
        "version": str(one.version),
        "manifest_sha256": one.manifest_sha256,
        "state": one.state,
        "reason": one.reason,
        "since": _text(one.since),
    }


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_INSTANT)


def status_of(data: bytes, where: str = ROLE) -> Status:
    """What the role ``data`` says; its signatures are not looked at.

    Raises:
        MalformedError: whatever the bytes are otherwise, with the path to the field.
    """
    return status_in(parse_targets(data, where).signed, where)


def status_in(signed: Targets, where: str = ROLE) -> Status:
    """`status_of` for a role already parsed."""
    if FIELD not in signed.unrecognized_fields:
        raise MalformedError(f"{where}: {FIELD}", "what the status host saw", "nothing")
    fields = Fields.of(signed.unrecognized_fields[FIELD], f"{where}: {FIELD}")
    fields.only(("at", "snapshot", "withheld"), optional=("log",))
    at = parse_instant(fields.text("at"), fields.path("at"))
    # Otherwise a statement could be dated before it expired, or last for ever.
    if not at < signed.expires <= at + EXPIRY[ROLE]:
        raise MalformedError(
            fields.path("at"), "an instant within 48 hours before the role expires", _text(at)
        )
    snapshot = fields.object("snapshot").only(("version", "sha256"))
    return Status(
        at=at,
        log=_log(fields.object("log")) if "log" in fields.value else None,
        snapshot=SnapshotSeen(
            version=snapshot.integer("version", low=1),
            sha256=parse_digest(snapshot.text("sha256"), snapshot.path("sha256")),
        ),
        withheld=_withheld_list(fields),
    )


def _log(fields: Fields) -> LogSeen:
    fields.only(("origin", "key", "size", "root"))
    key = NoteKey.parse(fields.text("key", max_chars=1000), fields.path("key"))
    if key.kind != ED25519:
        raise MalformedError(fields.path("key"), "the key of a log", f"kind {key.kind}")
    fields.literal("origin", key.name)
    root = fields.text("root", max_chars=64)
    if not _ROOT.fullmatch(root):
        raise MalformedError(fields.path("root"), "64 hexadecimal digits", root)
    size = fields.integer("size", low=1)
    return LogSeen(key=key, size=size, root=bytes.fromhex(root))


def _withheld_list(fields: Fields) -> tuple[Withheld, ...]:
    items = fields.objects("withheld")
    if len(items) > MAX_WITHHELD:
        raise MalformedError(
            fields.path("withheld"), f"at most {MAX_WITHHELD} releases", len(items)
        )
    found = tuple(_withheld(item) for item in items)
    for number, (one, other) in enumerate(pairwise(found), start=1):
        if not order(one) < order(other):  # strictly: none is there twice, in whatever spelling
            raise MalformedError(
                f"{fields.path('withheld')}[{number}]",
                "each release once, by component and version",
                f"{other.release} after {one.release}",
            )
    digests = [one.manifest_sha256 for one in found]
    if len(set(digests)) != len(digests):
        raise MalformedError(fields.path("withheld"), "each manifest_sha256 once", "one twice")
    return found


def order(one: Withheld) -> tuple[ComponentName, Version]:
    """What the list is sorted by."""
    return one.component, one.version


def _withheld(fields: Fields) -> Withheld:
    fields.only(("component", "version", "manifest_sha256", "state", "reason", "since"))
    state = fields.text("state", max_chars=20)
    if state not in STATES:
        raise MalformedError(fields.path("state"), f"one of {', '.join(STATES)}", repr(state))
    return Withheld(
        component=ComponentName.parse(fields.text("component"), fields.path("component")),
        version=parse_version(fields.text("version"), fields.path("version")),
        manifest_sha256=parse_digest(
            fields.text("manifest_sha256"), fields.path("manifest_sha256")
        ),
        state=state,
        reason=check_reason(fields.text("reason"), fields.path("reason"), required=True),
        since=parse_instant(fields.text("since"), fields.path("since")),
    )


# --- what a new version may say, and what follows from it ---------------------------------------


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
    subject = f"snapshot version {status.snapshot.version}"
    if (found := sha256_hex(named)) != status.snapshot.sha256:
        raise VerificationError(
            "digest-mismatch", subject, f"sha256 {status.snapshot.sha256} (role {ROLE})", found
        )
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


def snapshot_versions(data: bytes) -> dict[str, int]:
    """``{role: version}`` that a snapshot lists."""
    meta = parse_signed(data, "snapshot", "snapshot").signed.meta
    return {name.removesuffix(".json"): file.version for name, file in meta.items()}


def is_superseded(named: bytes, roots: Sequence[bytes]) -> bool:
    """Whether the snapshot was signed by server keys that the authority has taken away since.

    It binds nobody then: who stole those keys could have listed any version in it, and the registry
    would never reach them (TUF 1.0 §5.3.11). ``roots`` are all roots in order, verified before.
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


def ago(age: timedelta) -> str:
    """A span of time as people say it: the largest unit of which there are at least two."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return "moments"


def summary(withheld: Iterable[Withheld]) -> str:
    """``releases withheld: 3 quarantined, 1 revoked``, or ``nothing is withheld``."""
    states = [one.state for one in withheld]
    parts = [f"{states.count(state)} {state}" for state in STATES if state in states]
    if not parts:
        return "nothing is withheld"
    return f"releases withheld: {', '.join(parts)}"
