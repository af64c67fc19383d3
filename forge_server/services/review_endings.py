"""What of the reviewers' word ends soon by itself: decisions, waivers, and the bodies' roles.

A body's role is signed for 30 days, so it always ends soon; it is listed in its last
`ROLE_DAYS`. When it ends, none of the body's decisions and waivers counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.bodies import DECISION, PREFIX, WAIVER, body_of
from signing.renewal import REVIEWS_WARN_BEFORE

from ..db.models import ReviewStatement, Role

SOON_DAYS: Final = 30
ROLE_DAYS: Final = REVIEWS_WARN_BEFORE.days
_MOST: Final = 200  # of a kind
_STATEMENT = ReviewStatement.__table__.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A decision that ends soon."""

    component: str
    version: str
    body: str
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingWaiver:
    """A waiver that ends soon; what it covers is refused, or open again, from then on."""

    component: str
    id: str
    body: str
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingRole:
    """A body whose word counts no more from ``expires`` on, unless it signs its role anew."""

    body: str
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Each kind with what ends first at its beginning."""

    expiring: Sequence[Ending]
    waivers: Sequence[EndingWaiver]
    roles: Sequence[EndingRole]


def endings(session: Session, now: datetime, days: int = SOON_DAYS) -> Endings:
    """What ends within so many days; roles within `ROLE_DAYS` at most."""
    until = now + timedelta(days=days)
    return Endings(
        expiring=[
            Ending(component=component, version=name, body=body, expires=expires)
            for component, name, body, expires in _statements(session, DECISION, now, until)
        ],
        waivers=[
            EndingWaiver(component=component, id=name, body=body, expires=expires)
            for component, name, body, expires in _statements(session, WAIVER, now, until)
        ],
        roles=_roles(session, now, min(until, now + timedelta(days=ROLE_DAYS))),
    )


def _statements(session: Session, kind: str, now: datetime, until: datetime) -> Sequence[Any]:
    return session.execute(
        select(_STATEMENT.component, _STATEMENT.name, _STATEMENT.body, _STATEMENT.expires_at)
        .where(
            _STATEMENT.kind == kind,
            _STATEMENT.expires_at > now,
            _STATEMENT.expires_at <= until,
        )
        .order_by(_STATEMENT.expires_at, _STATEMENT.path)
        .limit(_MOST)
    ).all()


def _roles(session: Session, now: datetime, until: datetime) -> list[EndingRole]:
    rows = session.execute(
        select(Role.name, Role.expires_at)
        .where(
            Role.name.startswith(PREFIX, autoescape=True),
            Role.expires_at > now,
            Role.expires_at <= until,
        )
        .order_by(Role.expires_at, Role.name)
        .limit(_MOST)
    )
    return [EndingRole(body=body_of(name), expires=expires) for name, expires in rows]
