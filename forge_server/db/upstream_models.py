"""The tables of what an operator lets through from another Python index: see docs/adr/0020.

None of it is signed: it repeats what that index said, and holds it to what it said first.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from .models import Base
from .types import text_type


class UpstreamProject(Base):
    """A project (PEP 503 name) on the operator's list.

    ``specifier`` bounds its versions (PEP 440; empty: all). ``asked_at`` is the last try,
    ``fetched_at`` the last one that brought its page, ``problem`` why a later one did not.
    ``status`` and ``status_reason`` are the upstream's own (PEP 792).
    """

    __tablename__ = "upstream_projects"

    name: Mapped[str] = mapped_column(text_type(255), primary_key=True)
    specifier: Mapped[str] = mapped_column(text_type())
    cooldown_days: Mapped[int]
    allowed_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    fetched_at: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(text_type())
    status: Mapped[str] = mapped_column(text_type(20))
    status_reason: Mapped[str | None] = mapped_column(text_type())


class UpstreamFile(Base):
    """A file as it was first seen. The digest is pinned for ever, also while its project is not on
    the list.

    ``blob_sha256`` repeats ``sha256`` once the bytes are in the store: that is the reference which
    keeps them there. ``yanked`` is the upstream's reason, empty where it gave none; ``gone_at`` is
    when it was first missing there. ``refused`` says why it is not offered although it is whole.
    ``changed_sha256`` is another digest that the upstream named later, for the file or for its
    metadata; None as long as it kept its word.
    """

    __tablename__ = "upstream_files"

    project: Mapped[str] = mapped_column(text_type(255), primary_key=True)
    filename: Mapped[str] = mapped_column(text_type(255), primary_key=True)
    version: Mapped[str] = mapped_column(text_type(255))
    sha256: Mapped[str] = mapped_column(text_type(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    url: Mapped[str] = mapped_column(text_type())
    uploaded_at: Mapped[datetime]
    requires_python: Mapped[str | None] = mapped_column(text_type())
    metadata_sha256: Mapped[str | None] = mapped_column(text_type(64))
    metadata_bytes: Mapped[bytes | None] = mapped_column(LargeBinary)
    yanked: Mapped[str | None] = mapped_column(text_type())
    gone_at: Mapped[datetime | None]
    pinned_at: Mapped[datetime]
    blob_sha256: Mapped[str | None] = mapped_column(text_type(64), index=True)
    refused: Mapped[str | None] = mapped_column(text_type())
    changed_sha256: Mapped[str | None] = mapped_column(text_type(64))
    changed_at: Mapped[datetime | None]
