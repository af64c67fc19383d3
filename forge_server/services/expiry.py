"""What ends by itself, told before it does and when it did: decisions and waivers of reviewer
bodies, and the signed roles of organisations, of their components and of bodies.

Nobody has to act for any of them to end, so nobody would notice. Each notice is an event of the
audit log, from where webhooks get it, and comes once, whoever of several workers asks first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from signing.bodies import PREFIX, WAIVER, body_of, is_reviews
from signing.roles import EXPIRY

from ..db.engine import Database
from ..db.models import ReviewStatement, Role
from .audit import Audit
from .callers import Caller
from .clock import Clock

NOTICE_DAYS: Final = (30, 7, 1)
_ENDED: Final = 0
_MOST: Final = 200  # of a kind, at a time
_ONLINE: Final = ("snapshot", "timestamp", "status")  # end every few days or hours, and are renewed
_NOBODYS: Final = ("root", "targets", "registrar")


@dataclass(frozen=True, slots=True)
class Expiry:
    database: Database
    audit: Audit
    clock: Clock

    def notices(self) -> list[str]:
        """A line for each thing that ends within 30, 7 or 1 days, or has ended, and of which that
        was not told yet."""
        now = self.clock()
        with self.database.read() as session:
            if next(_due(session, now), None) is None:
                return []
        with self.database.write() as session:
            return [self._tell(session, row, days) for row, days in _due(session, now)]

    def _tell(self, session: Session, row: ReviewStatement | Role, days: int) -> str:
        row.noticed_days = days
        subject, name, detail = _statement(row) if isinstance(row, ReviewStatement) else _role(row)
        end = f"{row.expires_at:%Y-%m-%d}"
        detail["expires"] = f"{row.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        if days == _ENDED:
            self.audit.record(session, Caller(), "expiry.ended", subject, **detail)
            return f"{name} ended on {end}"
        self.audit.record(session, Caller(), "expiry.soon", subject, days=days, **detail)
        return f"{name} ends within {days} day{'' if days == 1 else 's'}, on {end}"


def _due(session: Session, now: datetime) -> Iterator[tuple[ReviewStatement | Role, int]]:
    """What is to be told, each with its days: of several the fewest."""
    for table in (ReviewStatement, Role):
        nearest: dict[Any, tuple[ReviewStatement | Role, int]] = {}
        for days in (*NOTICE_DAYS, _ENDED):
            for row in _within(session, table, now, days):
                nearest[row.path if isinstance(row, ReviewStatement) else row.name] = (row, days)
        yield from nearest.values()


def _within(
    session: Session, table: type[ReviewStatement] | type[Role], now: datetime, days: int
) -> Sequence[ReviewStatement | Role]:
    query: Any = (
        select(table)
        .where(
            table.expires_at <= now + timedelta(days=days),
            or_(table.noticed_days.is_(None), table.noticed_days > days),
        )
        .order_by(table.expires_at)
        .limit(_MOST)
    )
    if table is Role:
        query = query.where(Role.name.not_in(_ONLINE))
        if timedelta(days=days) >= EXPIRY["reviews"]:  # from the moment that it is signed
            query = query.where(~Role.name.startswith(PREFIX, autoescape=True))
    found: Sequence[ReviewStatement | Role] = session.scalars(query).all()
    return found


def _statement(row: ReviewStatement) -> tuple[str, str, dict[str, object]]:
    """(what it is about, its name for people, what a notice says of it)"""
    detail: dict[str, object] = {"body": row.body, "sha256": row.sha256, "statement": row.name}
    if row.kind == WAIVER:
        name = f"{row.component}: the waiver {row.name} of {row.body}"
        return row.component, name, {"what": "waiver", **detail}
    subject = f"{row.component}=={row.name}"
    return subject, f"{subject}: the decision of {row.body}", {"what": "review", **detail}


def _role(row: Role) -> tuple[str | None, str, dict[str, object]]:
    detail: dict[str, object] = {"what": "role", "role": row.name}
    if row.name in _NOBODYS:
        return None, f"role {row.name}", detail
    if is_reviews(row.name):
        return None, f"role {row.name}", {**detail, "body": body_of(row.name)}
    return row.name.replace(".", "/", 1), f"role {row.name}", detail
