"""What the leaves of this registry's log say: hashes and names, never content or persons.

A leaf is deterministic JSON. ``role`` leaves hold nothing but what the signed role itself yields,
so that whoever has the role's bytes can compute the leaf and ask whether it is in the log. All
other acts carry the time at which they were recorded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ..digests import parse_digest, sha256_hex
from ..encoding import Fields, canonical_json, parse_json
from ..errors import MalformedError
from .tiles import MAX_ENTRY_BYTES

ROLE = "role"
_MAX_TEXT = 300
_TIME = "%Y-%m-%dT%H:%M:%SZ"
# What nearly every leaf looks like, in the one encoding that it has. An audit reads a million of
# them, and this takes a tenth of the time of reading JSON. Whatever it does not match, the reader
# of JSON judges.
_USUAL = re.compile(
    rb'\{"act":"([a-z][a-z.]{0,99})"'
    rb'(?:,"at":"([12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})Z")?'
    rb'(?:,"sha256":"([0-9a-f]{64})")?'
    rb',"subject":"([!#-\[\]-~]{1,300})"'  # no quote, no backslash: nothing that JSON escapes
    rb'(?:,"version":([1-9][0-9]{0,14}))?\}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One leaf. ``act`` is ``role`` or what was done (``release``, ``yank``, …) to ``subject``.

    ``version`` is a role's number. ``sha256`` is the digest of a role's bytes or of a release's
    manifest; None for acts without content. ``at`` is None for roles.
    """

    act: str
    subject: str
    version: int | None = None
    sha256: str | None = None
    at: datetime | None = None

    def to_bytes(self) -> bytes:
        members: dict[str, object] = {"act": self.act, "subject": self.subject}
        if self.version is not None:
            members["version"] = self.version
        if self.sha256 is not None:
            members["sha256"] = self.sha256
        if self.at is not None:
            members["at"] = self.at.astimezone(UTC).strftime(_TIME)
        return canonical_json(members)


def role_entry(role: str, version: int, data: bytes) -> Entry:
    """The leaf that stands for these exact bytes of ``role``."""
    return Entry(act=ROLE, subject=role, version=version, sha256=sha256_hex(data))


def parse_entry(data: bytes, where: str = "log entry") -> Entry:
    """Reads a leaf.

    Raises:
        MalformedError: anything but the one encoding of an entry.
    """
    return _usual(data) or _unusual(data, where)


def _usual(data: bytes) -> Entry | None:
    """The entry, if it is one of those that need no reader of JSON."""
    match = _USUAL.fullmatch(data)
    if match is None:
        return None
    act, at, sha256, subject, version = match.groups()
    is_role = act == b"role"
    if is_role != (version is not None) or is_role == (at is not None):
        return None
    try:
        return Entry(
            act=act.decode(),
            subject=subject.decode(),
            version=None if version is None else int(version),
            sha256=None if sha256 is None else sha256.decode(),
            at=None if at is None else datetime.fromisoformat(at.decode()).replace(tzinfo=UTC),
        )
    except ValueError:  # the 31st of February
        return None


def _unusual(data: bytes, where: str) -> Entry:
    fields = Fields.of(parse_json(data, where, max_bytes=MAX_ENTRY_BYTES), where)
    fields.only(("act", "subject"), optional=("version", "sha256", "at"))
    sha256 = fields.optional_text("sha256")
    entry = Entry(
        act=fields.text("act", max_chars=_MAX_TEXT),
        subject=fields.text("subject", max_chars=_MAX_TEXT),
        version=fields.integer("version", low=1) if "version" in fields.value else None,
        sha256=None if sha256 is None else parse_digest(sha256, fields.path("sha256")),
        at=_time(fields) if "at" in fields.value else None,
    )
    is_role = entry.act == ROLE
    if is_role != (entry.version is not None) or is_role == (entry.at is not None):
        raise MalformedError(where, "a role with its version, or an act with its time", "neither")
    if entry.to_bytes() != data:
        raise MalformedError(where, "the entry in its one encoding", "another")
    return entry


def _time(fields: Fields) -> datetime:
    text = fields.text("at")
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise MalformedError(fields.path("at"), "a time like 2026-01-31T12:00:00Z", text) from None
