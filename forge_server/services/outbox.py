"""What webhooks are to be told, written in the very transaction of the change that it tells.

So there is no change without its messages and no message without its change, whoever dies when.
`services.deliveries` sends what stands here.
"""

from __future__ import annotations

import os

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from ..db.hook_models import Webhook, WebhookDelivery
from ..db.models import Event
from ..domain.hooks import OWN, body_of, covering, event_of, wants

WAITING = "waiting"


def enqueue(session: Session, change: Event, only: str | None = None) -> list[str]:
    """A message for every webhook that wants to hear of ``change``, or for the webhook ``only``;
    returns their ids. Asks nothing where nobody could be told of it."""
    event = event_of(change.action)
    if event is None:
        return []
    query = select(Webhook).where(Webhook.ended_at.is_(None))
    if only is not None:
        query = query.where(Webhook.id == only)
    elif event in OWN:
        query = query.where(Webhook.organisation == change.subject)
    else:
        query = query.where(Webhook.about.in_(covering(change.subject)))
    # A test is for the one that is tested.
    hooks = [
        hook for hook in session.scalars(query) if only is not None or wants(hook.events, event)
    ]
    if not hooks:
        return []
    body = body_of(change.action, change.subject, change.detail, change.at)
    awaits = change.detail.get("manifest_sha256") if event == "release.published" else None
    rows = [
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
    session.execute(insert(WebhookDelivery), rows)
    return [str(row["id"]) for row in rows]
