"""Webhooks of organisations, and of the operator: who is told what, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..db.hook_models import Webhook, WebhookDelivery
from ..db.models import Event
from ..domain.hooks import (
    SECRET_BYTES,
    TEST,
    host_of,
    new_secret,
    parse_about,
    parse_events,
    parse_url,
)
from ..errors import RegistryError
from .audit import DONE, Audit
from .callers import Caller
from .clock import Clock
from .outbox import WAITING, enqueue
from .posting import Networks
from .rights import require_member

MOST: Final = 10  # webhooks of one organisation
OLD_SECRET: Final = timedelta(days=1)
DROPPED: Final = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRow:
    """A webhook without its secret. ``events`` is empty where it hears of all; ``about`` where it
    hears of everybody. ``waiting`` is how many messages are not delivered yet."""

    id: str
    organisation: str | None
    url: str
    about: str
    events: Sequence[str]
    created_at: datetime
    failing_since: datetime | None
    ended_at: datetime | None
    ended_why: str | None
    waiting: int

    @property
    def state(self) -> str:
        if self.ended_at is not None:
            return "ended"
        return "active" if self.failing_since is None else "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A message, and what the last try to deliver it came to."""

    id: str
    event: str
    subject: str | None
    created_at: datetime
    state: str
    tries: int
    next_at: datetime | None
    tried_at: datetime | None
    status: int | None
    milliseconds: int | None
    answer: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Every method takes the organisation whose owner the caller is; None: the operator's own."""

    database: Database
    audit: Audit
    clock: Clock
    networks: Networks

    def add(
        self,
        caller: Caller,
        organisation: str | None,
        url: str,
        events: Sequence[str] = (),
        about: str | None = None,
    ) -> tuple[HookRow, str]:
        """A new webhook and its secret, which nothing tells again. Without ``about`` it hears of
        the organisation's own components.

        Raises:
            RegistryError: the caller is no owner, there are too many, or the address is one that
                is not asked (``webhook-refused``).
            MalformedError: an address, an event or a subject that cannot be.
        """
        parse_url(url, "request: url")
        self.networks.require_host(url)
        secret = new_secret(os.urandom(SECRET_BYTES))
        with self.database.write() as session:
            _require_owner(session, caller, organisation)
            count = session.scalar(select(func.count()).where(Webhook.organisation == organisation))
            if organisation is not None and (count or 0) >= MOST:
                raise RegistryError(
                    "webhook-refused",
                    f"{organisation}: expected at most {MOST} webhooks, found {count} others",
                    f"remove one: forge org webhook remove {organisation} ID",
                )
            row = Webhook(
                id=f"wh_{os.urandom(6).hex()}",
                organisation=organisation,
                about=parse_about(
                    (organisation or "") if about is None else about, "request: about"
                ),
                events=parse_events(events, "request: events"),
                url=url,
                secret=secret,
                created_at=self.clock(),
            )
            session.add(row)
            session.flush()
            self._record(session, caller, "webhook.add", row)
            return _row(row, 0), secret

    def of(self, caller: Caller, organisation: str | None) -> list[HookRow]:
        """The webhooks, oldest first."""
        waiting = (
            select(WebhookDelivery.webhook_id, func.count().label("number"))
            .where(WebhookDelivery.state == WAITING)
            .group_by(WebhookDelivery.webhook_id)
            .subquery()
        )
        query = (
            select(Webhook, waiting.c.number)
            .outerjoin(waiting, waiting.c.webhook_id == Webhook.id)
            .where(Webhook.organisation == organisation)
            .order_by(Webhook.created_at, Webhook.id)
        )
        with self.database.read() as session:
            _require_owner(session, caller, organisation)
            return [_row(row, number or 0) for row, number in session.execute(query)]

    def remove(self, caller: Caller, organisation: str | None, hook: str) -> None:
        """Forgets a webhook, and everything that it was told or was still to be."""
        with self.database.write() as session:
            row = _require_hook(session, caller, organisation, hook)
            session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == row.id))
            self._record(session, caller, "webhook.remove", row)
            session.delete(row)

    def rotate(self, caller: Caller, organisation: str | None, hook: str) -> tuple[str, datetime]:
        """(a new secret, until when the old one signs as well)"""
        secret = new_secret(os.urandom(SECRET_BYTES))
        with self.database.write() as session:
            row = _require_hook(session, caller, organisation, hook)
            until = self.clock() + OLD_SECRET
            row.old_secret, row.old_secret_until, row.secret = row.secret, until, secret
            self._record(session, caller, "webhook.rotate", row)
        return secret, until

    def enable(self, caller: Caller, organisation: str | None, hook: str) -> None:
        """Sends again to a webhook that had ended; what happened meanwhile it is not told."""
        with self.database.write() as session:
            row = _require_hook(session, caller, organisation, hook)
            row.ended_at = row.ended_why = row.failing_since = row.resting_until = None
            self._record(session, caller, "webhook.enable", row)

    def test(self, caller: Caller, organisation: str | None, hook: str) -> str:
        """Leaves a message that says no more than that; returns its id. One that nobody has sent
        yet is enough.

        Raises:
            RegistryError: the webhook has ended (``webhook-ended``), or was not found.
        """
        with self.database.write() as session:
            row = _require_hook(session, caller, organisation, hook)
            if row.ended_at is not None:
                raise RegistryError(
                    "webhook-ended",
                    f"webhook {hook} has ended: {row.ended_why}",
                    f"forge org webhook enable {organisation} {hook}",
                )
            row.resting_until = None
            waiting = session.scalar(
                select(WebhookDelivery.id).where(
                    WebhookDelivery.webhook_id == row.id,
                    WebhookDelivery.event == TEST,
                    WebhookDelivery.state == WAITING,
                    WebhookDelivery.tries == 0,
                )
            )
            if waiting is not None:
                return str(waiting)
            # Not in the audit log: nothing changes.
            asked = Event(
                at=self.clock(), action=TEST, subject=organisation, outcome=DONE,
                detail={"webhook": row.id},
            )  # fmt: skip
            (message,) = enqueue(session, asked, row.id)
        return message

    def deliveries(
        self, caller: Caller, organisation: str | None, hook: str, limit: int
    ) -> list[DeliveryRow]:
        """The newest messages of a webhook, newest first."""
        with self.database.read() as session:
            row = _require_hook(session, caller, organisation, hook)
            found = session.scalars(
                select(WebhookDelivery)
                .where(WebhookDelivery.webhook_id == row.id)
                .order_by(WebhookDelivery.created_at.desc(), WebhookDelivery.id)
                .limit(limit)
            )
            return [_delivery(each) for each in found]

    def _record(self, session: Session, caller: Caller, action: str, row: Webhook) -> None:
        # The address as a whole may be a secret between its owner and the receiver.
        self.audit.record(
            session, caller, action, row.organisation, webhook=row.id, host=host_of(row.url)
        )


def end_hook(session: Session, row: Webhook, why: str, now: datetime) -> None:
    """Sends nothing more to a webhook."""
    row.ended_at, row.ended_why = now, why[:200]
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == row.id, WebhookDelivery.state == WAITING)
        .values(state=DROPPED, claim=None, claimed_at=None)
    )


def _require_owner(session: Session, caller: Caller, organisation: str | None) -> None:
    if caller.operator:
        return
    identity = caller.identity
    if identity is None or organisation is None:
        raise RegistryError("not-authenticated", "expected an access token, found none")
    identity.require("manage", organisation=organisation)
    require_member(session, identity, organisation, "owner")


def _require_hook(session: Session, caller: Caller, organisation: str | None, hook: str) -> Webhook:
    _require_owner(session, caller, organisation)
    row = session.get(Webhook, hook[:24])
    if row is None or row.organisation != organisation:
        raise RegistryError(
            "webhook-not-found",
            f"{organisation or 'the registry'}: no webhook {hook!r:.40}",
            f"see them: forge org webhook list {organisation}" if organisation else None,
        )
    return row


def _row(row: Webhook, waiting: int) -> HookRow:
    return HookRow(
        id=row.id,
        organisation=row.organisation,
        url=row.url,
        about=row.about,
        events=list(row.events),
        created_at=row.created_at,
        failing_since=row.failing_since,
        ended_at=row.ended_at,
        ended_why=row.ended_why,
        waiting=waiting,
    )


def _delivery(row: WebhookDelivery) -> DeliveryRow:
    return DeliveryRow(
        id=row.id,
        event=row.event,
        subject=row.subject,
        created_at=row.created_at,
        state=row.state,
        tries=row.tries,
        next_at=row.due_at if row.state == WAITING else None,
        tried_at=row.tried_at,
        status=row.status,
        milliseconds=row.milliseconds,
        answer=row.answer,
        problem=row.problem,
    )
