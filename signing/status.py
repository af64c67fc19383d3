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
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from packaging.version import Version
from tuf.api.metadata import Targets

from .digests import parse_digest
from .encoding import Fields
from .errors import MalformedError, WithheldError
from .names import ComponentName, parse_version
from .publisher_keys import parse_instant
from .roles import EXPIRY, check_reason, parse_targets
from .tlog.note import ED25519, NoteKey
from .tlog.policy import FIELD

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


def summary(withheld: Iterable[Withheld]) -> str:
    """``releases withheld: 3 quarantined, 1 revoked``, or ``nothing is withheld``."""
    states = [one.state for one in withheld]
    parts = [f"{states.count(state)} {state}" for state in STATES if state in states]
    if not parts:
        return "nothing is withheld"
    return f"releases withheld: {', '.join(parts)}"
