"""The public log in the database: leaves, the hashes above them, and signed checkpoints.

A leaf is appended in the transaction of the change that it records, and the checkpoint that
covers it is signed in that same transaction, just before it commits: neither exists without the
other, many changes of one transaction share one checkpoint, and the write lock that every
writing transaction holds makes sizes strictly grow. The checkpoint's size is its primary key, so
a second one of the same size cannot be stored, let alone published.

``log_hashes`` holds what the tiles hold: of each level its hashes in order. A full tile's root is
the next hash of the level above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import event, func, insert, select
from sqlalchemy.orm import Session, sessionmaker

from signing.tlog.checkpoint import Checkpoint
from signing.tlog.entries import Entry, role_entry
from signing.tlog.merkle import HASH_BYTES, Node, ReadNodes, leaf_hash, root_of
from signing.tlog.tiles import ENTRIES, WIDTH, Tile, nodes_from, pack_entries, tile_root, tiles_for

from ..db.models import LogCheckpoint, LogEntry, LogHash
from .clock import Clock
from .log_keys import LogKeys

# Of the audit events those that the world may hold the registry to. Accounts and tokens are not
# among them: they name persons.
LOGGED_ACTS: Final = frozenset(
    (
        "organisation.apply",
        "organisation.approve",
        "organisation.refuse",
        "member.set",
        "member.remove",
        "release.publish",
        "release.resign",
        "release.yank",
        "release.unyank",
    )
)
_SIZE: Final = "log size"  # in the info of a session: the size with what it appended


@dataclass(frozen=True, slots=True)
class TransparencyLog:
    """The log that ``keys`` sign for. ``attach`` makes every writing transaction seal what it
    appended. ``require_history`` raises when the database is not the newest."""

    keys: LogKeys
    clock: Clock
    require_history: Callable[[Session], None]

    def attach(self, writing: sessionmaker[Session]) -> None:
        """From now on a commit of ``writing`` signs a checkpoint when leaves were appended."""
        event.listen(writing, "before_commit", self._seal)

    def _seal(self, session: Session) -> None:
        size = session.info.pop(_SIZE, None)
        if size is None:
            return
        self.require_history(session)
        checkpoint = Checkpoint(
            origin=self.keys.origin, size=size, root=root_of(size, hash_reader(session, size))
        )
        note = self.keys.sign(checkpoint).to_bytes()
        session.add(LogCheckpoint(size=size, note=note, created_at=self.clock()))
        session.flush()


def append(session: Session, entry: Entry) -> int:
    """Adds a leaf to the log in this transaction; returns its number."""
    number = session.info.get(_SIZE)
    if number is None:
        number = log_size(session)
    data = entry.to_bytes()
    session.execute(insert(LogEntry).values(number=number, entry=data))
    _add_hash(session, 0, number, leaf_hash(data))
    session.info[_SIZE] = number + 1
    return int(number)


def append_role(session: Session, role: str, version: int, data: bytes) -> int:
    """Adds the leaf of a new version of a role."""
    return append(session, role_entry(role, version, data))


def append_act(
    session: Session, act: str, subject: str | None, sha256: object, at: datetime
) -> None:
    """Adds the leaf of an audit event, if it is one of those that the log holds."""
    if act in LOGGED_ACTS:
        digest = sha256 if isinstance(sha256, str) else None
        append(session, Entry(act=act, subject=subject or "", sha256=digest, at=at))


def _add_hash(session: Session, level: int, number: int, value: bytes) -> None:
    session.execute(insert(LogHash).values(level=level, number=number, hash=value))
    if (number + 1) % WIDTH == 0:  # the tile is full: its root goes to the level above
        tile = Tile(level, number // WIDTH)
        data = read_tile(session, tile)
        root = tile_root([data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])
        _add_hash(session, level + 1, tile.number, root)


def log_size(session: Session) -> int:
    """How many leaves there are."""
    last = session.scalar(select(func.max(LogEntry.number)))
    return 0 if last is None else last + 1


def read_tile(session: Session, tile: Tile) -> bytes:
    """The bytes of a tile or an entry bundle."""
    first = tile.number * WIDTH
    if tile.level == ENTRIES:
        rows = session.scalars(
            select(LogEntry.entry)
            .where(LogEntry.number >= first, LogEntry.number < first + tile.width)
            .order_by(LogEntry.number)
        )
        return pack_entries(list(rows))
    return b"".join(
        session.scalars(
            select(LogHash.hash)
            .where(
                LogHash.level == tile.level,
                LogHash.number >= first,
                LogHash.number < first + tile.width,
            )
            .order_by(LogHash.number)
        )
    )


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
