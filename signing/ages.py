"""How long ago something was, in words."""

from __future__ import annotations

from datetime import timedelta


def ago(age: timedelta) -> str:
    """A span of time as people say it: the largest unit of which there are at least two."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return "moments"
