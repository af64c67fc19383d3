"""Counts refused attempts by address, so that guessing becomes slow.

Kept in memory, per worker process: a token has 256 random bits, so the limit protects the
server's time and the audit log rather than the secret. User codes have fewer, and rest on it: so a
whole network of IPv6 is one address (`domain.addresses`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..domain.addresses import counted_as
from ..errors import RegistryError

WINDOW = timedelta(minutes=1)
_MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class Throttle:
    """At most ``limit`` failures by one address within `WINDOW`; 0 means no limit."""

    limit: int
    _failures: OrderedDict[str, list[datetime]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, address: str | None, now: datetime) -> None:
        """Raises RegistryError (``too-many-failures``, ``retry_after_seconds``) over the limit."""
        recent = self._failures_of(address, now)
        if self.limit and len(recent) >= self.limit:
            wait = int((recent[-self.limit] + WINDOW - now).total_seconds()) + 1
            raise RegistryError(
                "too-many-failures",
                f"{len(recent)} refused attempts by this address within a minute",
                f"wait {wait} seconds",
                retry_after_seconds=wait,
            )

    def is_over(self, address: str | None, now: datetime) -> bool:
        """Whether `check` would refuse the address."""
        return bool(self.limit) and len(self._failures_of(address, now)) >= self.limit

    def failed(self, address: str | None, now: datetime) -> None:
        """Counts one failure."""
        if address is None or not self.limit:
            return
        who = counted_as(address)
        with self._lock:
            recent = self._recent(who, now)
            recent.append(now)
            self._failures[who] = recent[-self.limit :]
            self._failures.move_to_end(who)
            while len(self._failures) > _MAX_ADDRESSES:
                self._failures.popitem(last=False)

    def _failures_of(self, address: str | None, now: datetime) -> list[datetime]:
        if address is None or not self.limit:
            return []
        with self._lock:
            return self._recent(counted_as(address), now)

    def _recent(self, address: str, now: datetime) -> list[datetime]:
        # abs: after the clock jumped backwards nobody waits for longer than the window.
        return [at for at in self._failures.get(address, ()) if abs(now - at) < WINDOW]
