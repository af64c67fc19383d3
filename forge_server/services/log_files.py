"""The public log as files of the static plane, written before anything that refers to them.

``log/tile/…`` never changes; ``log/leaf/<version>.<role>`` says which leaf stands for a role, so
that a client finds the proof without searching; ``log/checkpoint`` comes last. A checkpoint is
published only when enough witnesses cosigned it: until then the world stays at the last state
that somebody independent has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from signing.errors import MalformedError
from signing.tlog.checkpoint import parse_checkpoint
from signing.tlog.note import parse_note
from signing.tlog.tiles import Tile, tiles_since
from storage import PathNotFoundError, PublishedTree, put_together

from ..db.engine import Database
from ..db.models import LogCheckpoint
from ..errors import RegistryError
from .clock import Clock
from .forward import publish_forward
from .locks import StillHeld
from .log import newest_checkpoint, read_tile

CHECKPOINT = "log/checkpoint"
_LOOKED = "history looked at"

Cosign = Callable[[int, bytes], bytes]
"""From the size and note of a checkpoint to the note with cosignatures; raises when too few."""


def leaf_path(role: str, version: int) -> str:
    """Where the number of the leaf of a role's version stands."""
    return f"log/leaf/{version}.{role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A checkpoint that was put into the tree, with its cosignatures."""

    size: int
    cosigned: bytes


@dataclass(frozen=True, slots=True)
class LogFiles:
    """Writes what the database has and the tree has not."""

    database: Database
    tree: PublishedTree
    clock: Clock
    cosign: Cosign | None

    def is_behind(self) -> bool:
        """Whether the newest checkpoint is not in the tree yet."""
        with self.database.read() as session:
            newest = newest_checkpoint(session)
        return newest is not None and newest.published_at is None

    def write(
        self, leaves: Sequence[tuple[str, int, int | None]], still_held: StillHeld
    ) -> Published | None:
        """Writes the tiles of the newest checkpoint, the places of ``leaves`` (role, version,
        number), and at last the checkpoint, if it is not there: then `mark` is due.

        Raises:
            RegistryError: too few witnesses cosigned it (``witnesses-missing``), or the lock was
                lost, or the published checkpoint is of another history (``read-only``).
            BackendError: the tree could not be written; the next call goes on.
        """
        with self.database.read() as session:
            newest = newest_checkpoint(session)
            published = session.scalar(
                select(func.max(LogCheckpoint.size)).where(LogCheckpoint.published_at.is_not(None))
            )
            if newest is None:
                return None
            size, note = newest.size, newest.note
        put_together(self.tree, self._files(published or 0, size, leaves))
        return None if published == size else self._publish(size, note, still_held)

    def _files(
        self, published: int, size: int, leaves: Sequence[tuple[str, int, int | None]]
    ) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for tile in tiles_since(published, size):
            yield f"log/{tile.path}", partial(self._tile, tile)
        for role, version, number in leaves:
            if number is not None:
                yield leaf_path(role, version), f"{number}\n".encode

    def _tile(self, tile: Tile) -> bytes:
        with self.database.read() as session:
            return read_tile(session, tile)

    def _publish(self, size: int, note: bytes, still_held: StillHeld) -> Published:
        if self.cosign is not None:
            note = self.cosign(size, note)
        still_held()
        publish_forward(self.tree, CHECKPOINT, note, lambda seen: self._later(seen, size))
        return Published(size=size, cosigned=note)

    def mark(self, session: Session, published: Published) -> None:
        """Notes that the checkpoint is in the tree."""
        session.execute(
            update(LogCheckpoint)
            .where(LogCheckpoint.size == published.size)
            .values(cosigned=published.cosigned, published_at=self.clock())
        )

    def _later(self, seen: bytes, size: int) -> bool:
        """Whether the published checkpoint ``seen`` is of more than ``size`` entries."""
        try:
            found = size_of(seen)
        except MalformedError:
            return False  # damaged: nobody could use it
        with self.database.read() as session:
            reason = why_foreign(session, seen)
        if reason is not None:
            raise RegistryError("read-only", reason)
        return found > size


@dataclass(slots=True)
class History:
    """Whether the database holds what was published from it; `reason` says why it does not.

    A database brought back from yesterday's copy, or a standby that took over without having got
    everything, would sign another history for sizes that the world has seen. So this is looked at
    when the server starts, and before a checkpoint is signed over a connection that is new.
    """

    tree: PublishedTree
    reason: str | None = None

    def look(self, session: Session) -> str | None:
        """Why nothing may be signed as things are now; None when all is well."""
        try:
            published = self.tree.read(CHECKPOINT)
        except PathNotFoundError:
            self.reason = None
        else:
            self.reason = why_foreign(session, published)
        return self.reason

    def require(self, session: Session) -> None:
        """Looks once for each connection of the database.

        Raises:
            RegistryError: the database is older than what the world has seen (``read-only``).
        """
        info = session.connection().info  # lives as long as the connection to the server
        if _LOOKED not in info:
            reason = self.look(session)
            if reason is not None:
                raise RegistryError("read-only", reason)
            info[_LOOKED] = True


def size_of(note: bytes) -> int:
    """The size that a checkpoint states. Raises MalformedError."""
    return parse_checkpoint(parse_note(note, CHECKPOINT).text).size


def why_foreign(session: Session, note: bytes) -> str | None:
    """Why the published ``note`` is not of the history in the database; None when it is. It was
    read before the session began, or while that holds the write lock: whoever published it had
    committed it."""
    try:
        text = parse_note(note, CHECKPOINT).text
        size = parse_checkpoint(text).size
    except MalformedError as error:
        return f"the published {error.message}"
    row = session.get(LogCheckpoint, size)
    if row is None or not row.note.startswith(text.encode()):
        return (
            f"its database does not hold the published checkpoint of {size} entries: it "
            "is older than what the world has seen; restore its newest copy"
        )
    return None
