"""The tables of what is said against releases after they were published, and of what became of it.

All of it is the registry's own unsigned word. It can only ever refuse: see docs/adr/0016.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from .models import Base
from .types import text_type


class Withholding(Base):
    """A release whose files are not handed out, and why.

    ``source`` is ``status`` (repeats the signed word of the status host), ``registry`` (a
    quarantine of the registry's own; the row goes when it is lifted) or ``takedown`` (for good).
    ``reference`` is that of the order behind a takedown.
    """

    __tablename__ = "withheld"

    manifest_sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    source: Mapped[str] = mapped_column(text_type(10), primary_key=True)
    component: Mapped[str] = mapped_column(text_type(81))
    version: Mapped[str] = mapped_column(text_type(60))
    state: Mapped[str] = mapped_column(text_type(12))
    reason: Mapped[str] = mapped_column(text_type())
    reference: Mapped[str | None] = mapped_column(text_type(200))
    since: Mapped[datetime]


class TakenBlob(Base):
    """A blob that a takedown deleted, so that its address can go on saying so."""

    __tablename__ = "taken_blobs"

    sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(text_type(64), index=True)


class ReportRow(Base):
    """What somebody reported about a release. ``user_id`` is None for a stranger. ``closed_at`` is
    set when an operator has dealt with it: it then supports no quarantine any more."""

    __tablename__ = "reports"
    __table_args__ = (Index("ix_reports_user_id_manifest_sha256", "user_id", "manifest_sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(text_type(64), index=True)
    component: Mapped[str] = mapped_column(text_type(81))
    version: Mapped[str] = mapped_column(text_type(60))
    kind: Mapped[str] = mapped_column(text_type(10))
    text: Mapped[str] = mapped_column(text_type())
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    address: Mapped[str | None] = mapped_column(text_type(64), index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    closed_at: Mapped[datetime | None]


class Answer(Base):
    """A publisher's answer to a finding, and what a reviewer made of it; the newest one counts.
    ``verdict_severity`` is how grave the finding was when the reviewer judged the answer."""

    __tablename__ = "answers"
    __table_args__ = (Index("ix_answers_manifest_sha256", "manifest_sha256", "finding"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(text_type(64))
    finding: Mapped[str] = mapped_column(text_type(120))
    type: Mapped[str] = mapped_column(text_type(20))
    text: Mapped[str] = mapped_column(text_type())
    links: Mapped[list[str]]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    answered_at: Mapped[datetime]
    verdict: Mapped[str | None] = mapped_column(text_type(10))  # verified or rejected
    verdict_severity: Mapped[str | None] = mapped_column(text_type(8))
    verdict_reason: Mapped[str | None] = mapped_column(text_type())
    verdict_body: Mapped[str | None] = mapped_column(text_type(40))
    verdict_user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    verdict_at: Mapped[datetime | None]


class Installation(Base):
    """What an agency's host says it has installed, because the agency asked it to."""

    __tablename__ = "installations"

    organisation: Mapped[str] = mapped_column(
        text_type(40), ForeignKey("organisations.name"), primary_key=True
    )
    host: Mapped[str] = mapped_column(text_type(60), primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True, index=True)
    component: Mapped[str] = mapped_column(text_type(81))
    version: Mapped[str] = mapped_column(text_type(60))
    reported_at: Mapped[datetime]


class Recall(Base):
    """A release that is to be taken off every host. ``organisation`` is that of the publisher who
    began it; None: an operator did."""

    __tablename__ = "recalls"

    id: Mapped[int] = mapped_column(primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(text_type(64), unique=True)
    component: Mapped[str] = mapped_column(text_type(81))
    version: Mapped[str] = mapped_column(text_type(60))
    reason: Mapped[str] = mapped_column(text_type())
    organisation: Mapped[str | None] = mapped_column(text_type(40))
    started_at: Mapped[datetime]


class RecallNotice(Base):
    """A host that had the recalled release. Each instant is None until it came."""

    __tablename__ = "recall_notices"

    recall_id: Mapped[int] = mapped_column(ForeignKey("recalls.id"), primary_key=True)
    organisation: Mapped[str] = mapped_column(
        text_type(40), ForeignKey("organisations.name"), primary_key=True, index=True
    )
    host: Mapped[str] = mapped_column(text_type(60), primary_key=True)
    notified_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    remedied_at: Mapped[datetime | None]
