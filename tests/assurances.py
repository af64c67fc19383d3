"""What may be known of releases, made for tests of pages: scans, findings, reviews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from forge_server.services.assurance import (
    AnswerSeen,
    Assurance,
    Body,
    Ending,
    FindingSeen,
    Reviews,
    ScanSeen,
    Waiting,
    WaiverSeen,
)
from forge_server.services.review_endings import EndingRole, EndingWaiver
from signing.assessment import Assessment, Decision, Lapse, Subject, assess
from signing.names import ComponentName

NOW = datetime.now(UTC).replace(microsecond=0)
BODIES = {"rabat-institute": "Institut d’examen de Rabat", "cert-ma": "مركز اليقظة والرصد"}
EVIL = "<script>alert(1)</script>\x1b[31m\u202eevil"


def decision(
    name: str,
    body: str = "rabat-institute",
    *,
    version: str = "1.0.0",
    passed: bool = True,
    number: int = 2,
    keyid: str | None = None,
    ago: int = 10,
    days: int = 90,
    conditions: str | None = None,
    reason: str | None = None,
) -> Decision:
    return Decision(
        body=body, organisations=frozenset(), keyid=keyid or body, passed=passed, number=number,
        component=ComponentName.parse(name), version=version, manifest_sha256="ab" * 32,
        at=NOW - timedelta(days=ago), expires=NOW - timedelta(days=ago) + timedelta(days=days),
        sha256="cd" * 32, policy_sha256="ef" * 32, conditions=conditions, reason=reason,
        scope="Letters of administrations" if conditions else None,
    )  # fmt: skip


def assessed(name: str, *decisions: Decision, unread: Sequence[Lapse] = ()) -> Assessment:
    version = decisions[0].version if decisions else "1.0.0"
    subject = Subject(
        component=ComponentName.parse(name),
        version=version,
        manifest_sha256="ab" * 32,
        risk_class=None,
    )
    return assess(subject, decisions, NOW, unread=unread)


def scan(scanner: str, state: str, detail: str = "", data: date | None = None) -> ScanSeen:
    return ScanSeen(
        scanner=scanner, scanner_version="1.2", state=state, detail=detail, data_date=data,
        finished_at=NOW - timedelta(days=1),
    )  # fmt: skip


def finding(
    number: int,
    severity: str = "high",
    *,
    open_: bool = True,
    answer: AnswerSeen | None = None,
    waiver: WaiverSeen | None = None,
    gone: bool = False,
    title: str = "GLOBAL os.system",
) -> FindingSeen:
    return FindingSeen(
        id=f"picklescan:global:{number:012x}", severity=severity, scanner="picklescan 1.2",
        path="weights.bin", location=f"opcode {number}", title=title, open=open_,
        first_seen_at=NOW - timedelta(days=3), gone_at=NOW if gone else None, answer=answer,
        waiver=waiver,
    )  # fmt: skip


ANSWER = AnswerSeen(
    type="mitigated", text="Read with weights_only", links=[], at=NOW, verdict="verified",
    verdict_by="rabat-institute",
)  # fmt: skip
OLD = replace(ANSWER, verdict_severity="low")
WAIVER = WaiverSeen(body="cert-ma", reason="Until the next version", until=NOW + timedelta(days=30))
CLEAN = [scan("formats", "clean"), scan("osv", "clean", data=date(2026, 11, 1))]


@dataclass
class FakeAssurances:
    """Answers as the real reader does; ``known`` by the name of the component."""

    known: Mapping[str, Assurance] = field(default_factory=dict)
    page: Reviews = field(default_factory=Reviews)

    def of(self, name: ComponentName, version: str, manifest_sha256: str) -> Assurance:
        return self.known.get(str(name), Assurance())

    def reviews(self) -> Reviews:
        return self.page


def everything() -> FakeAssurances:
    """One component in each situation; their names are those of the showcase."""
    reviewed, approved = "digital-agency/name-parser", "minds-lab/darija-lid"
    rejected, lapsed = "casa-mobility/traffic-2025", "atlas-health/drug-names"
    return FakeAssurances(
        known={
            reviewed: Assurance(
                assessment=assessed(reviewed, decision(reviewed, version="1.1.0")),
                scans=[*CLEAN, scan("picklescan", "findings")],
                findings=[
                    finding(1, "medium"),
                    finding(2, "low"),
                    finding(3, "high", open_=False, answer=ANSWER),
                    finding(4, "high", open_=False, waiver=WAIVER),
                    finding(5, "critical", open_=False, gone=True),
                ],
                bodies=BODIES,
            ),
            approved: Assurance(
                assessment=assessed(
                    approved,
                    decision(approved),
                    decision(approved, "cert-ma", number=3, conditions="Offline use only"),
                ),
                scans=CLEAN,
                bodies=BODIES,
            ),
            rejected: Assurance(
                assessment=assessed(
                    rejected, decision(rejected, passed=False, reason="Names of drivers are in it")
                ),
                scans=[scan("formats", "failed", "out of memory"), *CLEAN],
                findings=[finding(1, "critical"), replace(finding(2, answer=OLD), outgrown=True)],
                bodies=BODIES,
            ),
            lapsed: Assurance(
                assessment=assessed(
                    lapsed,
                    decision(lapsed, ago=200, days=90),
                    unread=[Lapse(body="cert-ma", code="unreadable", why=f"no JSON {EVIL}")],
                ),
                scans=[scan("osv", "stale", data=date(2025, 1, 1)), scan("onnx", "not-scanned")],
                bodies={**BODIES, "cert-ma": f"CERT {EVIL}"},
            ),
        },
        page=Reviews(
            bodies=[
                Body(name="cert-ma", display_name=BODIES["cert-ma"], organisations=[], keys=2),
                Body(
                    name="rabat-institute", display_name=BODIES["rabat-institute"],
                    organisations=["digital-agency"], keys=1,
                ),
            ],
            queue=[
                Waiting(component=rejected, version="1.0.0", since=NOW),
                Waiting(
                    component=approved, version="1.0.0", since=NOW, body="cert-ma",
                    body_title=BODIES["cert-ma"],
                ),
            ],
            expiring=[
                Ending(component=reviewed, version="1.1.0", level="reviewed",
                       until=NOW + timedelta(days=6))
            ],
            waivers=[
                EndingWaiver(component=rejected, id="CERT-2026-1", body="cert-ma",
                             expires=NOW + timedelta(days=5))
            ],
            roles=[EndingRole(body="rabat-institute", expires=NOW + timedelta(days=4))],
        ),
    )  # fmt: skip
