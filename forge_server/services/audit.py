"""The audit log: every change and every refusal is an event.

A change writes its event in its own transaction, so neither exists without the other; and what
webhooks are to be told of it (`services.outbox`). What the
world may hold the registry to becomes a leaf of the public log there as well, and of what concerns
persons a commitment that tells nothing about them. A refusal writes one by itself; where that
fails, the request fails as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from signing.digests import sha256_hex
from signing.encoding import canonical_json

from ..db.engine import Database
from ..db.later import later
from ..db.models import Event, table_of
from ..domain.tokens import redact
from ..errors import RegistryError
from .callers import Caller
from .clock import Clock
from .log import COMMITTED_ACTS, LOGGED_ACTS, append_act
from .outbox import enqueue_all

DONE = "done"
_TABLE: Final = table_of(Event)
_COLUMNS: Final = [each.name for each in _TABLE.c if not each.primary_key]
_MAX_SUBJECT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    at: datetime
    actor: str | None
    address: str | None
    request_id: str | None
    action: str
    subject: str | None
    outcome: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Audit:
    database: Database
    clock: Clock

    def record(
        self, session: Session, caller: Caller, action: str, subject: str | None, **detail: object
    ) -> None:
        """Adds the event of a change to the transaction that makes the change."""
        event = self._event(caller, action, subject, DONE, detail)
        if action in LOGGED_ACTS:
            digest = detail.get("manifest_sha256")
            append_act(session, action, subject, None if digest is None else str(digest), event.at)
        elif action in COMMITTED_ACTS:
            event.detail = {**event.detail, "nonce": os.urandom(16).hex()}
            leaf = append_act(session, action, None, commitment(event), event.at)
            event.detail = {**event.detail, "leaf": leaf}
        later(session, _write, event)

    def refused(
        self, caller: Caller, action: str, subject: str | None, error: RegistryError
    ) -> None:
        """Records that something was refused; in a transaction of its own."""
        with self.database.write() as session:
            session.add(
                self._event(caller, action, subject, error.code, {"message": error.message[:500]})
            )

    def newest(
        self, limit: int, action: str | None = None, request_id: str | None = None
    ) -> list[EventRow]:
        """The last ``limit`` events, oldest first; of one ``action`` or one request if given."""
        query = select(Event).order_by(Event.id.desc()).limit(limit)
        if action is not None:
            query = query.where(Event.action == action)
        if request_id is not None:
            query = query.where(Event.request_id == request_id)
        with self.database.read() as session:
            return [_row(event) for event in reversed(session.scalars(query).all())]

    def _event(
        self,
        caller: Caller,
        action: str,
        subject: str | None,
        outcome: str,
        detail: Mapping[str, object],
    ) -> Event:
        return Event(
            at=self.clock(),
            actor=caller.actor,
            token_id=None if caller.identity is None else caller.identity.token_id,
            address=caller.address,
            request_id=caller.request_id,
            action=action,
            # A stranger chooses the subject of a refusal; it may be a token put into an address.
            # PostgreSQL keeps no NUL in a text.
            subject=(
                None
                if subject is None
                else redact(subject)[:_MAX_SUBJECT].replace("\0", "\N{REPLACEMENT CHARACTER}")
            ),
            outcome=outcome,
            detail={
                key: redact(value) if isinstance(value, str) else value
                for key, value in detail.items()
            },
        )


def _write(session: Session, events: list[Event]) -> None:
    rows = [{name: getattr(event, name) for name in _COLUMNS} for event in events]
    session.connection().execute(insert(_TABLE), rows)
    enqueue_all(session, events)


def commitment(event: Event) -> str:
    """The digest of an event that its leaf in the public log holds. The nonce among its details
    keeps anybody from guessing who it is about."""
    detail = {key: value for key, value in event.detail.items() if key != "leaf"}
    return sha256_hex(
        canonical_json(
            {
                "action": event.action,
                "actor": event.actor or "",
                "at": f"{event.at:%Y-%m-%dT%H:%M:%SZ}",
                "detail": detail,
                "subject": event.subject or "",
            }
        )
    )


def _row(event: Event) -> EventRow:
    return EventRow(
        at=event.at,
        actor=event.actor,
        address=event.address,
        request_id=event.request_id,
        action=event.action,
        subject=event.subject,
        outcome=event.outcome,
        detail=event.detail,
    )
