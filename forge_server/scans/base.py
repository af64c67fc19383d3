"""The words that scanners and the registry share, and what a scanner MUST do.

A scanner looks at one file, or at all files of a release that it wants together. It runs in a
process of its own (`scans.child`) and may crash, hang or eat memory there: whatever it does but
answer is ``failed``. It is ``clean`` only about what it read to the end and understood. Where it
cannot say anything it is ``not-scanned``, and says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO, Final, Protocol

CLEAN: Final = "clean"
FINDINGS: Final = "findings"
NOT_SCANNED: Final = "not-scanned"
FAILED: Final = "failed"
STALE: Final = "stale"  # computed on reading, never written
STATES: Final = (CLEAN, FINDINGS, NOT_SCANNED, FAILED, STALE)

LOW, MEDIUM, HIGH, CRITICAL = "low", "medium", "high", "critical"
SEVERITIES: Final = (LOW, MEDIUM, HIGH, CRITICAL)
MAX_FINDINGS: Final = 200  # of one scanner in one release
MAX_TITLE: Final = 300  # characters
_MAX_LOCATION: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """``rule`` is a word of the scanner's; ``location`` says where in the file at ``path``."""

    rule: str
    severity: str
    title: str
    path: str = ""
    location: str = ""

    def id_of(self, scanner: str) -> str:
        """The same however often the same is found in the same place."""
        place = f"{self.path}\0{self.location}".encode("utf-8", "surrogatepass")
        return f"{scanner}:{self.rule}:{hashlib.sha256(place).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a scanner says of what it was given. ``facts`` are for the report: what JSON holds."""

    state: str
    detail: str = ""
    items: Sequence[FoundItem] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the release, as the manifest has it."""

    path: str
    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a scanner is asked about. ``release`` holds what the manifest says: ``kind``,
    ``license``; ``data`` is the folder or archive of advisories that the settings name, or None.
    """

    file: File
    release: Mapping[str, Any]
    data: str | None = None


class Scanner(Protocol):
    """Entry point group ``forge.scanners``: the name of the point is that of the scanner, its
    object one of these. Only `scan` runs in the child; nothing heavy may be imported before.
    ``header_only``: whether the first 17 MiB of a file tell it all, so that no more is fetched."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Of what it looks for; ``missing`` where a package that it needs is not installed."""
        ...

    @property
    def header_only(self) -> bool: ...

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        """Whether the file is one for this scanner, from its name and its first and last bytes."""
        ...

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        """The answer about one file, which can be read and sought."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding as it is kept."""

    id: str
    scanner: str
    severity: str
    path: str
    location: str
    title: str
    first_seen_at: str = ""
    last_seen_at: str = ""
    gone_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one scanner says of a whole release: the worst of what it says of the files."""

    scanner: str
    scanner_version: str
    data_date: date | None
    state: str
    detail: str
    items: Sequence[FoundItem]
    report: Mapping[str, Any]


def limited(text: str, most: int = _MAX_LOCATION) -> str:
    """``text`` on one line and not longer than ``most`` characters, whatever it was; what the
    database cannot hold is replaced."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return shown.encode("utf-8", "replace").decode("utf-8")
