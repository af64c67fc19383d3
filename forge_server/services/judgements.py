"""How long what policies say of a component stays said: what it depends on beside the published
metadata, and when the clock alone may change it. So that an answer to strangers can be kept.

Whoever adds something that a policy's rules look at adds it here, or to `serving.stamp`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from signing.bodies import PREFIX
from signing.policy import Policy

from ..db.engine import Database
from ..db.models import (
    Component,
    Distribution,
    Finding,
    LogCheckpoint,
    Release,
    ReviewStatement,
    Role,
    Scan,
)
from ..db.recall_models import Answer
from .clock import Clock

_LONGEST: Final = timedelta(minutes=10)  # whatever was forgotten below
_SKEW: Final = timedelta(minutes=5)  # what is dated so far ahead counts (`signing.assessment`)


@dataclass(frozen=True, slots=True)
class Judgements:
    database: Database
    clock: Clock

    def basis(self, distribution: str) -> Hashable:
        """Changes with what scanners, publishers and reviewers say of the releases of the component
        that owns a distribution's name, and with who cosigned the log: none of which waits for
        metadata to be published."""
        manifests = _manifests(distribution)
        asked = (
            select(func.count(), func.max(Scan.id), func.max(Scan.finished_at)).where(
                Scan.manifest_sha256.in_(manifests)
            ),
            select(func.count(), func.max(Finding.last_seen_at), func.count(Finding.gone_at)).where(
                Finding.manifest_sha256.in_(manifests)
            ),
            select(
                func.max(Answer.id), func.count(Answer.verdict), func.max(Answer.verdict_at)
            ).where(Answer.manifest_sha256.in_(manifests)),
            select(func.count(), func.max(ReviewStatement.signed_at)).where(
                ReviewStatement.component.in_(_named(distribution))
            ),
            select(LogCheckpoint.size, func.length(LogCheckpoint.cosigned))
            .where(LogCheckpoint.published_at.is_not(None))
            .order_by(LogCheckpoint.size.desc())
            .limit(1),
        )
        with self.database.read() as session:
            return tuple(tuple(row) for each in asked for row in session.execute(each))

    def until(self, policies: Sequence[Policy], distribution: str, now: datetime) -> datetime:
        """The first moment after ``now`` at which the clock may change what ``policies`` say of the
        releases of that component; ten minutes on at the latest."""
        # Some knowledge of scanners ages by days, and the day ends at midnight.
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo or UTC)
        with self.database.read() as session:
            turns = list(_turns(session, policies, distribution, now))
        return min(midnight, now + _LONGEST, *turns)


def _turns(
    session: Session, policies: Sequence[Policy], distribution: str, now: datetime
) -> Iterator[datetime]:
    """When ages reach what a rule asks, and what bodies said begins and ends to count."""
    manifests, theirs = (
        _manifests(distribution),
        ReviewStatement.component.in_(_named(distribution)),
    )
    ours, scans = Release.manifest_sha256.in_(manifests), Scan.manifest_sha256.in_(manifests)
    asked: list[tuple[Any, timedelta, ColumnElement[bool]]] = [
        (Release.published_at, timedelta(), ours),
        (ReviewStatement.expires_at, timedelta(), theirs),
        (ReviewStatement.signed_at, -_SKEW, theirs),
        (Role.expires_at, timedelta(), Role.name.startswith(PREFIX)),
    ]
    aged = (
        ("cooldown-days", Release.published_at, ours),
        ("scan-max-age-days", Scan.finished_at, scans),
    )
    asked += [
        (column, timedelta(days=policy.rules[rule]), rows)
        for rule, column, rows in aged
        for policy in policies
        if rule in policy.rules
    ]
    for column, later, which in asked:
        first = session.scalar(select(func.min(column)).where(which, column > now - later))
        if first is not None:
            yield first + later


def _named(distribution: str) -> Select[str]:
    return (
        select(Component.organisation + "/" + Component.name)
        .join(Distribution, Distribution.component_id == Component.id)
        .where(Distribution.name == distribution)
    )


def _manifests(distribution: str) -> Select[str]:
    return (
        select(Release.manifest_sha256)
        .join(Distribution, Distribution.component_id == Release.component_id)
        .where(Distribution.name == distribution)
    )
