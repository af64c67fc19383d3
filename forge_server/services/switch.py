"""The operator's switch: no changes are taken while it is on.

It is kept in the database, so every server of the registry obeys it from the next request on, and
looked at again inside the transaction of a change, so nothing slips through. Signing timestamp and
snapshot again goes on, or every client would refuse the registry after a day. A new root is taken
as well: it may be what ends the emergency.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from ..db.engine import Database
from ..domain.text import harmless
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .upkeep import READ_ONLY, forget, recall, remember

MAX_REASON = 200


def why_switched_off(session: Session) -> str | None:
    """Why the operator wants no changes to be taken; None when they are."""
    reason = _reason(session)
    return None if reason is None else f"the operator takes no changes: {reason}"


def _reason(session: Session) -> str | None:
    found = recall(session, READ_ONLY)
    return None if found is None else str(found["reason"])


@dataclass(frozen=True, slots=True)
class Switch:
    database: Database
    audit: Audit
    clock: Clock

    def on(self, caller: Caller, reason: str) -> None:
        """No changes from now on. Everybody who is refused reads the ``reason``, and so does
        everybody who reads the public log.

        Raises:
            RegistryError: no reason, or one that is too long (``malformed``).
        """
        reason = harmless(" ".join(reason.split()))
        if not 1 <= len(reason) <= MAX_REASON:
            raise RegistryError(
                "malformed",
                f"reason: expected 1 to {MAX_REASON} characters, found {len(reason)}",
                "say in a few words why, and until when",
            )
        now = self.clock()
        with self.database.write() as session:
            if _reason(session) == reason:
                return
            remember(session, READ_ONLY, {"reason": reason, "since": f"{now:%FT%TZ}"}, now)
            self.audit.record(session, caller, "registry.readonly", reason)

    def off(self, caller: Caller) -> bool:
        """Changes are taken again; False when they were."""
        with self.database.write() as session:
            if _reason(session) is None:
                return False
            forget(session, READ_ONLY)
            self.audit.record(session, caller, "registry.writable", None)
        return True
