"""What is known of a release beside its signature: who looked at it, what scanners found, and what
became of that. Values for the pages; each is read, and none is decided, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from signing.assessment import COMMUNITY, Assessment, Decision
from signing.names import ComponentName

from ..db.engine import Database
from .clock import Clock

SEVERITIES: Final = ("critical", "high", "medium", "low")
"""From the gravest on."""
NOT_SCANNED: Final = "not-scanned"
_GRAVEST_SCAN: Final = ("failed", "stale", NOT_SCANNED, "findings", "clean")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSeen:
    """The last run of one scanner. ``state`` is clean, findings, not-scanned, failed or stale;
    ``data_date`` is how old its knowledge is, where it has any."""

    scanner: str
    scanner_version: str
    state: str
    detail: str
    data_date: date | None
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSeen:
    """What the publisher said to a finding, and what a body made of it (``verdict`` is verified or
    rejected; None: nobody looked yet)."""

    type: str
    text: str
    links: Sequence[str]
    at: datetime
    verdict: str | None
    verdict_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverSeen:
    """A body's word that the finding may stand until a day."""

    body: str
    reason: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingSeen:
    """``open``: it counts against the release today. ``gone_at``: a later scan did not see it."""

    id: str
    severity: str
    scanner: str
    path: str
    location: str
    title: str
    first_seen_at: datetime
    gone_at: datetime | None = None
    open: bool = True
    answer: AnswerSeen | None = None
    waiver: WaiverSeen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assurance:
    """All of it for one release. ``bodies`` are the names of reviewer bodies for people."""

    assessment: Assessment = field(default_factory=lambda: Assessment(level=COMMUNITY))
    scans: Sequence[ScanSeen] = ()
    findings: Sequence[FindingSeen] = ()
    bodies: Mapping[str, str] = field(default_factory=dict)

    @property
    def open_findings(self) -> Sequence[FindingSeen]:
        """Those that count against it today, the gravest first."""
        found = [each for each in self.findings if each.open]
        return sorted(found, key=lambda each: (_rank(each.severity), each.id))

    @property
    def gravest(self) -> str | None:
        """The severity of the gravest open finding."""
        return next((each.severity for each in self.open_findings), None)

    @property
    def scan_state(self) -> str:
        """What all scans say together: one that failed, or is old, is never made good by another
        one."""
        states = {each.state for each in self.scans}
        return next((state for state in _GRAVEST_SCAN if state in states), NOT_SCANNED)

    @property
    def scanned_at(self) -> datetime | None:
        """When the last scan that came to an end did."""
        ended = [each.finished_at for each in self.scans if each.state != NOT_SCANNED]
        return max(ended, default=None)

    @property
    def passed_by(self) -> Sequence[str]:
        """The bodies whose approval counts today."""
        return sorted({one.body for one in self.assessment.standing if one.passed})

    def body(self, name: str) -> str:
        """The body's name for people."""
        return self.bodies.get(name, name)

    def envelope(self, decision: Decision) -> str:
        """The path of the signed decision among the published files."""
        folder = f"reviews/{decision.body}/{decision.component}"
        return f"/tuf/targets/{folder}/{decision.sha256}.{decision.version}.vsa.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A reviewer body that the authority names; ``keys`` is how many reviewers' keys it has,
    ``organisations`` are those whose releases it never reviews."""

    name: str
    display_name: str
    organisations: Sequence[str]
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A release that waits for a review; ``body`` has taken it on, None: nobody has."""

    component: str
    version: str
    since: datetime
    body: str | None = None
    body_title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A release whose level falls at ``until`` by itself."""

    component: str
    version: str
    level: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """What the page on reviews shows: who may, what waits, what ends within thirty days."""

    bodies: Sequence[Body] = ()
    queue: Sequence[Waiting] = ()
    expiring: Sequence[Ending] = ()


@dataclass(frozen=True, slots=True)
class Assurances:
    """Reads what is known of releases."""

    database: Database
    clock: Clock

    def of(self, name: ComponentName, version: str, manifest_sha256: str) -> Assurance:
        """What is known of one release today."""
        return Assurance()

    def reviews(self) -> Reviews:
        """Reviewer bodies, and what they have before them."""
        return Reviews()


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
