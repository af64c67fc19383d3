"""Blobs that no release refers to: who may rely on them, and how they go without anybody being
told a lie.

A blob and the database know nothing of each other: no store can compare and delete. So the
database keeps a row, a *lease*, for each blob that came and that no release refers to yet, and
three parties obey it. What they write, they write under the registry's one writing transaction, so
each of these steps is before or after each other one:

* **A publisher's request** takes leases (`hold`) *before* it looks whether the blobs are in the
  store, and remembers their tokens. The transaction that publishes then requires (`settle`) that
  every blob is either referred to by a release already, or held by the very lease that was seen
  before the look and is not doomed. It takes those leases away: from now on the release refers.
  Otherwise nothing is published, and the answer says again what is missing.
* **The collector** (`services.collection`) *dooms* a lease: in one transaction it establishes that
  no release refers to the blob, that the lease is older than the grace period, and writes
  ``doomed_at``. Then it deletes the blob, then the row. A blob without a lease (from before there
  were leases, or left by a bundle that was replaced) gets one, and its grace period begins.
* **Whoever needs a doomed blob** waits for the collector's lock and finishes what is doomed
  (`finish`). The lock is held from the dooming to the last deletion; death of the holder frees it.
  What is found doomed under the lock was therefore left by the dead, and is deleted by whoever
  found it.

What follows. *Every blob that a committed release refers to is in the store*: it was, when the
request looked; a deletion since then needs a dooming since then; a dooming before the commit
changes or removes the lease, which the commit notices (a row that went and came back bears another
token); and after the commit the blob is referred to and cannot be doomed. This does not depend on
clocks: a grace period of nothing, or a clock that jumps, makes publishers send again, and no more.

What is left: a collector on PostgreSQL that is stopped between asking whether it still holds the
lock and deleting one blob, for so long that the server drops its connection, could delete what came
back meanwhile. It finds that out in the next transaction (`forget_doomed`), says so, and marks the
blob as damaged, which `forge-server scrub` repairs. On SQLite the lock is the kernel's and cannot
be lost.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, union_all, update
from sqlalchemy.orm import Session

from storage import BlobStore

from ..db.engine import Database, upsert
from ..db.later import write_now
from ..db.models import BlobDamage, BlobLease, Release, ReleaseFile, table_of
from ..db.upstream_models import UpstreamFile
from ..logs import LOGGER
from .clock import Clock
from .gathering import Gathering
from .locks import Lock, StillHeld

AT_ONCE: Final = 500  # parameters in one query
# For "is not null": SQLite would look at every lease for that, and not into the index.
_EVER: Final = datetime(1, 1, 2, tzinfo=UTC)

# Made once, and of columns: every publish asks it several times.
_TABLE: Final = table_of(BlobLease)
_LEASES: Final = _TABLE.c
_SEVERAL: Final = select(_LEASES.sha256, _LEASES.token, _LEASES.held_at, _LEASES.doomed_at).where(
    _LEASES.sha256.in_(bindparam("digests", expanding=True))
)
_END: Final = (
    delete(_TABLE)
    .where(_LEASES.sha256.in_(bindparam("digests", expanding=True)))
    .returning(_LEASES.sha256, _LEASES.token, _LEASES.doomed_at)
)

Held = Mapping[str, str]
"""``{digest: token}`` of the leases that were there when somebody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """``{digest: token}`` of the leases that a transaction ended and that were not doomed, and of
    the other blobs those that somebody referred to already."""

    leases: Held
    referred: Set[str]

    def vouches(self, digest: str, held: Held) -> bool:
        """Whether the blob is in the store for somebody who saw the leases ``held``."""
        token = self.leases.get(digest)
        return digest in self.referred if token is None else held.get(digest) == token


class BlobsGoneError(Exception):
    """A blob that a transaction was about to refer to may not be in the store any more."""


def batches(digests: Iterable[str], size: int = AT_ONCE) -> Iterator[list[str]]:
    """The digests in lists of at most ``size``."""
    batch: list[str] = []
    for digest in digests:
        batch.append(digest)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def referred(session: Session, digests: Sequence[str]) -> set[str]:
    """Those of at most `AT_ONCE` ``digests`` that a release refers to, or a copy of another index's
    file that is kept here."""
    columns = (
        ReleaseFile.sha256, ReleaseFile.chunks, Release.manifest_sha256, Release.bundle_sha256,
        UpstreamFile.blob_sha256,
    )  # fmt: skip
    write_now(session)  # a release of this very transaction may be one
    query = union_all(*(select(column).where(column.in_(digests)).distinct() for column in columns))
    return {str(row[0]) for row in session.execute(query)}


@dataclass(frozen=True, slots=True)
class _Wish:
    """The leases that somebody wants to `hold`."""

    sizes: Mapping[str, int]
    organisation: str | None


@dataclass(frozen=True, slots=True)
class Leases:
    database: Database
    blobs: BlobStore
    clock: Clock
    lock: Lock
    _gathering: Gathering[_Wish, dict[str, str]] = field(default_factory=Gathering)

    def seen(self, digests: Iterable[str]) -> dict[str, str]:
        """The leases that are there for ``digests`` and not doomed. Ask before the store."""
        with self.database.read() as session:
            return self.look(session, digests)

    def look(self, session: Session, digests: Iterable[str]) -> dict[str, str]:
        """`seen`, as of a transaction that only reads."""
        return {row.sha256: row.token for row in _rows(session, digests) if not row.doomed_at}

    def hold(self, sizes: Mapping[str, int], organisation: str | None) -> dict[str, str]:
        """Takes leases, or makes those that are there young again, for blobs of ``{digest: size}``;
        returns their tokens. The caller looks into the store afterwards, or puts the blobs there.

        Raises:
            RegistryError: the collector was busy for too long (``busy``).
        """
        held: dict[str, str] = {}
        doomed: Collection[str] = sizes
        while doomed:
            wish = _Wish({one: sizes[one] for one in doomed}, organisation)
            held |= self._gathering.ask(wish, self._try_to_hold)
            doomed = sizes.keys() - held.keys()
            if doomed:
                self.finish()
        return held

    def _try_to_hold(self, wishes: Sequence[_Wish]) -> list[dict[str, str]]:
        """The leases for each of ``wishes``, in one transaction; without those that are doomed."""
        rows: dict[str, tuple[int, str | None]] = {}
        for wish in wishes:
            for digest, size in wish.sizes.items():
                rows.setdefault(digest, (size, wish.organisation))
        with self.database.write() as session:
            held = _take_leases(session, rows, self.clock())
        return [{each: held[each] for each in wish.sizes if each in held} for wish in wishes]

    def make_way(self, digest: str) -> None:
        """Ends a deletion of the blob that a collector has left half done, before somebody sends it
        again: what came first would be deleted with it."""
        with self.database.read() as session:
            is_going = self.is_going(session, digest)
        if is_going:
            self.finish()

    def is_going(self, session: Session, digest: str) -> bool:
        """Whether a deletion of the blob was begun that may not have ended: see `make_way`."""
        return any(row.doomed_at is not None for row in _rows(session, [digest]))

    def arrived(self, session: Session, digest: str, size: int, organisation: str) -> None:
        """Takes the lease of a blob that was just put into the store.

        Raises:
            BlobsGoneError: it is being deleted already.
        """
        row = next(_rows(session, [digest]), None)
        if row is None:
            add_leases(session, {digest: size}, organisation, self.clock())
        elif row.doomed_at is not None:
            raise BlobsGoneError
        else:
            owner = func.coalesce(BlobLease.organisation, organisation)
            session.execute(
                update(BlobLease)
                .where(BlobLease.sha256 == digest)
                .values(held_at=self.clock(), organisation=owner)
            )

    def end(self, session: Session, digests: Iterable[str]) -> Ended:
        """Ends the leases of ``digests`` in the transaction that will refer to all of them, if
        `settle` finds nothing amiss."""
        ended: dict[str, str] = {}
        kept: set[str] = set()
        for batch in batches(sorted(set(digests))):
            found = session.connection().execute(_END, {"digests": batch})
            ended |= {row.sha256: row.token for row in found if row.doomed_at is None}
            rest = [digest for digest in batch if digest not in ended]
            kept |= referred(session, rest) if rest else set()
        return Ended(leases=ended, referred=kept)

    def settle(
        self, session: Session, digests: Iterable[str], held: Held, ended: Ended | None = None
    ) -> None:
        """Establishes, in the transaction that will refer to ``digests``, that all of them are in
        the store, and ends their leases. ``held`` was looked up before the store was; ``ended``
        is what the same transaction has ended already, for others as well.

        Raises:
            BlobsGoneError: one may have been deleted since; the transaction must not be committed.
        """
        wanted = set(digests)
        ended = self.end(session, wanted) if ended is None else ended
        for batch in batches(wanted):
            rest = [digest for digest in batch if not ended.vouches(digest, held)]
            if rest and set(rest) - referred(session, rest):
                raise BlobsGoneError

    def finish(self) -> None:
        """Deletes what a collector that died left doomed; waits for one that lives."""
        with self.lock.held() as still_held:
            lost = self.delete_doomed(still_held)
        if lost:
            LOGGER.error("blobs deleted that are needed: %s; forge-server scrub", " ".join(lost))

    def delete_doomed(self, still_held: StillHeld) -> list[str]:
        """Deletes every blob that is doomed, and then its row; for the holder of the lock. Returns
        the digests of those that somebody needs nonetheless: see `forget_doomed`."""
        lost: list[str] = []
        while True:
            with self.database.read() as session:
                query = select(BlobLease.sha256, BlobLease.token)
                query = query.where(BlobLease.doomed_at > _EVER).limit(AT_ONCE)
                doomed = {row.sha256: row.token for row in session.execute(query)}
            if not doomed:
                return lost
            for digest in doomed:
                still_held()
                self.blobs.delete(digest)
            lost += self.forget_doomed(doomed)

    def forget_doomed(self, doomed: Held) -> list[str]:
        """Takes away the rows of blobs that were deleted. Where a row is another one by now, or
        gone, somebody else held the lock as well: what a release refers to is marked as damaged."""
        lost = []
        with self.database.write() as session:
            for batch in batches(doomed):
                rows = {row.sha256: row for row in _rows(session, batch)}
                ours = [
                    digest
                    for digest in batch
                    if digest in rows
                    and rows[digest].token == doomed[digest]
                    and rows[digest].doomed_at is not None
                ]
                session.execute(delete(BlobLease).where(BlobLease.sha256.in_(ours)))
                others = [digest for digest in batch if digest not in ours]
                if others:
                    lost += sorted(referred(session, others))
            for digest in lost:
                mark_damaged(session, digest, "deleted by a collector that had lost its lock",
                             self.clock())  # fmt: skip
        return lost


def _take_leases(
    session: Session, rows: Mapping[str, tuple[int, str | None]], now: datetime
) -> dict[str, str]:
    """Makes leases for ``{digest: (size, organisation)}``, or young again those that are there;
    returns their tokens, without those that are doomed, which stay as they are."""
    insert_ = upsert(session, _TABLE)
    query = insert_.on_conflict_do_update(
        index_elements=[_LEASES.sha256],
        set_={"held_at": insert_.excluded.held_at},
        where=_LEASES.doomed_at.is_(None),
    ).returning(_LEASES.sha256, _LEASES.token)
    values = [_lease(digest, size, org, now) for digest, (size, org) in sorted(rows.items())]
    return {row[0]: row[1] for row in session.connection().execute(query, values)}


def _lease(digest: str, size: int, organisation: str | None, now: datetime) -> dict[str, Any]:
    return {
        "sha256": digest,
        "token": os.urandom(8).hex(),
        "organisation": organisation,
        "size": size,
        "held_at": now,
    }


def add_leases(
    session: Session, sizes: Mapping[str, int], organisation: str | None, now: datetime
) -> dict[str, str]:
    """Adds the leases of blobs that have none; returns their tokens."""
    rows = [_lease(digest, size, organisation, now) for digest, size in sizes.items()]
    if rows:
        session.execute(insert(BlobLease), rows)
    return {row["sha256"]: row["token"] for row in rows}


def doom(session: Session, digests: Sequence[str], before: datetime, now: datetime) -> list[str]:
    """Of at most `AT_ONCE` ``digests`` those that may be deleted from now on: no release refers to
    them, and their lease was taken before ``before``."""
    kept = referred(session, digests)
    chosen = [
        row.sha256
        for row in _rows(session, digests)
        if row.sha256 not in kept and row.doomed_at is None and row.held_at < before
    ]
    if chosen:
        session.execute(update(BlobLease).where(BlobLease.sha256.in_(chosen)).values(doomed_at=now))
    return chosen


def mark_damaged(session: Session, digest: str, problem: str, now: datetime) -> None:
    """Notes what is wrong with a blob, for `forge-server scrub` to repair."""
    session.merge(BlobDamage(sha256=digest, problem=problem, found_at=now))


def _rows(session: Session, digests: Iterable[str]) -> Iterator[Any]:
    """What is there for ``digests``: (sha256, token, held_at, doomed_at)."""
    for batch in batches(digests):
        yield from session.connection().execute(_SEVERAL, {"digests": batch})
