"""How values look on the wire."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(value: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def optional_instant(value: datetime | None) -> str | None:
    return None if value is None else instant(value)
