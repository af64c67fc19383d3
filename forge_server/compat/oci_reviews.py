"""What reviewer bodies signed about releases, for whoever mirrors those as OCI artifacts.

A decision, or an advisory that names the release, is listed for as long as the body's signed role
lists it and a key that the authority names for the body signed it. That it expired does not take it
away: until when it counts is signed in it, and stands in its annotations. So nothing here depends
on the clock. Waivers are about ranges of versions, and are not listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.advisories import PREDICATE_TYPE as ADVISORY_TYPE
from signing.advisories import verify_advisory
from signing.bodies import ADVISORY, DECISION
from signing.errors import SigningError
from signing.names import ComponentName
from signing.review import FAILED, PASSED, verify_decision
from signing.review import PREDICATE_TYPE as DECISION_TYPE
from signing.roles import Delegation
from signing.statement import instant

from ..db.engine import Database
from ..db.models import ReviewStatement
from ..services.review_desk import ReviewDesk
from ..services.rolebook import current_row
from .kept import Kept

_MAX_KEPT: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A signed statement in its exact bytes. ``releases`` are the digests of the manifests of those
    it is about; ``annotations`` say what stands in it."""

    name: str
    sha256: str
    envelope: bytes
    predicate_type: str
    releases: frozenset[str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OciReviews:
    database: Database
    desk: ReviewDesk
    _kept: Kept[Review] = field(default_factory=lambda: Kept(_MAX_KEPT))

    def of(self, component: ComponentName) -> Mapping[str, Sequence[Review]]:
        """``{digest of the manifest of a release: what is said of it}``, always in one order."""
        found: dict[str, list[Review]] = {}
        for review in self._read(component):
            for digest in review.releases:
                found.setdefault(digest, []).append(review)
        return found

    def _read(self, component: ComponentName) -> list[Review]:
        query = (
            select(ReviewStatement)
            .where(
                ReviewStatement.component == str(component),
                ReviewStatement.kind.in_((DECISION, ADVISORY)),
                ReviewStatement.stored_at.is_not(None),
            )
            .order_by(ReviewStatement.path)
        )
        with self.database.read() as session:
            rows = session.scalars(query).all()
            if not rows:
                return []
            read = (self._review(session, row) for row in rows)
            return [review for review in read if review is not None]

    def _review(self, session: Session, row: ReviewStatement) -> Review | None:
        delegation = self.desk.bodies(session).get(row.body)
        targets = current_row(session, "targets")
        if delegation is None or targets is None:
            return None
        try:
            # Whose word counts changes with the targets role alone.
            return self._kept.get(row.sha256, targets.id, lambda: _verified(row, delegation))
        except SigningError:
            return None


def _verified(row: ReviewStatement, delegation: Delegation) -> Review:
    said: dict[str, str | None]
    if row.kind == DECISION:
        decision = verify_decision(row.envelope, delegation, row.path)
        kind, releases = DECISION_TYPE, {decision.manifest_sha256}
        said = {
            "result": PASSED if decision.passed else FAILED,
            "level": str(decision.number) if decision.passed else None,
            "expires": instant(decision.expires),
        }
        at = decision.at
    else:
        advisory = verify_advisory(row.envelope, delegation, row.path)
        kind, releases, at = ADVISORY_TYPE, set(advisory.releases.values()), advisory.at
        said = {"id": advisory.id, "severity": advisory.severity}
    name = f"{row.body}.{row.path.rpartition('/')[2]}"
    ours = {f"forge.review.{key}": text for key, text in said.items() if text is not None}
    return Review(
        name=name,
        sha256=row.sha256,
        envelope=row.envelope,
        predicate_type=kind,
        releases=frozenset(releases),
        annotations={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.created": instant(at),
            "forge.review.body": row.body,
            **ours,
        },
    )
