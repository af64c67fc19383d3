"""What reviewers decided, as the registry sees it, and what waits for them.

The registry computes the same levels as every client does, by the same code, from the same signed
statements; what it shows is no more than that. Claims are its own word: they keep two reviewers
from looking at the same release, and have no say in anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, delete, exists, select
from sqlalchemy.orm import Session

from signing.advisories import Advisory, verify_advisory
from signing.assessment import Assessment, Decision, Lapse, Subject, assess
from signing.bodies import DECISION, WAIVER, body_of, is_reviews, role_of
from signing.errors import SigningError
from signing.names import ComponentName
from signing.review import verify_decision
from signing.reviews import Said, lapse_of, stale
from signing.roles import Delegation, delegations_of, verify_role
from signing.waivers import Waiver, in_force, verify_waiver

from ..db.engine import Database
from ..db.models import Component, Member, Release, ReviewClaim, ReviewStatement
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .components import find_release
from .findings import open_findings
from .review_roles import keyids_of
from .rolebook import current_role, current_row, expiries

MOST: Final = 200
_MOST_KNOWN: Final = 1000
_STATEMENT = ReviewStatement.__table__.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A release that nobody's decision is about. ``claimed_by`` is a body, until a moment."""

    component: str
    version: str
    since: datetime
    why: str
    claimed_by: str | None
    claimed_until: datetime | None


@dataclass(slots=True)
class ReviewDesk:
    database: Database
    audit: Audit
    clock: Clock
    # Whether a role of a body verifies under a targets role, by the row ids of both: such rows
    # never change.
    _sound: dict[tuple[int, int], Lapse | None] = field(default_factory=dict)
    _named: dict[int, dict[str, Delegation]] = field(default_factory=dict)

    def bodies(self, session: Session) -> dict[str, Delegation]:
        """``{body: delegation}`` as the authority's targets role says."""
        row = current_row(session, "targets")
        if row is None:
            return {}
        if row.id not in self._named:
            named = delegations_of(row.data, "targets")
            self._named = {
                row.id: {body_of(role): each for role, each in named.items() if is_reviews(role)}
            }
        return self._named[row.id]

    def assessment(
        self, session: Session, name: ComponentName, release: Release
    ) -> tuple[Assessment, Said]:
        """(the level of a release now and why, what bodies say of it). Of waivers there are those
        that hold for the release now."""
        said = self.said(session, name, release.version)
        digest = release.manifest_sha256
        said = replace(said, waivers=self.waivers(session, name, release.version, digest, said))
        risk = release.details.get("risk") or {}
        keyids: frozenset[str] = frozenset()
        known = [said.critical_since(digest)]
        if said.decisions:
            known.append(open_critical_since(session, digest, said.waivers))
            keyids = keyids_of(session, name)
        subject = Subject(
            component=name,
            version=release.version,
            manifest_sha256=digest,
            risk_class=risk.get("class"),
            keyids=keyids,
            critical_since=max((at for at in known if at is not None), default=None),
        )
        return assess(subject, said.decisions, self.clock(), unread=said.lapses), said

    def decided(self, session: Session) -> frozenset[tuple[str, str]]:
        """``(component, version)`` of every release that some body decided about."""
        rows = session.execute(
            select(_STATEMENT.component, _STATEMENT.name).where(_STATEMENT.kind == DECISION)
        )
        return frozenset((component, version) for component, version in rows)

    def waivers(
        self,
        session: Session,
        name: ComponentName,
        version: str,
        manifest_sha256: str | None,
        said: Said,
        now: datetime | None = None,
    ) -> tuple[Waiver, ...]:
        """Those of ``said`` that hold for a release at ``now``."""
        if not said.waivers:
            return ()
        keyids = keyids_of(session, name)
        now = self.clock() if now is None else now
        return tuple(in_force(said.waivers, version, manifest_sha256, keyids, now))

    def look_again(
        self, session: Session, assessment: Assessment, waivers: Sequence[Waiver] = ()
    ) -> datetime | None:
        """When the level may be another one by itself: a decision ends, one of the ``waivers`` that
        hold now, or the role of a body that nobody renewed. None at the lowest, from which nothing
        falls."""
        if assessment.until is None:
            return None
        bodies = {one.body for one in assessment.standing} | {one.body for one in waivers}
        ends = [assessment.until, *(one.expires for one in waivers)]
        return min(*ends, *expiries(session, map(role_of, bodies)).values())

    def said(self, session: Session, name: ComponentName, version: str) -> Said:
        """What bodies say of a release, as `signing.reviews.gather` tells it."""
        rows = session.execute(
            select(ReviewStatement).where(
                _STATEMENT.component == str(name),
                (_STATEMENT.kind != DECISION) | (_STATEMENT.name == version),
            )
        ).scalars()
        decisions: list[Decision] = []
        advisories: list[Advisory] = []
        waivers: list[Waiver] = []
        lapses: dict[str, Lapse] = {}
        for row in rows:
            try:
                lapse = self._lapse(session, row.body)
                if lapse is not None:
                    lapses[row.body] = lapse
                    continue
                delegation = self.bodies(session)[row.body]
                if row.kind == DECISION:
                    decisions.append(verify_decision(row.envelope, delegation, row.path))
                elif row.kind == WAIVER:
                    waivers.append(verify_waiver(row.envelope, delegation, row.path))
                else:
                    advisories.append(verify_advisory(row.envelope, delegation, row.path))
            except SigningError as error:
                lapses[row.path] = lapse_of(role_of(row.body), error)
        return Said(
            decisions=tuple(decisions),
            advisories=tuple(advisories),
            waivers=tuple(waivers),
            lapses=tuple(lapses.values()),
        )

    def _lapse(self, session: Session, body: str) -> Lapse | None:
        """Why no word of the body counts now; None where it does."""
        role = role_of(body)
        ends = expiries(session, [role]).get(role)
        if ends is not None and ends <= self.clock():
            return lapse_of(role, stale(role, ends))
        targets, own = current_row(session, "targets"), current_row(session, role)
        assert targets is not None
        assert own is not None
        key = (targets.id, own.id)
        if key not in self._sound:
            if len(self._sound) >= _MOST_KNOWN:
                self._sound.clear()
            try:
                verify_role(targets.data, role, own.data)
                self._sound[key] = None
            except SigningError as error:
                self._sound[key] = lapse_of(role, error)
        return self._sound[key]

    def queue(self, session: Session, limit: int = MOST) -> Sequence[Waiting]:
        """Newest versions about which no body says anything: first those of components that were
        reviewed before, then the oldest."""
        name = Component.organisation + "/" + Component.name
        decided = exists().where(
            _STATEMENT.kind == DECISION,
            _STATEMENT.component == name,
            _STATEMENT.name == Release.version,
        )
        before = exists().where(_STATEMENT.kind == DECISION, _STATEMENT.component == name)
        rows = session.execute(
            select(Component, Release, before, ReviewClaim)
            .join(
                Release,
                and_(Release.component_id == Component.id, Release.version == Component.latest),
            )
            .outerjoin(
                ReviewClaim,
                and_(
                    ReviewClaim.component == name,
                    ReviewClaim.version == Release.version,
                    ReviewClaim.until > self.clock(),
                ),
            )
            .where(~decided, Release.yanked.is_(None))
            .order_by(before.desc(), Release.published_at, Component.id)
            .limit(limit)
        )
        return [
            Waiting(
                component=f"{component.organisation}/{component.name}",
                version=release.version,
                since=release.published_at,
                why="a new version of a component that was reviewed"
                if reviewed
                else "nobody looked at it",
                claimed_by=None if claim is None else claim.body,
                claimed_until=None if claim is None else claim.until,
            )
            for component, release, reviewed, claim in rows
        ]

    def claim(
        self, caller: Caller, name: ComponentName, version: str, body: str, hours: int
    ) -> datetime | None:
        """Notes that somebody of ``body`` looks at a release, for so many hours; 0 gives it up.

        Raises:
            RegistryError: no such body or release, not one of the body's organisations
                (``not-a-member``), or another body was faster (``claimed``).
        """
        identity = caller.identity
        if identity is None:
            raise RegistryError("not-authenticated", "expected an access token, found none")
        now = self.clock()
        with self.database.write() as session:
            named = self.bodies(session).get(body)
            if named is None:
                raise RegistryError("body-not-found", f"{body!r:.60}: no such reviewer body")
            if find_release(session, name, version) is None:
                raise RegistryError("component-not-found", f"{name} has no version {version}")
            theirs = {body, *(named.body.organisations if named.body else ())}
            role = session.scalar(
                select(Member.role).where(
                    Member.user_id == identity.user_id, Member.organisation.in_(theirs)
                )
            )
            if role is None:
                raise RegistryError(
                    "not-a-member",
                    f"expected a member of an organisation of {body} "
                    f"({', '.join(sorted(theirs))}), found none",
                    "a claim only tells others that you are at it: review without one",
                )
            row = session.get(ReviewClaim, (str(name), version))
            if row is not None and row.until > now and row.body != body:
                raise RegistryError(
                    "claimed",
                    f"{name} {version}: {row.body} looks at it until "
                    f"{row.until:%Y-%m-%d %H:%M} UTC",
                    "take another: forge review queue",
                )
            session.execute(delete(ReviewClaim).where(ReviewClaim.until <= now))
            if row is not None:
                session.delete(row)
                session.flush()
            until = None if hours == 0 else now + timedelta(hours=hours)
            if until is not None:
                session.add(
                    ReviewClaim(
                        component=str(name), version=version, body=body,
                        claimed_by=identity.user, until=until,
                    )
                )  # fmt: skip
            self.audit.record(
                session, caller, "review.claim", f"{name}=={version}", body=body, hours=hours
            )
        return until

    def silent(self, session: Session) -> Sequence[str]:
        """Bodies that the authority names and that have signed nothing yet."""
        return [
            body for body in self.bodies(session) if current_role(session, role_of(body)) is None
        ]


def open_critical_since(
    session: Session, manifest_sha256: str, waivers: Sequence[Waiver] = ()
) -> datetime | None:
    """Since when the newest critical finding that nothing has settled is known to be critical;
    ``waivers`` are those in force."""
    known = open_findings(session, manifest_sha256, waivers)
    return max((one.severity_since for one in known if one.severity == "critical"), default=None)
