"""What webhooks are to be told, written in the very transaction of the change that it tells.

So there is no change without its messages and no message without its change, whoever dies when.
`services.deliveries` sends what stands here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import insert, or_, select
from sqlalchemy.orm import Session

from ..db.hook_models import Webhook, WebhookDelivery
from ..db.models import Event
from ..domain.hooks import OWN, body_of, covering, event_of, wants

WAITING = "waiting"
_AT_ONCE: Final = 300  # changes; three parameters in a query for each


def enqueue(session: Session, change: Event, only: str) -> list[str]:
    """A message about ``change`` for the webhook ``only``; returns its id."""
    query = select(Webhook).where(Webhook.ended_at.is_(None), Webhook.id == only)
    return _write(session, _messages(change, session.scalars(query).all()))


def enqueue_all(session: Session, changes: Iterable[Event]) -> None:
    """A message for every webhook that wants to hear of one of ``changes``. Asks nothing where
    nobody could be told of them, and else once for all."""
    told = [(change, event) for change in changes if (event := event_of(change.action))]
    for start in range(0, len(told), _AT_ONCE):
        some = told[start : start + _AT_ONCE]
        hooks = _hooks(session, some)
        for change, event in some:
            _write(
                session, _messages(change, [each for each in hooks if _hears(each, change, event)])
            )


def _hooks(session: Session, told: Iterable[tuple[Event, str]]) -> Sequence[Webhook]:
    """All that may want to hear of one of those."""
    abouts: set[str] = set()
    owners: set[str | None] = set()
    for change, event in told:
        if event in OWN:
            owners.add(change.subject)
        else:
            abouts.update(covering(change.subject))
    whose = (Webhook.organisation == each for each in owners)  # None is the operator's
    query = select(Webhook).where(
        Webhook.ended_at.is_(None), or_(Webhook.about.in_(sorted(abouts)), *whose)
    )
    return session.scalars(query).all()


def _hears(hook: Webhook, change: Event, event: str) -> bool:
    if event in OWN:
        concerned = hook.organisation == change.subject
    else:
        concerned = hook.about in covering(change.subject)
    return concerned and wants(hook.events, event)


def _messages(change: Event, hooks: Sequence[Webhook]) -> list[dict[str, object]]:
    event = event_of(change.action)
    if not hooks:
        return []
    body = body_of(change.action, change.subject, change.detail, change.at)
    awaits = change.detail.get("manifest_sha256") if event == "release.published" else None
    return [
        {
            "id": f"msg_{os.urandom(12).hex()}",
            "webhook_id": hook.id,
            "event": event,
            "subject": change.subject,
            "body": body,
            "awaits": awaits,
            "created_at": change.at,
            "state": WAITING,
            "due_at": change.at,
            "tries": 0,
        }
        for hook in hooks
    ]


def _write(session: Session, rows: Sequence[dict[str, object]]) -> list[str]:
    if rows:
        session.execute(insert(WebhookDelivery), rows)
    return [str(row["id"]) for row in rows]
