"""What is known of a release beside its signature: who looked at it, what scanners found, and what
became of that. Values for the pages; each is read, and none is decided, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.assessment import COMMUNITY, Assessment, Decision
from signing.names import ComponentName
from signing.roles import Delegation
from signing.waivers import Waiver

from ..db.engine import Database
from ..search.documents import hit_of, in_milliseconds
from ..search.tables import DOCUMENTS
from .clock import Clock
from .findings import AnswerRow, FindingRow, findings_of
from .pages_component import require_release
from .review_desk import ReviewDesk
from .review_endings import SOON_DAYS, EndingRole, EndingWaiver, endings
from .scans import NOTHING_OF_ITS_KIND, Scans, ScanState

SEVERITIES: Final = ("critical", "high", "medium", "low")
"""From the gravest on."""
NOT_SCANNED: Final = "not-scanned"
_SOON: Final = timedelta(days=SOON_DAYS)
_MAX_LISTED: Final = 100
_GRAVEST_SCAN: Final = ("failed", "stale", NOT_SCANNED, "findings", "clean")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSeen:
    """The last run of one scanner. ``state`` is clean, findings, not-scanned, failed or stale;
    ``data_date`` is how old its knowledge is, where it has any. ``applies``: there is something of
    its kind in the release."""

    scanner: str
    scanner_version: str
    state: str
    detail: str
    data_date: date | None
    finished_at: datetime | None
    applies: bool = True


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
    verdict_severity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverSeen:
    """A body's word that the finding may stand until a day."""

    body: str
    reason: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingSeen:
    """``open``: it counts against the release today. ``gone_at``: a later scan did not see it.
    ``outgrown``: it became graver since a reviewer judged the answer to it."""

    id: str
    severity: str
    scanner: str
    path: str
    location: str
    title: str
    first_seen_at: datetime
    gone_at: datetime | None = None
    open: bool = True
    outgrown: bool = False
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
        states = {each.state for each in self.scans if each.applies}
        return next((state for state in _GRAVEST_SCAN if state in states), NOT_SCANNED)

    @property
    def scanned_at(self) -> datetime | None:
        """When the last scan that came to an end did."""
        ended = [each.finished_at for each in self.scans if each.state != NOT_SCANNED]
        return max((at for at in ended if at is not None), default=None)

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
    waivers: Sequence[EndingWaiver] = ()
    roles: Sequence[EndingRole] = ()

    def title(self, body: str) -> str:
        """What people call a body."""
        return next((one.display_name for one in self.bodies if one.name == body), body)


@dataclass(frozen=True, slots=True)
class Assurances:
    """Reads what is known of releases, each time anew."""

    database: Database
    scans: Scans
    desk: ReviewDesk
    clock: Clock

    def of(self, name: ComponentName, version: str, manifest_sha256: str) -> Assurance:
        """What is known of one release today."""
        with self.database.read() as session:
            scans = self.scans.of_release(session, manifest_sha256)
            release = require_release(session, name, version)
            assessment, said = self.desk.assessment(session, name, release)
            rows = findings_of(session, manifest_sha256, said.waivers)
            findings = [_finding(row) for row in rows]
            spoke = assessment.standing or assessment.lapsed or said.waivers
            return Assurance(
                assessment=assessment,
                scans=[_scan(row) for row in scans],
                findings=sorted(findings, key=lambda one: (_rank(one.severity), one.id)),
                bodies=_titles(self.desk.bodies(session)) if spoke else {},
            )

    def reviews(self) -> Reviews:
        """Reviewer bodies, and what ends within thirty days of what is newest."""
        now = self.clock()
        with self.database.read() as session:
            named = self.desk.bodies(session)
            if not named:
                return Reviews()
            titles = _titles(named)
            soon = endings(session, now)
            return Reviews(
                bodies=[
                    Body(
                        name=name,
                        display_name=titles[name],
                        organisations=sorted(_theirs(each)),
                        keys=len(each.keys),
                    )
                    for name, each in sorted(named.items())
                ],
                queue=[
                    Waiting(
                        component=one.component,
                        version=one.version,
                        since=one.since,
                        body=one.claimed_by,
                        body_title=titles.get(one.claimed_by or "", one.claimed_by),
                    )
                    for one in self.desk.queue(session, _MAX_LISTED)
                ],
                expiring=_ending(session, now, now + _SOON),
                waivers=soon.waivers,
                roles=[one for one in soon.roles if one.body in named],
            )


def _theirs(delegation: Delegation) -> frozenset[str]:
    return frozenset() if delegation.body is None else delegation.body.organisations


def _titles(named: Mapping[str, Delegation]) -> dict[str, str]:
    """``{body: its name for people}``"""
    return {
        name: name if each.body is None else each.body.display_name for name, each in named.items()
    }


def _ending(session: Session, now: datetime, until: datetime) -> list[Ending]:
    """The components whose latest release loses its level before ``until``, as search knows it."""
    at = DOCUMENTS.c.falls_at
    rows = session.execute(
        select(DOCUMENTS.c.shown, at)
        .where(at > in_milliseconds(now), at <= in_milliseconds(until))
        .order_by(at)
        .limit(_MAX_LISTED)
    )
    hits = [(hit_of(shown, exact=False), falls_at) for shown, falls_at in rows]
    return [
        Ending(
            component=f"{hit.organisation}/{hit.name}",
            version=hit.version or "",
            level=hit.review,
            until=datetime.fromtimestamp(falls_at / 1000, UTC),
        )
        for hit, falls_at in hits
    ]


def _finding(row: FindingRow) -> FindingSeen:
    return FindingSeen(
        id=row.id,
        severity=row.severity,
        scanner=row.scanner,
        path=row.path,
        location=row.location,
        title=row.title,
        first_seen_at=row.first_seen_at,
        gone_at=row.gone_at,
        open=row.is_open,
        outgrown=row.is_outgrown,
        answer=None if row.answer is None else _answer(row.answer),
        waiver=None if row.waiver is None else _waiver(row.waiver),
    )


def _waiver(one: Waiver) -> WaiverSeen:
    return WaiverSeen(body=one.body, reason=one.reason, until=one.expires)


def _answer(row: AnswerRow) -> AnswerSeen:
    return AnswerSeen(
        type=row.type,
        text=row.text,
        links=row.links,
        at=row.at,
        verdict=row.verdict,
        verdict_by=row.verdict_body,
        verdict_severity=row.verdict_severity,
    )


def _scan(row: ScanState) -> ScanSeen:
    return ScanSeen(
        scanner=row.scanner,
        scanner_version=row.scanner_version,
        state=row.state,
        detail=row.detail,
        data_date=row.data_date,
        finished_at=row.finished_at,
        applies=row.detail != NOTHING_OF_ITS_KIND,
    )


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
