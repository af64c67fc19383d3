"""The table of logins that wait for somebody's approval on another machine (RFC 8628)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from .models import Base
from .types import text_type


class DeviceCode(Base):
    """A program that asked for an access token, and what became of it.

    Of the device code only the SHA-256 is kept. ``device`` and ``address`` are what is known of who
    asks; the first is its own word. ``approved`` is None until somebody decided, in which case
    ``user_id`` and ``token_id`` say who and with which token. ``taken_at`` is when the access token
    was handed out, once.
    """

    __tablename__ = "device_codes"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(text_type(64), unique=True)
    user_code: Mapped[str] = mapped_column(text_type(8), unique=True)
    client: Mapped[str] = mapped_column(text_type(10))
    device: Mapped[str | None] = mapped_column(text_type(63))
    address: Mapped[str | None] = mapped_column(text_type(64), index=True)
    actions: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(index=True)
    expires_at: Mapped[datetime]
    approved: Mapped[bool | None]
    decided_at: Mapped[datetime | None]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    token_id: Mapped[int | None] = mapped_column(ForeignKey("tokens.id"))
    taken_at: Mapped[datetime | None]
