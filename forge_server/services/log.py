"""The public log in the database: leaves, the hashes above them, and signed checkpoints.

A leaf is appended in the transaction of the change that it records, and the checkpoint that
covers it is signed in that same transaction, just before it commits: neither exists without the
other, many changes of one transaction share one checkpoint, and the write lock that every
writing transaction holds makes sizes strictly grow. The checkpoint's size is its primary key, so
a second one of the same size cannot be stored, let alone published. What a transaction appends is
collected and inserted at once with the checkpoint: a leaf costs microseconds, not statements.

``log_hashes`` holds what the tiles hold: of each level its hashes in order. A full tile's root is
the next hash of the level above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, event, func, insert, select
from sqlalchemy.orm import Session, sessionmaker

from signing.tlog.checkpoint import Checkpoint
from signing.tlog.entries import Entry, role_entry
from signing.tlog.merkle import Frontier, Node, ReadNodes, leaf_hash
from signing.tlog.tiles import ENTRIES, HEIGHT, WIDTH, Tile, nodes_from, pack_entries, tiles_for

from ..db.later import forget, write_now
from ..db.models import LogCheckpoint, LogEntry, LogHash
from .clock import Clock
from .log_keys import LogKeys

# Of the audit events those that the world may hold the registry to.
LOGGED_ACTS: Final = frozenset(
    (
        "authority.adopt",
        "keys.new",
        "organisation.apply",
        "organisation.approve",
        "organisation.refuse",
        "member.set",
        "member.remove",
        "release.publish",
        "release.resign",
        "release.yank",
        "release.unyank",
        "release.quarantine",
        "release.unquarantine",
        "release.revoke",
        "release.deprecate",
        "release.undeprecate",
        "release.hold",
        "release.unhold",
        "release.takedown",
        "recall.start",
        "registry.readonly",
        "registry.writable",
        "registry.confirm",
    )
)
# Events about persons: their leaf names nobody, but commits to the event, so that whoever rewrites
# the audit trail afterwards is found out.
COMMITTED_ACTS: Final = frozenset(("token.create", "token.revoke", "user.add", "user.disable"))
_SEALED: Final = "log sealed"  # in the info of a session: its commit signs what it appended
_APPENDED: Final = "log appended"  # in the info of a session: its `_Appended`

# Made once, and of columns rather than classes: what SQLAlchemy does around a statement takes
# longer than SQLite takes to answer it.
_ENTRIES: Final = LogEntry.__table__.c
_HASHES: Final = LogHash.__table__.c
_BETWEEN: Final[tuple[Any, Any]] = (bindparam("first"), bindparam("last"))
_READ_ENTRIES: Final = (
    select(_ENTRIES.entry).where(_ENTRIES.number.between(*_BETWEEN)).order_by(_ENTRIES.number)
)
_READ_HASHES: Final = (
    select(_HASHES.hash)
    .where(_HASHES.level == bindparam("level"), _HASHES.number.between(*_BETWEEN))
    .order_by(_HASHES.number)
)


@dataclass(slots=True)
class _Appended:
    """The tree with what a transaction appended, and the rows that it will insert."""

    tree: Frontier
    entries: list[dict[str, Any]] = field(default_factory=list)
    hashes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, data: bytes) -> int:
        number = self.tree.size
        self.entries.append({"number": number, "entry": data})
        # Of every eighth level the tiles hold the hashes.
        for level, value in enumerate(self.tree.add(leaf_hash(data))[::HEIGHT]):
            self.hashes.append({"level": level, "number": number >> HEIGHT * level, "hash": value})
        return number

    def copy(self) -> _Appended:
        tree = Frontier(self.tree.size, list(self.tree.edge))
        return _Appended(tree, list(self.entries), list(self.hashes))


@dataclass(frozen=True, slots=True)
class TransparencyLog:
    """The log that ``keys`` sign for. ``attach`` makes every writing transaction seal what it
    appended. ``require_history`` raises when the database is not the newest."""

    keys: LogKeys
    clock: Clock
    require_history: Callable[[Session], None]

    def attach(self, writing: sessionmaker[Session]) -> None:
        """From now on a commit of ``writing`` signs a checkpoint when leaves were appended."""
        writing.configure(info={**writing.kw.get("info", {}), _SEALED: True})
        event.listen(writing, "before_commit", self._seal)

    def _seal(self, session: Session) -> None:
        if session.in_nested_transaction():
            return  # the end of a `part`: the transaction goes on
        appended = session.info.pop(_APPENDED, None)
        if appended is None:
            return
        self.require_history(session)
        session.execute(insert(LogEntry), appended.entries)
        session.execute(insert(LogHash), appended.hashes)
        size = appended.tree.size
        checkpoint = Checkpoint(origin=self.keys.origin, size=size, root=appended.tree.root)
        note = self.keys.sign(checkpoint).to_bytes()
        session.add(LogCheckpoint(size=size, note=note, created_at=self.clock()))
        session.flush()


@contextmanager
def part(session: Session) -> Iterator[None]:
    """A part of a transaction: when it fails, neither rows nor leaves of it are left in that."""
    appended: _Appended | None = session.info.get(_APPENDED)
    before = None if appended is None else appended.copy()
    write_now(session)  # what waits is not the part's, and must not go with it
    try:
        with session.begin_nested():
            yield
            write_now(session)  # and what waits now is its own
    except BaseException:
        forget(session)
        if before is None:
            session.info.pop(_APPENDED, None)
        else:
            session.info[_APPENDED] = before
        raise


def append(session: Session, entry: Entry) -> int:
    """Adds a leaf to the log in this transaction; returns its number."""
    if _SEALED not in session.info:
        raise AssertionError("a leaf would be lost: nothing seals what this session appends")
    appended = session.info.get(_APPENDED)
    if appended is None:
        size = log_size(session)
        appended = _Appended(Frontier.of(size, hash_reader(session, size)))
        session.info[_APPENDED] = appended
    return int(appended.add(entry.to_bytes()))


def append_role(session: Session, role: str, version: int, data: bytes) -> int:
    """Adds the leaf of a new version of a role."""
    return append(session, role_entry(role, version, data))


def append_act(
    session: Session, act: str, subject: str | None, sha256: str | None, at: datetime
) -> int:
    """Adds the leaf of an audit event; returns its number."""
    return append(session, Entry(act=act, subject=subject or "", sha256=sha256, at=at))


def log_size(session: Session) -> int:
    """How many leaves there are."""
    last = session.scalar(select(func.max(LogEntry.number)))
    return 0 if last is None else last + 1


def read_tile(session: Session, tile: Tile) -> bytes:
    """The bytes of a tile or an entry bundle."""
    first = tile.number * WIDTH
    span = {"first": first, "last": first + tile.width - 1}
    if tile.level == ENTRIES:
        return pack_entries(session.scalars(_READ_ENTRIES, span).all())
    return b"".join(session.scalars(_READ_HASHES, {"level": tile.level, **span}).all())


def hash_reader(session: Session, size: int) -> ReadNodes:
    """Reads nodes of the tree of the first ``size`` leaves."""

    def read(nodes: Iterable[Node]) -> Mapping[Node, bytes]:
        wanted = list(nodes)
        tiles = {tile: read_tile(session, tile) for tile in tiles_for(wanted, size)}
        return nodes_from(wanted, size, tiles)

    return read


def newest_checkpoint(session: Session) -> LogCheckpoint | None:
    """The newest checkpoint; None while the log is empty."""
    return session.scalar(select(LogCheckpoint).order_by(LogCheckpoint.size.desc()).limit(1))
