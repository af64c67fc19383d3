"""How the registry is: whether it can sign, and what its keyholders must sign anew soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from signing.renewal import WARN_BEFORE, Expiring, expiring
from signing.status import ROLE as STATUS

from ..db.engine import Database
from .clock import Clock
from .publication import Publication
from .rolebook import expiring_before, head_version
from .status import StatusState, named_status

_MAX_SHOWN = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """``status`` is ``ok``, ``warning`` (something expires soon), ``problem`` (something has
    expired, or the status host that the authority names has not signed) or ``read-only``;
    ``expiring`` is at most 500 roles, the first first. ``status_role`` is None where the authority
    names no status host."""

    status: str
    read_only: str | None
    checked_at: datetime
    snapshot_version: int
    expiring: Sequence[Expiring]
    status_role: StatusState | None


@dataclass(frozen=True, slots=True)
class Health:
    database: Database
    publication: Publication
    clock: Clock

    def state(self) -> State:
        now = self.clock()
        with self.database.read() as session:
            found = expiring_before(session, now + WARN_BEFORE, _MAX_SHOWN)
            version = head_version(session, "snapshot")
            role = named_status(session)
        if role is None:
            found.pop(STATUS, None)  # of a host that the authority names no more
        soon = expiring(found, now)
        status = "ok" if not soon else "problem" if soon[0].expires <= now else "warning"
        if role is not None and role.at is None:
            status = "problem"
        if self.publication.read_only is not None:
            status = "read-only"
        return State(
            status=status,
            read_only=self.publication.read_only,
            checked_at=now,
            snapshot_version=version,
            expiring=soon,
            status_role=role,
        )
