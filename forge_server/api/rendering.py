"""How values look on the wire."""

from __future__ import annotations

from datetime import UTC, datetime

from signing.renewal import Expiring


def instant(value: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expiring_json(item: Expiring) -> dict[str, object]:
    """A role that must be signed anew within 60 days."""
    return {"role": item.role, "expires": instant(item.expires), "days": item.days}


def optional_instant(value: datetime | None) -> str | None:
    return None if value is None else instant(value)
