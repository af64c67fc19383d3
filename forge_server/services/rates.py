"""How many requests one caller may make: a bucket each, refilled evenly.

Kept in memory by each process, so that counting costs nothing and needs nobody; with n processes a
caller may make up to n times as many. What is limited is what costs the server something: the
interface under /api and the searches. Signed metadata and files are not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

WINDOW_SECONDS = 60
_MAX_CALLERS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """``quota`` a minute, ``remaining`` now; ``reset_seconds`` until one more, or until all are
    back. ``allowed`` is whether this request still fits."""

    quota: int
    remaining: int
    reset_seconds: int
    allowed: bool

    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-10 §3 and §4 write it."""
        return {
            "RateLimit-Policy": f'"caller";q={self.quota};w={WINDOW_SECONDS}',
            "RateLimit": f'"caller";r={self.remaining};t={self.reset_seconds}',
        }


@dataclass(slots=True)
class Rates:
    """At most ``quota`` requests by one caller in a minute; 0 means no limit."""

    quota: int
    _buckets: OrderedDict[str, tuple[float, datetime]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, caller: str, now: datetime) -> Allowance | None:
        """Takes one request off what ``caller`` has; None where there is no limit."""
        if not self.quota:
            return None
        per_second = self.quota / WINDOW_SECONDS
        with self._lock:
            left, at = self._buckets.pop(caller, (float(self.quota), now))
            # abs: after the clock jumped backwards nobody waits for longer than the window.
            left = min(self.quota, left + abs((now - at).total_seconds()) * per_second)
            allowed = left >= 1
            left -= allowed
            self._buckets[caller] = (left, now)
            while len(self._buckets) > _MAX_CALLERS:
                self._buckets.popitem(last=False)
        wait = (1 - left) / per_second if left < 1 else (self.quota - left) / per_second
        return Allowance(
            quota=self.quota, remaining=int(left), reset_seconds=max(1, ceil(wait)), allowed=allowed
        )
