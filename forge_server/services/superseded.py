"""Removing published files that nobody can ask for any more, while the registry runs.

Each publish leaves a snapshot, the number of its leaf in the log, and tiles of the log that are not
full yet. A client asks for the snapshot that its timestamp names, for the one that the status host
names, and for tiles of the checkpoint that it was shown; so these go when they have been superseded
for `GRACE`, which is longer than a timestamp (a day) and the status host's word (two days) live:

* ``N.snapshot.json`` and ``log/leaf/N.snapshot``. The log itself keeps the snapshot's digest.
* ``log/tile/0/…p/W`` and ``log/tile/entries/…p/W`` of a tile that is full by then (c2sp.org/
  tlog-tiles, Partial Tiles). Of the levels above there are 256 times fewer: they stay.

Whatever else may be old, these stay: the snapshot that the published timestamp names, the one that
the status host's last word names, those that the database has a row of (the last few, and what is
not published yet) with a few before them. Versions of all other roles stay for ever: clients walk
from root to root, the log names each version, and who doubts one must be able to fetch it.

How old a file is says no clock of a file system or an object store, which a restore resets: every
`_MARK_EVERY` the newest snapshot and the size of the log are noted with the time. What is below the
newest note older than the grace period was superseded before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signing.errors import MalformedError
from signing.roles import parse_signed
from signing.status import ROLE as STATUS
from signing.status import status_of
from signing.tlog.tiles import ENTRIES, WIDTH, tile_in
from storage import PathNotFoundError, PublishedTree

from ..db.engine import Database
from ..db.models import LogCheckpoint, MetadataVersion
from .clock import Clock
from .log import log_size
from .log_files import leaf_path
from .publication import TIMESTAMP
from .rolebook import current_role, head_version
from .upkeep import SUPERSEDED, recall, remember

GRACE: Final = timedelta(hours=72)
_MARK_EVERY: Final = timedelta(hours=4)
_RUN: Final = timedelta(hours=1)  # what one removal takes at the most
_BEFORE: Final = 20  # snapshots before the oldest of which the database has a row
_AT_ONCE: Final = 100  # files between two notes of how far it is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    at: str  # ISO 8601
    snapshot: int
    size: int  # of the log

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """``snapshots`` below and sizes of the log up to ``size`` are done with, but for the ``kept``
    snapshots, which somebody named."""

    marks: tuple[_Mark, ...] = ()
    snapshots: int = 1
    size: int = 0
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """Snapshots below ``snapshots`` but for those ``named``, and partial tiles up to ``size``, are
    nobody's."""

    snapshots: int
    named: frozenset[int]
    size: int


@dataclass(frozen=True, slots=True)
class Superseded:
    database: Database
    tree: PublishedTree
    clock: Clock

    def remove(self, most: int | None = None, *, dry_run: bool = False) -> int:
        """Removes what is due, ``most`` snapshots and states of the log at most; returns how many
        files that were, with ``dry_run`` would be. It ends after half an hour. The next call goes
        on, also when this one is killed; any number of processes may call it.

        Raises:
            BackendError: the tree failed; the next call goes on.
        """
        with self.database.read() as session:
            state = _recall(session)
            now = self.clock()
            due = not state.marks or now - state.marks[-1].time >= _MARK_EVERY
            limits = self._limits(session, state, now)
        if due and not dry_run:
            self._mark(now)
        if limits is None:
            return 0
        files, steps = 0, islice(self._steps(state, limits), most)
        while part := list(islice(steps, _AT_ONCE)):
            if not dry_run and self.clock() - now > _RUN / 2:
                break  # what is named has to be looked up again
            for paths, _ in part:
                files += len(paths)
                for path in paths if not dry_run else ():
                    self.tree.remove(path)
            if not dry_run:
                self._note(part[-1][1])
        return files

    def _limits(self, session: Session, state: _State, now: datetime) -> _Limits | None:
        """None while nothing is old enough, or where nobody can say what clients are shown."""
        old = _newest(state, now - GRACE)
        if old is None:
            return None
        shown = self._shown()
        rows = select(func.min(MetadataVersion.version)).where(MetadataVersion.role == "snapshot")
        oldest = session.scalar(rows)
        if shown is None or oldest is None:
            return None
        named = {shown}
        status = current_role(session, STATUS)
        if status is not None:
            named.add(status_of(status).snapshot.version)
        published = session.scalar(
            select(func.max(LogCheckpoint.size)).where(LogCheckpoint.published_at.is_not(None))
        )
        return _Limits(
            snapshots=min(old.snapshot, oldest - _BEFORE),
            named=frozenset(named),
            size=min(old.size, published or 0) // WIDTH * WIDTH,
        )

    def _shown(self) -> int | None:
        """The version of the snapshot that the published timestamp names."""
        try:
            signed = parse_signed(self.tree.read(TIMESTAMP), TIMESTAMP, "timestamp").signed
        except (PathNotFoundError, MalformedError):
            return None
        return int(signed.snapshot_meta.version)

    def _steps(self, state: _State, limits: _Limits) -> Iterator[tuple[list[str], _State]]:
        """(files that nobody needs, the state when they are gone), from the oldest on."""
        again = [each for each in state.kept if each < limits.snapshots]
        for version in [*again, *range(state.snapshots, limits.snapshots)]:
            kept = set(state.kept) - {version} | ({version} & limits.named)
            state = replace(
                state, kept=tuple(sorted(kept)), snapshots=max(state.snapshots, version + 1)
            )
            if version not in limits.named:
                yield [f"{version}.snapshot.json", leaf_path("snapshot", version)], state
        for size in self._sizes(state.size, limits.size):
            state = replace(state, size=size)
            tiles = [tile_in(level, size // WIDTH, size) for level in (ENTRIES, 0)]
            yield [f"log/{tile.path}" for tile in tiles if tile.width], state

    def _sizes(self, after: int, limit: int) -> Iterator[int]:
        """Of which a checkpoint was published, ``after`` < size <= ``limit``."""
        while True:
            query = select(LogCheckpoint.size).where(
                LogCheckpoint.size > after,
                LogCheckpoint.size <= limit,
                LogCheckpoint.published_at.is_not(None),
            )
            with self.database.read() as session:
                sizes = session.scalars(query.order_by(LogCheckpoint.size).limit(1000)).all()
            if not sizes:
                return
            yield from sizes
            after = sizes[-1]

    def _mark(self, now: datetime) -> None:
        with self.database.write() as session:
            state = _recall(session)
            mark = _Mark(
                at=now.isoformat(),
                snapshot=head_version(session, "snapshot"),
                size=log_size(session),
            )
            # Of those that are old enough only the newest says anything.
            old = _newest(state, now - GRACE)
            young = (each for each in state.marks if each.time > now - GRACE)
            marks = (*((old,) if old else ()), *young, mark)
            remember(session, SUPERSEDED, asdict(replace(state, marks=marks)), now)

    def _note(self, done: _State) -> None:
        with self.database.write() as session:
            state = _recall(session)
            # Another process may be further, and what it kept is kept.
            further = replace(
                state,
                snapshots=max(state.snapshots, done.snapshots),
                size=max(state.size, done.size),
                kept=done.kept if done.snapshots >= state.snapshots else state.kept,
            )
            remember(session, SUPERSEDED, asdict(further), self.clock())


def oldest_nameable(session: Session, now: datetime) -> int:
    """The oldest snapshot that somebody may begin to name now: a removal that runs, and did not
    know of it when it began, leaves it where it is."""
    mark = _newest(_recall(session), now - GRACE + _RUN)
    return 0 if mark is None else mark.snapshot


def _newest(state: _State, until: datetime) -> _Mark | None:
    """The newest note that is from ``until`` or before."""
    return max(
        (mark for mark in state.marks if mark.time <= until), key=lambda mark: mark.at, default=None
    )


def _recall(session: Session) -> _State:
    found = recall(session, SUPERSEDED)
    if found is None:
        return _State()
    value: dict[str, Any] = {**found, "kept": tuple(found["kept"])}
    return _State(**{**value, "marks": tuple(_Mark(**each) for each in found["marks"])})
