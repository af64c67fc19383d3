"""What anybody reports about a release, and when reports alone hold it back.

Everybody may report, also without an account; how often is limited by rows in the database, so that
several servers count together. A report is *credible* when it comes from an account that answers
for itself: a member of an approved organisation other than the release's own, or an account of the
CERT (`cert_accounts` in server.toml). Two credible reports that have no organisation in common hold
the release back. Membership is looked up when it counts, so a member who was removed counts no
more, and nobody counts twice: not by reporting again, not under two tokens, not for two
organisations.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.encoding import is_plain
from signing.errors import MalformedError
from signing.names import ComponentName

from ..db.engine import Database
from ..db.models import Member, Organisation, User
from ..db.recall_models import ReportRow
from ..domain.addresses import counted_as
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .publication import Publication
from .quarantine import hold, require_published, show

KINDS: Final = ("malware", "licence", "privacy", "broken", "other")
HOLDING: Final = ("malware", "licence", "privacy")
"""The kinds that can hold a release back: one that merely fails harms nobody by being there."""
MAX_TEXT: Final = 4000
WINDOW: Final = timedelta(hours=1)
PER_ADDRESS: Final = 5
"""Reports that strangers of one address may make within `WINDOW`."""
BY_STRANGERS: Final = 200
"""Reports that all strangers together may make within `WINDOW`."""
PER_USER: Final = 20
MAX_LISTED: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of a report. ``created``: it is new; ``closed``: an operator has looked into the
    same one already; ``held``: the release is held back because of it."""

    number: int
    created: bool
    closed: bool
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report as operators see it. ``by`` is None for a stranger."""

    number: int
    release: str
    kind: str
    text: str
    by: str | None
    address: str | None
    credible: bool
    created_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Reports:
    database: Database
    audit: Audit
    publication: Publication
    clock: Clock
    cert_accounts: Collection[str]

    def make(self, caller: Caller, name: ComponentName, version: str, kind: str, text: str) -> Made:
        """Takes a report; the same one again by the same reporter changes nothing.

        Raises:
            RegistryError: no such release (``not-found``), too many (``too-many-requests``), a
                token without the scope ``read``.
            MalformedError: an unknown kind, no text or too much of it.
        """
        _check(kind, text)
        user = None
        if caller.identity is not None:
            caller.identity.require("read")
            user = caller.identity.user_id
        now = self.clock()
        with self.database.write() as session:
            release = require_published(session, name, version)
            before = _same(session, release.manifest_sha256, user, caller.address, kind, text)
            if before is not None:
                return Made(
                    number=before.id, created=False, closed=before.closed_at is not None, held=False
                )
            _require_seldom(session, user, caller.address, now)
            row = ReportRow(
                manifest_sha256=release.manifest_sha256, component=str(name), version=version,
                kind=kind, text=text, user_id=user,
                address=caller.address if user is None else None, created_at=now,
            )  # fmt: skip
            session.add(row)
            session.flush()
            self.audit.record(
                session, caller, "report.make", f"{name}=={version}", number=row.id, kind=kind
            )
            held = self._supported(session, name, release.manifest_sha256) and hold(
                session, self.audit, Caller(), name, release,
                "credible reports by several organisations", now,
            )  # fmt: skip
            if held:
                show(session, self.publication)
            number = row.id
        if held:
            self.publication.materialise()
        return Made(number=number, created=True, closed=False, held=held)

    def newest(self, *, closed: bool = False) -> Sequence[Report]:
        """Open reports (with ``closed`` all), newest first, at most five hundred."""
        query = (
            select(ReportRow, User.name)
            .join(User, User.id == ReportRow.user_id, isouter=True)
            .order_by(ReportRow.id.desc())
            .limit(MAX_LISTED)
        )
        if not closed:
            query = query.where(ReportRow.closed_at.is_(None))
        with self.database.read() as session:
            return [
                Report(
                    number=row.id,
                    release=f"{row.component}=={row.version}",
                    kind=row.kind,
                    text=row.text,
                    by=name,
                    address=row.address,
                    credible=bool(self._bodies(session, row)),
                    created_at=row.created_at,
                    closed_at=row.closed_at,
                )
                for row, name in session.execute(query).all()
            ]

    def _supported(self, session: Session, name: ComponentName, digest: str) -> bool:
        rows = session.scalars(
            select(ReportRow).where(
                ReportRow.manifest_sha256 == digest,
                ReportRow.closed_at.is_(None),
                ReportRow.user_id.is_not(None),
                ReportRow.kind.in_(HOLDING),
            )
        )
        bodies = [found for row in rows if (found := self._bodies(session, row))]
        # Without anything in common: a member of two organisations is one voice.
        return any(one.isdisjoint(other) for one, other in combinations(bodies, 2))

    def _bodies(self, session: Session, row: ReportRow) -> frozenset[str]:
        """For whom the reporter speaks today; nobody: the report is not credible."""
        if row.user_id is None:
            return frozenset()
        user = session.get(User, row.user_id)
        if user is None or user.disabled_at is not None:
            return frozenset()
        members = set(
            session.scalars(
                select(Member.organisation)
                .join(Organisation, Organisation.name == Member.organisation)
                .where(Member.user_id == row.user_id, Organisation.state == "approved")
            )
        )
        if ComponentName.parse(row.component).org in members:
            return frozenset()  # who may yank it needs no report
        if user.name in self.cert_accounts:
            members.add("(cert)")  # no organisation can have that name
        return frozenset(members)


def _check(kind: str, text: str) -> None:
    if kind not in KINDS:
        raise MalformedError("request: kind", f"one of {', '.join(KINDS)}", repr(kind)[:40])
    if not text.strip() or len(text) > MAX_TEXT or not is_plain(text, many_lines=True):
        raise MalformedError(
            "request: text", f"1 to {MAX_TEXT} characters of plain text", f"{len(text)} characters"
        )


def _same(
    session: Session, digest: str, user: int | None, address: str | None, kind: str, text: str
) -> ReportRow | None:
    """The report that this one repeats. Of an account that is any of its reports of harm, or of
    that other kind: who said that a release is broken may still find that it harms."""
    query = select(ReportRow).where(ReportRow.manifest_sha256 == digest)
    if user is not None:
        kinds = HOLDING if kind in HOLDING else (kind,)
        query = query.where(ReportRow.user_id == user, ReportRow.kind.in_(kinds))
    else:
        query = query.where(
            ReportRow.user_id.is_(None), ReportRow.address == address, ReportRow.text == text
        )
    return session.scalars(query.order_by(ReportRow.id.desc()).limit(1)).first()


def _require_seldom(session: Session, user: int | None, address: str | None, now: datetime) -> None:
    whose = ReportRow.user_id.is_(None) if user is None else ReportRow.user_id == user
    rows = session.execute(
        select(ReportRow.address, ReportRow.created_at).where(
            whose, ReportRow.created_at > now - WINDOW
        )
    ).all()  # at most `BY_STRANGERS`
    limits = [([at for _, at in rows], BY_STRANGERS if user is None else PER_USER)]
    if user is None and address is not None:
        who = counted_as(address)
        own = [at for other, at in rows if other is not None and counted_as(other) == who]
        limits.insert(0, (own, PER_ADDRESS))
    for recent, limit in limits:
        if len(recent) >= limit:
            wait = max(1, int((min(recent) + WINDOW - now).total_seconds()) + 1)
            raise RegistryError(
                "too-many-requests",
                f"{len(recent)} reports within an hour: expected at most {limit}",
                f"wait {wait} seconds, or report as a member of an organisation: forge login"
                if user is None
                else f"wait {wait} seconds",
                retry_after_seconds=wait,
            )
