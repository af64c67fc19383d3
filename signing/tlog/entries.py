"""What the leaves of this registry's log say: hashes and names, never content or persons.

A leaf is deterministic JSON. ``role`` leaves hold nothing but what the signed role itself yields,
so that whoever has the role's bytes can compute the leaf and ask whether it is in the log. All
other acts carry the time at which they were recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ..digests import parse_digest, sha256_hex
from ..encoding import Fields, canonical_json, parse_json
from ..errors import MalformedError
from .tiles import MAX_ENTRY_BYTES

ROLE = "role"
_MAX_TEXT = 300
_TIME = "%Y-%m-%dT%H:%M:%SZ"


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
