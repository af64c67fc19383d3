"""The tables of webhooks: who wants to be told, and what was told, or is still to be."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from .models import Base
from .types import text_type


class Webhook(Base):
    """An address that is told what happens. ``organisation`` is whose it is, None: the operator's.
    ``about`` is what it is told of: ``org``, ``org/name``, or nothing for everything; ``events``
    are names of `domain.hooks`, none for all.

    ``old_secret`` signs beside ``secret`` until ``old_secret_until``. ``failing_since`` is when the
    first of the tries failed since one succeeded; until ``resting_until`` nothing is sent.
    ``ended_at`` is set when nothing is sent any more, and ``ended_why`` says why.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("ix_webhooks_organisation", "organisation"),
        Index("ix_webhooks_about", "about"),
    )

    id: Mapped[str] = mapped_column(text_type(24), primary_key=True)
    organisation: Mapped[str | None] = mapped_column(
        text_type(40), ForeignKey("organisations.name")
    )
    about: Mapped[str] = mapped_column(text_type(81))
    events: Mapped[list[str]]
    url: Mapped[str] = mapped_column(text_type())
    secret: Mapped[str] = mapped_column(text_type(80))
    old_secret: Mapped[str | None] = mapped_column(text_type(80))
    old_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    resting_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    ended_why: Mapped[str | None] = mapped_column(text_type(200))


class WebhookDelivery(Base):
    """A message for one webhook, written in the transaction of the change that it tells.

    ``id`` is the message's at every try; ``body`` its exact text. It waits while a release with the
    manifest ``awaits`` is not in the published tree. ``state`` is ``waiting``, ``delivered``,
    ``failed`` (tried for the last time) or ``dropped`` (the webhook ended before). ``claim`` is
    made up by who tries right now, since ``claimed_at``. What the last try came to is in
    ``tried_at``, ``status`` (None: there was no answer, and ``problem`` says why), ``milliseconds``
    and ``answer``, the begin of the body.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_webhook_id_created_at", "webhook_id", "created_at"),
        Index("ix_webhook_deliveries_state_due_at", "state", "due_at"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(text_type(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(text_type(24), ForeignKey("webhooks.id"))
    event: Mapped[str] = mapped_column(text_type(40))
    subject: Mapped[str | None] = mapped_column(text_type())
    body: Mapped[str] = mapped_column(text_type())
    awaits: Mapped[str | None] = mapped_column(text_type(64))
    created_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(text_type(10))
    due_at: Mapped[datetime]
    claim: Mapped[str | None] = mapped_column(text_type(16))
    claimed_at: Mapped[datetime | None]
    tries: Mapped[int]
    tried_at: Mapped[datetime | None]
    status: Mapped[int | None]
    milliseconds: Mapped[int | None]
    answer: Mapped[str | None] = mapped_column(text_type())
    problem: Mapped[str | None] = mapped_column(text_type(200))
