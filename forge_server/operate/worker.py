"""The work that no request asks for, in a process of its own: `forge-server worker`.

Signing again what grows old, publishing what a crash left, indexing for search what changed
and was not, removing published files that nobody can ask for any more, scanning releases,
telling what ends soon, and sending webhooks what happened. `forge-server run` does the same in
threads unless ``embedded_worker`` is false. Any number of workers may run beside each other and
beside servers: whoever comes first has done it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from signing.errors import SigningError
from storage import StorageError

from ..errors import RegistryError
from ..logs import LOGGER
from ..services.scans import ScanState
from ..wiring import Registry

INTERVAL_SECONDS = 60.0
_SUPERSEDED_AT_ONCE = 1000  # more than anybody publishes in an interval; seconds in a bucket


@dataclass(slots=True)
class Worker:
    """``say`` gets one line for everything that was done or went wrong, and for a trouble that
    lasts the first time only."""

    registry: Registry
    say: Callable[[str], None]
    _trouble: str | None = None

    def once(self) -> bool:
        """Does what there is to do; returns whether nothing stood in the way."""
        try:
            why, line = self._work()
        except (RegistryError, SigningError, StorageError) as error:
            why, line = f"failed: {error.message}; trying again", None
        except Exception:  # the next attempt may succeed; until then installs still work
            LOGGER.exception("fault while signing again")
            why, line = "failed: a fault of the registry; trying again", None
        if why is not None and why != self._trouble:
            self._tell(why)
        elif line is not None:
            self._tell(line)
        elif why is None and self._trouble is not None:
            self._tell("all is well again")
        self._trouble = why
        return why is None

    def _work(self) -> tuple[str | None, str | None]:
        """(what stands in the way, what was done)."""
        publication = self.registry.publication
        signed = publication.sign_again()
        published = publication.materialise()  # also when nothing can be signed
        reason = publication.unable
        why = None if reason is None else f"read-only: {reason}; waiting"
        for line in self.registry.expiry.notices():
            self._tell(line)
        self.registry.deliveries.prune()
        indexed = self.registry.index.refresh()  # last: nobody's trust hangs on it
        self.registry.superseded.remove(_SUPERSEDED_AT_ONCE)
        return why, _done(signed, published, indexed)

    def _tell(self, line: str) -> None:
        self.say(f"{self.registry.clock():%FT%TZ}  {line}")

    def run(self, interval_seconds: float, stop: threading.Event) -> None:
        """Works every ``interval_seconds`` until ``stop`` is set, and reads the blobs again
        meanwhile where the settings say so."""
        rate = self.registry.settings.scrub_bytes_per_second
        if rate:
            threading.Thread(
                target=self._scrub, args=(rate, interval_seconds, stop), name="scrub", daemon=True
            ).start()
        if self.registry.settings.scan:
            threading.Thread(
                target=self._scan, args=(interval_seconds, stop), name="scan", daemon=True
            ).start()
        threading.Thread(
            target=self.registry.deliveries.run, args=(stop,), name="webhooks", daemon=True
        ).start()
        while not stop.is_set():
            self.once()
            stop.wait(interval_seconds)

    def _scan(self, interval_seconds: float, stop: threading.Event) -> None:
        """Scans what is due; first after an interval, so that a start is not slowed by it."""
        while not stop.wait(interval_seconds):
            self.scan_due(stop)

    def scan_due(self, stop: threading.Event) -> None:
        """Scans what is due now. What fails stays due, and does not keep others waiting."""
        try:
            waiting = self.registry.scans.due(500)
        except RegistryError as error:
            self._tell(f"scanning failed: {error.message}; trying again")
            return
        for due in waiting:
            if stop.is_set():
                return
            try:
                states = self.registry.scans.scan(due)
            except (RegistryError, StorageError) as error:
                self._tell(f"scanning {due.component} {due.version} failed: {error.message}")
            except Exception:
                LOGGER.exception("fault while scanning %s %s", due.component, due.version)
            else:
                if states is not None:
                    self._tell(f"scanned {due.component} {due.version}: {_worst(states)}")

    def _scrub(self, rate: int, interval_seconds: float, stop: threading.Event) -> None:
        from .scrub import Pace, Scrub

        pace = Pace(rate, sleep=stop.wait)
        work = Scrub(self.registry.database, self.registry.blobs, self.registry.clock, pace, stop)
        while not stop.is_set():
            try:
                work.walk(self._tell)
            except (RegistryError, StorageError) as error:
                self._tell(f"reading blobs again failed: {error.message}; trying again")
            except Exception:  # the next walk goes on from where this one was
                LOGGER.exception("fault while reading blobs again")
            stop.wait(interval_seconds)


def _worst(states: Sequence[ScanState]) -> str:
    found = {each.state for each in states}
    order = ("findings", "failed", "stale", "clean", "not-scanned")
    return next(each for each in order if each in found)


def _done(signed: Mapping[str, int], published: int, indexed: int) -> str | None:
    parts = []
    if signed:
        names = (f"{role} {version}" for role, version in signed.items())
        parts.append(f"signed {' and '.join(names)}")
    if published:
        parts.append(f"published {published} role file{'' if published == 1 else 's'}")
    if indexed:
        parts.append(f"indexed {indexed} component{'' if indexed == 1 else 's'} for search")
    return "; ".join(parts) or None


def stop_on_signals() -> threading.Event:
    """Set by SIGTERM and by Ctrl-C; what is being done is done to its end."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
