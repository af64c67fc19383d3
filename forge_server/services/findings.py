"""What scanners found in a release, what its publisher answers, and what reviewers make of that.

A publisher's answer changes nothing by itself. A member of a reviewer body verifies or rejects it,
and only then may it settle the finding: see `open_findings`, which is the one place that says
whether a finding is open. The newest answer counts, so whoever answers again needs a verdict again,
and a verdict names the answer that was read. It is about a finding as grave as it was then: one
that a later scan calls graver is open again. Nobody judges answers of an organisation that they or
their body belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from signing.bodies import Body, role_of
from signing.names import ComponentName, parse_org_name
from signing.roles import delegations_of
from signing.waivers import Waiver, settling

from ..db.engine import Database
from ..db.models import Finding, User
from ..db.recall_models import Answer
from ..domain.answers import (
    SETTLING,
    VERDICTS,
    VERIFIED,
    check_answer,
    check_text,
)
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller, Identity
from .clock import Clock
from .components import mark_reviewed
from .quarantine import require_published
from .rights import member_role, require_member
from .rolebook import current_role

MAX_ANSWERS: Final = 50  # to one finding
_SEVERITIES: Final = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """An answer. ``verdict`` is None until a reviewer has judged it."""

    number: int
    type: str
    text: str
    links: Sequence[str]
    by: str
    at: datetime
    verdict: str | None
    verdict_severity: str | None
    verdict_reason: str | None
    verdict_body: str | None
    verdict_by: str | None
    verdict_at: datetime | None

    @property
    def settles(self) -> bool:
        """Whether a finding that is as grave as the judge saw it is settled."""
        return self.verdict == VERIFIED and self.type in SETTLING

    def is_outgrown(self, severity: str) -> bool:
        """Whether a finding of ``severity`` is graver than what was judged."""
        seen = self.verdict_severity
        return self.verdict is not None and (
            seen is None or _SEVERITIES.index(severity) < _SEVERITIES.index(seen)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """A finding with its newest answer, and the waiver in force that covers it. ``severity_since``
    is since when it is that grave."""

    id: str
    scanner: str
    severity: str
    severity_since: datetime
    path: str
    location: str
    title: str
    first_seen_at: datetime
    last_seen_at: datetime
    gone_at: datetime | None
    answer: AnswerRow | None
    waiver: Waiver | None

    @property
    def is_outgrown(self) -> bool:
        """Whether it became graver since a reviewer judged the answer to it."""
        return self.answer is not None and self.answer.is_outgrown(self.severity)

    @property
    def is_open(self) -> bool:
        settled = self.answer is not None and self.answer.settles and not self.is_outgrown
        return self.gone_at is None and not settled and self.waiver is None


def findings_of(
    session: Session, manifest_sha256: str, waivers: Collection[Waiver] = ()
) -> list[FindingRow]:
    """Every finding of a release, the gravest first; ``waivers`` are those in force for it. Two
    statements, however many there are."""
    rows = session.scalars(select(Finding).where(Finding.manifest_sha256 == manifest_sha256)).all()
    answers = _answers(session, manifest_sha256) if rows else {}
    found = [
        FindingRow(
            id=row.id,
            scanner=row.scanner,
            severity=row.severity,
            severity_since=row.severity_since or row.first_seen_at,
            path=row.path,
            location=row.location,
            title=row.title,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
            gone_at=row.gone_at,
            answer=answers.get(row.id),
            waiver=settling(waivers, row.id, row.severity),
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (_SEVERITIES.index(one.severity), one.id))


def open_findings(
    session: Session, manifest_sha256: str, waivers: Collection[Waiver] = ()
) -> list[FindingRow]:
    """Those findings that nothing has settled: not gone, no answer that it is a false positive, not
    affected or mitigated that was verified when it was as grave as today, and no waiver in force.
    """
    return [one for one in findings_of(session, manifest_sha256, waivers) if one.is_open]


Holding = Callable[[Session, ComponentName, str, str], Collection[Waiver]]
"""The waivers in force for a component's version with a manifest."""


def _none(*_: object) -> Collection[Waiver]:
    return ()


@dataclass(frozen=True, slots=True)
class Findings:
    database: Database
    audit: Audit
    clock: Clock
    waivers: Holding = _none

    def all(self, name: ComponentName, version: str) -> tuple[str, list[FindingRow]]:
        """The release's identity and its findings. Raises RegistryError (``not-found``)."""
        with self.database.read() as session:
            digest = require_published(session, name, version).manifest_sha256
            return digest, findings_of(
                session, digest, self.waivers(session, name, version, digest)
            )

    def answer(
        self,
        caller: Caller,
        name: ComponentName,
        version: str,
        finding: str,
        type_: str,
        text: str,
        links: tuple[str, ...],
    ) -> int:
        """The number of a new answer, which counts from now on.

        Raises:
            RegistryError: not a publisher of the component, no such finding, too many answers.
            MalformedError: an answer in another form.
        """
        identity = _identity(caller)
        identity.require("publish", organisation=name.org, component=str(name))
        check_answer(type_, text, links)
        with self.database.write() as session:
            require_member(session, identity, name.org, "publisher")
            digest = self._require_finding(session, name, version, finding)
            count = session.scalar(
                select(func.count()).where(
                    Answer.manifest_sha256 == digest, Answer.finding == finding
                )
            )
            if (count or 0) >= MAX_ANSWERS:
                raise RegistryError(
                    "quota-exceeded", f"finding {finding}: expected at most {MAX_ANSWERS} answers"
                )
            row = Answer(
                manifest_sha256=digest, finding=finding, type=type_, text=text,
                links=list(links), user_id=identity.user_id, answered_at=self.clock(),
            )  # fmt: skip
            session.add(row)
            session.flush()
            mark_reviewed(session, name)  # the verdict on the answer before counts no more
            self.audit.record(
                session, caller, "finding.answer", f"{name}=={version}", finding=finding,
                type=type_, number=row.id,
            )  # fmt: skip
            return row.id

    def judge(
        self,
        caller: Caller,
        name: ComponentName,
        version: str,
        finding: str,
        number: int,
        body: str,
        verdict: str,
        reason: str,
    ) -> None:
        """Writes down what a reviewer of ``body`` makes of answer ``number``.

        Raises:
            RegistryError: no reviewer, or of an organisation that this is about; no such finding;
                the answer is not the newest any more (``answer-changed``).
            MalformedError: no verdict, no reason.
        """
        identity = _identity(caller)
        parse_org_name(body, "request: body")
        identity.require("publish", organisation=body)
        if verdict not in VERDICTS:
            raise RegistryError(
                "malformed",
                f"request: verdict: expected {' or '.join(VERDICTS)}, found {verdict!r:.40}",
            )
        check_text(reason, "request: reason")
        with self.database.write() as session:
            _require_reviewer(session, identity, body, name.org)
            digest = self._require_finding(session, name, version, finding)
            row = session.scalars(
                select(Answer)
                .where(Answer.manifest_sha256 == digest, Answer.finding == finding)
                .order_by(Answer.id.desc())
                .limit(1)
            ).first()
            if row is None or row.id != number:
                raise RegistryError(
                    "answer-changed",
                    f"finding {finding}: expected {number} to be the newest answer, found "
                    f"{'none' if row is None else row.id}",
                    "read it again: forge finding list " + f"{name}=={version}",
                )
            if row.user_id == identity.user_id:  # and left the organisation since
                raise RegistryError(
                    "not-a-reviewer", f"{identity.user} gave this answer: another must judge"
                )
            row.verdict, row.verdict_reason, row.verdict_body = verdict, reason, body
            row.verdict_severity = session.get_one(Finding, (digest, finding)).severity
            row.verdict_user_id, row.verdict_at = identity.user_id, self.clock()
            mark_reviewed(session, name)
            self.audit.record(
                session, caller, "finding.judge", f"{name}=={version}", finding=finding,
                number=number, verdict=verdict, body=body,
            )  # fmt: skip

    def _require_finding(
        self, session: Session, name: ComponentName, version: str, finding: str
    ) -> str:
        digest = require_published(session, name, version).manifest_sha256
        if session.get(Finding, (digest, finding)) is None:
            raise RegistryError(
                "not-found",
                f"{name}=={version}: expected a finding, found {finding!r:.130}",
                f"see them: forge finding list {name}=={version}",
            )
        return digest


def _answers(session: Session, manifest_sha256: str) -> dict[str, AnswerRow]:
    """``{finding: its newest answer}``."""
    judge = aliased(User)
    query = (
        select(Answer, User.name, judge.name)
        .join(User, User.id == Answer.user_id)
        .join(judge, judge.id == Answer.verdict_user_id, isouter=True)
        .where(Answer.manifest_sha256 == manifest_sha256)
        .order_by(Answer.id)
    )
    return {
        row.finding: AnswerRow(
            number=row.id,
            type=row.type,
            text=row.text,
            links=tuple(row.links),
            by=by,
            at=row.answered_at,
            verdict=row.verdict,
            verdict_severity=row.verdict_severity,
            verdict_reason=row.verdict_reason,
            verdict_body=row.verdict_body,
            verdict_by=judged_by,
            verdict_at=row.verdict_at,
        )
        for row, by, judged_by in session.execute(query)
    }


def _require_reviewer(session: Session, identity: Identity, body: str, organisation: str) -> None:
    """Establishes that the user speaks for the body, and neither belongs to ``organisation``."""
    known = _body(session, body)
    if known is None:
        raise RegistryError(
            "not-a-reviewer",
            f"{body}: expected a reviewer body that the authority names, found none",
        )
    if organisation == body or organisation in known.organisations:
        raise RegistryError(
            "not-a-reviewer", f"{body} belongs to {organisation}: another body must judge"
        )
    if member_role(session, organisation, identity.user_id) is not None:
        raise RegistryError(
            "not-a-reviewer", f"{identity.user} is a member of {organisation}: another must judge"
        )
    roles = [
        member_role(session, each, identity.user_id)
        for each in (body, *sorted(known.organisations))
    ]
    if not {"publisher", "owner"} & set(roles):
        raise RegistryError(
            "not-a-reviewer",
            f"expected a member of {body} or of an organisation that it belongs to "
            "(publisher or more), found none",
        )


def _body(session: Session, body: str) -> Body | None:
    targets = current_role(session, "targets")
    if targets is None:
        return None
    delegation = delegations_of(targets, "targets").get(role_of(body))
    return None if delegation is None else delegation.body


def _identity(caller: Caller) -> Identity:
    assert caller.identity is not None
    return caller.identity
