"""The public log as files of the static plane, written before anything that refers to them.

``log/tile/…`` never changes; ``log/leaf/<version>.<role>`` says which leaf stands for a role, so
that a client finds the proof without searching; ``log/checkpoint`` comes last. A checkpoint is
published only when enough witnesses cosigned it: until then the world stays at the last state
that somebody independent has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from signing.errors import MalformedError
from signing.tlog.checkpoint import parse_checkpoint
from signing.tlog.note import parse_note
from signing.tlog.tiles import tiles_since
from storage import PathNotFoundError, PublishedTree

from ..db.engine import Database
from ..db.models import LogCheckpoint
from .clock import Clock
from .log import newest_checkpoint, read_tile

CHECKPOINT = "log/checkpoint"

Cosign = Callable[[int, bytes], bytes]
"""From the size and note of a checkpoint to the note with cosignatures; raises when too few."""


def leaf_path(role: str, version: int) -> str:
    """Where the number of the leaf of a role's version stands."""
    return f"log/leaf/{version}.{role}"


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

    def write(self, leaves: Sequence[tuple[str, int, int | None]]) -> None:
        """Writes the tiles of the newest checkpoint, the places of ``leaves`` (role, version,
        number), and at last the checkpoint.

        Raises:
            RegistryError: too few witnesses cosigned it (``witnesses-missing``).
            BackendError: the tree could not be written; the next call goes on.
        """
        with self.database.read() as session:
            newest = newest_checkpoint(session)
            published = session.scalar(
                select(func.max(LogCheckpoint.size)).where(LogCheckpoint.published_at.is_not(None))
            )
            if newest is None:
                return
            size, note = newest.size, newest.note
            tiles = [(tile, read_tile(session, tile)) for tile in tiles_since(published or 0, size)]
        for tile, data in tiles:
            self.tree.put_once(f"log/{tile.path}", data)
        for role, version, number in leaves:
            if number is not None:
                self.tree.put_once(leaf_path(role, version), f"{number}\n".encode())
        if published != size:
            self._publish(size, note)

    def _publish(self, size: int, note: bytes) -> None:
        if self.cosign is not None:
            note = self.cosign(size, note)
        self.tree.swap(CHECKPOINT, note, keep=lambda found: _size_of(found) > size)
        with self.database.write() as session:
            session.execute(
                update(LogCheckpoint)
                .where(LogCheckpoint.size == size)
                .values(cosigned=note, published_at=self.clock())
            )


def _size_of(note: bytes) -> int:
    """How many entries a published checkpoint covers; 0 for what is none."""
    try:
        return parse_checkpoint(parse_note(note, CHECKPOINT).text).size
    except MalformedError:
        return 0


def why_rewound(database: Database, tree: PublishedTree) -> str | None:
    """Why nothing may be signed: the database is older than what was published from it. None
    when it is not.

    A database brought back from yesterday's copy would sign another history for sizes that the
    world has seen.
    """
    try:
        published = parse_checkpoint(parse_note(tree.read(CHECKPOINT), CHECKPOINT).text)
    except PathNotFoundError:
        return None
    except MalformedError as error:
        return f"the published {error.message}"
    with database.read() as session:
        row = session.get(LogCheckpoint, published.size)
        own = None if row is None else row.note
    if own is None or not own.startswith(published.text.encode()):
        return (
            f"its database does not hold the published checkpoint of {published.size} entries: it "
            "is older than what the world has seen; restore its newest copy"
        )
    return None
