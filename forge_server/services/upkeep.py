"""What the operator's commands remember in the database between two runs, by name.

Functions over a session, for services that put several of them into one transaction. The names
are `READ_ONLY`, `RESTORED`, `COLLECTED`, `SCRUBBED` and `SUPERSEDED`; each is written by one
service.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ..db.models import Upkeep

READ_ONLY: Final = "read-only"
RESTORED: Final = "restored"
COLLECTED: Final = "collected"
SCRUBBED: Final = "scrubbed"
SUPERSEDED: Final = "superseded"
_KNOWN: Final = "upkeep"  # in the info of a session, which lives as long as a transaction
_ALL: Final = select(Upkeep.name, Upkeep.value)


def recall(session: Session, name: str) -> Mapping[str, Any] | None:
    """What was remembered under ``name``; None when nothing is."""
    known = session.info.get(_KNOWN)
    if known is None:
        # All at once: whoever asks for one asks for another in the same transaction.
        known = {row.name: row.value for row in session.execute(_ALL)}
        session.info[_KNOWN] = known
    found: Mapping[str, Any] | None = known.get(name)
    return found


def remember(session: Session, name: str, value: Mapping[str, Any], now: datetime) -> None:
    """Puts ``value``, which JSON can hold, in the place of what was there."""
    row = session.get(Upkeep, name)
    if row is None:
        session.add(Upkeep(name=name, value=dict(value), changed_at=now))
    else:
        row.value, row.changed_at = dict(value), now
    session.flush()
    session.info.pop(_KNOWN, None)


def forget(session: Session, name: str) -> None:
    """Success when nothing was remembered."""
    session.execute(delete(Upkeep).where(Upkeep.name == name))
    session.info.pop(_KNOWN, None)
