"""Roles that expire, and signing them anew without any other change (TUF 1.0 §5.3.10, §6.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .bodies import is_reviews
from .encoding import Fields, parse_json
from .keys import SigningKey
from .publisher_keys import parse_instant
from .role_edits import next_version, sign_role
from .roles import MAX_ROLE_BYTES
from .status import ROLE as STATUS

WARN_BEFORE = timedelta(days=60)
# Of the role that its host renews every few hours, and that lasts 48.
STATUS_WARN_BEFORE = timedelta(hours=12)
# Of the role of a reviewer body, which lasts 30 days and is renewed by whatever the body signs.
REVIEWS_WARN_BEFORE = timedelta(days=10)
# Signed anew every day by the registry itself: their expiry is not for people to watch.
_SHORT_LIVED = frozenset(("snapshot", "timestamp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiring:
    """A role that expires soon, or has expired: ``days`` left, negative when over; ``hours``
    likewise."""

    role: str
    expires: datetime
    days: int
    hours: int

    def __str__(self) -> str:
        name = self.role.replace(".", "/")
        if self.role == STATUS:
            verb = "expired" if self.hours < 0 else "expires"
            left = "" if self.hours < 0 else f", in {self.hours} hours"
            return f"the role of {name} {verb} on {self.expires:%Y-%m-%d %H:%M} UTC{left}"
        if self.days < 0:
            return f"the role of {name} expired on {self.expires:%Y-%m-%d}"
        return f"the role of {name} expires on {self.expires:%Y-%m-%d}, in {self.days} days"


def expiring(expiries: Mapping[str, datetime], now: datetime) -> list[Expiring]:
    """Those of ``{role: expiry}`` that end within `WARN_BEFORE` (the status role: within
    `STATUS_WARN_BEFORE`, those of reviewer bodies: `REVIEWS_WARN_BEFORE`), the first to end
    first."""
    found = [
        Expiring(
            role=role,
            expires=expires,
            days=(expires - now) // timedelta(days=1),
            hours=(expires - now) // timedelta(hours=1),
        )
        for role, expires in expiries.items()
        if role not in _SHORT_LIVED and expires - now <= _margin(role)
    ]
    return sorted(found, key=lambda item: (item.expires, item.role))


def _margin(role: str) -> timedelta:
    if role == STATUS:
        return STATUS_WARN_BEFORE
    return REVIEWS_WARN_BEFORE if is_reviews(role) else WARN_BEFORE


def signed_expiry(data: bytes, where: str) -> datetime:
    """When the role ``data``, of whatever kind, expires.

    Raises:
        MalformedError: it says nothing of the kind.
    """
    signed = Fields.of(parse_json(data, where, max_bytes=MAX_ROLE_BYTES), where).object("signed")
    return parse_instant(signed.text("expires"), signed.path("expires"))


def renew_role(current: bytes, role: str, keys: Iterable[SigningKey], now: datetime) -> bytes:
    """The next version of an organisation's or a project's role: a fresh expiry, nothing else."""
    return sign_role(next_version(current, role, now), keys)
