"""Deleting blobs that no release refers to, while the registry runs: `forge-server gc`.

Why nothing that anybody needs can go is told in `services.leases`. Here is the walk: through all
digests in ascending order, `AT_ONCE` at a time, however many there are; what was reached is kept in
the database, so that a run that was killed or stopped is gone on with by the next. Deleting happens
`_DELETED_AT_ONCE` at a time under the collector's lock, because publishers who need a doomed blob
wait for that lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import dropwhile
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import BlobNotFoundError, BlobStore

from ..db.engine import Database
from ..db.models import BlobLease
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .leases import AT_ONCE, Leases, add_leases, batches, doom, referred
from .upkeep import COLLECTED, recall, remember

GRACE: Final = timedelta(hours=48)
_DELETED_AT_ONCE: Final = 100
_REMEMBER_EVERY: Final = 20  # batches in which nothing was found


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a walk has found so far. ``cursor`` is the last digest looked at, "" at the beginning;
    ``waiting`` are those of the ``unreferenced`` whose grace period lasts; ``finished_at`` is None
    while the walk is under way."""

    started_at: str
    cursor: str = ""
    looked: int = 0
    unreferenced: int = 0
    unreferenced_bytes: int = 0
    waiting: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    lost: tuple[str, ...] = ()
    finished_at: str | None = None


def last_collection(session: Session) -> Collected | None:
    """The last walk, finished or not; None before the first."""
    found = recall(session, COLLECTED)
    return None if found is None else _read(found)


def _read(value: Any) -> Collected:
    return Collected(**{**value, "lost": tuple(value["lost"])})


@dataclass(frozen=True, slots=True)
class Collection:
    database: Database
    audit: Audit
    blobs: BlobStore
    leases: Leases
    clock: Clock

    def collect(
        self,
        caller: Caller,
        grace: timedelta = GRACE,
        *,
        dry_run: bool = False,
        tell: Callable[[Collected], None] = lambda _: None,
    ) -> Collected:
        """Walks to the end, from where the last walk stopped; ``tell`` hears of each batch. With
        ``dry_run`` from the beginning, and nothing is changed or remembered.

        Raises:
            BackendError: the store failed; the next call goes on from there.
            RegistryError: the database did.
        """
        state = self._begin(dry_run=dry_run)
        if not dry_run:
            self.leases.finish()
        cursor, quiet = state.cursor, 0
        rest = dropwhile(lambda digest: digest <= cursor, self.blobs.iter_digests())
        for batch in batches(rest):
            before = self.clock() - grace
            after = self._look(state, batch, before, dry_run=dry_run)
            quiet = quiet + 1 if after.unreferenced == state.unreferenced else _REMEMBER_EVERY
            state = after
            if not dry_run and quiet >= _REMEMBER_EVERY:
                quiet = 0
                self._remember(state)
            tell(state)
        state = replace(state, finished_at=f"{self.clock():%FT%TZ}")
        if not dry_run:
            self._forget_absent(self.clock() - grace)
            self._end(caller, state)
        return state

    def _begin(self, *, dry_run: bool) -> Collected:
        fresh = Collected(started_at=f"{self.clock():%FT%TZ}")
        if dry_run:
            return fresh
        with self.database.read() as session:
            last = last_collection(session)
        return fresh if last is None or last.finished_at is not None else last

    def _remember(self, state: Collected) -> None:
        with self.database.write() as session:
            remember(session, COLLECTED, asdict(state), self.clock())

    def _end(self, caller: Caller, state: Collected) -> None:
        with self.database.write() as session:
            remember(session, COLLECTED, asdict(state), self.clock())
            self.audit.record(
                session, caller, "blobs.collect", None,
                looked=state.looked, deleted=state.deleted, bytes=state.deleted_bytes,
            )  # fmt: skip

    def _look(
        self, state: Collected, batch: list[str], before: datetime, *, dry_run: bool
    ) -> Collected:
        with self.database.read() as session:
            kept = referred(session, batch)
            query = select(BlobLease).where(BlobLease.sha256.in_(batch))
            leases = {row.sha256: row for row in session.scalars(query)}
        state = replace(state, cursor=batch[-1], looked=state.looked + len(batch))
        sizes = self._sizes([digest for digest in batch if digest not in kept])
        if not sizes and not kept & leases.keys():
            return state
        old = [each for each in sizes if each in leases and leases[each].held_at < before]
        state = replace(
            state,
            unreferenced=state.unreferenced + len(sizes),
            unreferenced_bytes=state.unreferenced_bytes + sum(sizes.values()),
            waiting=state.waiting + len(sizes) - len(old),
        )
        if dry_run:
            return state
        self._take_up({each: sizes[each] for each in sizes if each not in leases}, batch)
        for chunk in batches(old, _DELETED_AT_ONCE):
            state = self._delete(state, chunk, before, sizes)
        return state

    def _sizes(self, digests: list[str]) -> dict[str, int]:
        sizes = {}
        for digest in digests:
            try:
                sizes[digest] = self.blobs.stat(digest).size
            except BlobNotFoundError:
                continue  # somebody else collects as well
        return sizes

    def _take_up(self, sizes: dict[str, int], batch: list[str]) -> None:
        """The grace period of what has no lease begins; what a release refers to needs none."""
        with self.database.write() as session:
            here = set(session.scalars(select(BlobLease.sha256).where(BlobLease.sha256.in_(batch))))
            kept = referred(session, batch)
            new = {each: sizes[each] for each in sizes if each not in here and each not in kept}
            add_leases(session, new, None, self.clock())
            if kept & here:
                session.execute(delete(BlobLease).where(BlobLease.sha256.in_(kept & here)))

    def _delete(
        self, state: Collected, chunk: list[str], before: datetime, sizes: dict[str, int]
    ) -> Collected:
        with self.leases.lock.held() as still_held:
            with self.database.write() as session:
                doomed = doom(session, chunk, before, self.clock())
            lost = self.leases.delete_doomed(still_held)
        return replace(
            state,
            deleted=state.deleted + len(doomed),
            deleted_bytes=state.deleted_bytes + sum(sizes[each] for each in doomed),
            waiting=state.waiting + len(chunk) - len(doomed),
            lost=(*state.lost, *lost),
        )

    def _forget_absent(self, before: datetime) -> None:
        """Ends old leases of blobs that are not in the store at all."""
        last = ""
        while True:
            with self.database.read() as session:
                query = select(BlobLease.sha256).where(
                    BlobLease.sha256 > last, BlobLease.held_at < before
                )
                found = session.scalars(query.order_by(BlobLease.sha256).limit(AT_ONCE)).all()
            if not found:
                return
            last = found[-1]
            absent = self.blobs.missing(found)
            if absent:
                with self.database.write() as session:
                    session.execute(
                        delete(BlobLease).where(
                            BlobLease.sha256.in_(absent), BlobLease.held_at < before
                        )
                    )
