"""Reading every stored blob again, slowly, and putting right what is damaged: `forge-server scrub`.

Disks forget. A walk hashes each blob in ascending order of digests at a limited rate; where it has
come to is kept in the database, so that the next run goes on there and after the last digest begins
again. What is damaged is read a second time, because bytes from an object store may have been
altered on their way; then it is written down, and stays written down until it is right again. A
source (another registry, a mirror, a folder of blobs) is believed nothing: what it gives is hashed
before anything is replaced.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import dropwhile
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import BackendError, BlobNotFoundError, BlobStore

from ..db.engine import Database
from ..db.models import BlobDamage
from ..services.clock import Clock
from ..services.leases import batches, mark_damaged
from ..services.upkeep import SCRUBBED, recall, remember
from ..services.wanted import iter_wanted
from ..wiring import Registry
from .sources import BlobSource

_BLOCK: Final = 1 << 18
_REMEMBER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """How far a walk is. ``damaged`` counts what it found, ``repaired`` what was put right."""

    started_at: str
    cursor: str = ""
    blobs: int = 0
    bytes: int = 0
    damaged: int = 0
    repaired: int = 0
    finished_at: str | None = None


@dataclass(slots=True)
class Pace:
    """Lets at most ``bytes_per_second`` through, 0 for as many as there are."""

    bytes_per_second: int
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    _free_at: float = field(default=0.0, init=False)

    def spend(self, count: int) -> None:
        """Waits until ``count`` bytes more are due."""
        if self.bytes_per_second == 0:
            return
        now = self.clock()
        # What was not used is lost: after a pause no burst follows.
        self._free_at = max(self._free_at, now) + count / self.bytes_per_second
        if self._free_at > now:
            self.sleep(self._free_at - now)


@dataclass(frozen=True, slots=True)
class Scrub:
    database: Database
    blobs: BlobStore
    clock: Clock
    pace: Pace
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, registry: Registry, pace: Pace) -> Scrub:
        return cls(registry.database, registry.blobs, registry.clock, pace)

    def walk(self, tell: Callable[[str], None]) -> Scrubbed:
        """Hashes every blob from where the last walk stopped to the end, or until ``stop`` is set;
        ``tell`` gets a line for everything that is wrong.

        Raises:
            BackendError: the store failed as a whole; the next walk goes on from there.
        """
        state = self._begin()
        known = {digest for digest, _ in self.damaged()}
        remembered = self.pace.clock()
        cursor = state.cursor
        for digest in dropwhile(lambda each: each <= cursor, self.blobs.iter_digests()):
            problem, size = self._look(digest)
            if problem is not None:
                problem, size = self._look(digest)
            if self.stop.is_set() and problem is _STOPPED:
                self._remember(state)
                return state
            state = replace(
                state, cursor=digest, blobs=state.blobs + 1, bytes=state.bytes + size,
                damaged=state.damaged + (problem is not None),
            )  # fmt: skip
            if problem is None and digest in known:
                self._forget(digest)
                tell(f"blob {digest}: is right again")
            if problem is not None:
                tell(f"blob {digest}: {problem}")
                self._mark(digest, problem)
            if problem is not None or self.pace.clock() - remembered > _REMEMBER_SECONDS:
                remembered = self.pace.clock()
                self._remember(state)
        for digest in self._absent():
            tell(f"blob {digest}: part of a release, but not in the store")
            self._mark(digest, "not in the store")
            state = replace(state, damaged=state.damaged + 1)
        state = replace(state, finished_at=f"{self.clock():%FT%TZ}")
        self._remember(state)
        return state

    def _begin(self) -> Scrubbed:
        with self.database.read() as session:
            last = last_scrub(session)
        if last is not None and last.finished_at is None:
            return last
        return Scrubbed(started_at=f"{self.clock():%FT%TZ}")

    def _remember(self, state: Scrubbed) -> None:
        with self.database.write() as session:
            remember(session, SCRUBBED, asdict(state), self.clock())

    def _mark(self, digest: str, problem: str) -> None:
        with self.database.write() as session:
            mark_damaged(session, digest, problem, self.clock())

    def _look(self, digest: str) -> tuple[str | None, int]:
        """(what is wrong with the blob, how many bytes were read).

        Raises:
            BackendError: the store does not even say how large the blob is, which is no word on
                the blob.
        """
        try:
            return self._read(digest)
        except BlobNotFoundError:
            return None, 0  # deleted meanwhile, and if a release needs it `_absent` says so
        except BackendError as error:
            if error.code != "blob-damaged":
                self.blobs.stat(digest)
            return error.message, 0
        except OSError as error:  # a sector that cannot be read
            return f"cannot be read: {error.strerror}", 0

    def _read(self, digest: str) -> tuple[str | None, int]:
        found, size = hashlib.sha256(), 0
        with self.blobs.open(digest) as file:
            while data := file.read(_BLOCK):
                if self.stop.is_set():
                    return _STOPPED, size
                self.pace.spend(len(data))
                found.update(data)
                size += len(data)
        if found.hexdigest() != digest:
            return f"damaged, its bytes hash to {found.hexdigest()}", size
        return None, size

    def _absent(self) -> Iterator[str]:
        for batch in batches(iter_wanted(self.database)):
            yield from sorted(self.blobs.missing(batch))

    def damaged(self) -> list[tuple[str, str]]:
        """(digest, what is wrong) of everything that is written down, in ascending order."""
        with self.database.read() as session:
            query = select(BlobDamage.sha256, BlobDamage.problem).order_by(BlobDamage.sha256)
            return [(row.sha256, row.problem) for row in session.execute(query)]

    def repair(self, source: BlobSource, tell: Callable[[str], None]) -> int:
        """Puts right from ``source`` what is written down as damaged; returns how many.

        The new bytes are in the registry's folder, whole and hashed, before the old ones go: a
        store takes no second blob of a digest, so the old one is deleted first. A crash between
        leaves it missing and written down, and the next repair ends it.
        """
        repaired = 0
        for digest, _ in self.damaged():
            if self._look(digest)[0] is None and not self.blobs.missing([digest]):
                self._forget(digest)  # put right by somebody else, or sent again
                continue
            try:
                with source.fetch(digest, self.pace.spend) as (file, size):
                    self.blobs.delete(digest)
                    self.blobs.put(digest, file, size)
            except BlobNotFoundError:
                continue
            except (BackendError, OSError) as error:
                tell(f"blob {digest}: not repaired: {getattr(error, 'message', error)}")
                continue
            self._forget(digest)
            tell(f"blob {digest}: repaired from {source.name}")
            repaired += 1
        return repaired

    def _forget(self, digest: str) -> None:
        with self.database.write() as session:
            session.execute(delete(BlobDamage).where(BlobDamage.sha256 == digest))


_STOPPED: Final = "stopped"


def last_scrub(session: Session) -> Scrubbed | None:
    """The last walk, finished or not; None before the first."""
    found = recall(session, SCRUBBED)
    return None if found is None else Scrubbed(**found)
