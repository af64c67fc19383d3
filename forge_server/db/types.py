"""Column types that mean the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

# 64 bits. SQLite's INTEGER has them, and numbers rows by itself where the type is exactly that.
WHOLE_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def text_type(length: int | None = None) -> TypeEngine[str]:
    """Text that sorts by code point. SQLite does so by itself; PostgreSQL would sort as the
    language of the database does, another one on every machine."""
    plain = Text() if length is None else String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime; both databases keep it without its zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)
