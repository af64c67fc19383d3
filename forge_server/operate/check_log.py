"""Whether the public log is whole: its leaves, the hashes above them, and what is published."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signing.encoding import canonical_json
from signing.errors import SigningError
from signing.tlog.checkpoint import open_checkpoint
from signing.tlog.entries import Entry, role_entry
from signing.tlog.merkle import Frontier, leaf_hash
from signing.tlog.note import parse_note
from signing.tlog.tiles import ENTRIES, HEIGHT, tiles_of
from storage import PathNotFoundError

from ..db.models import Event, LogCheckpoint, LogEntry, LogHash, MetadataVersion
from ..services.audit import DONE, commitment
from ..services.log import COMMITTED_ACTS, log_size, newest_checkpoint, read_tile
from ..services.log_files import CHECKPOINT, leaf_path
from ..wiring import Registry

# Rows in memory at once, of tables that grow with the releases.
_SOME: Final[dict[str, Any]] = {"execution_options": {"yield_per": 500}}


def check_log(registry: Registry, session: Session, *, deep: bool) -> Iterator[str]:
    """What is wrong with the log, a line each; with ``deep`` every leaf is hashed again."""
    size = log_size(session)
    newest = newest_checkpoint(session)
    if newest is None:
        yield "log: no checkpoint"
        return
    if newest.size != size:
        yield f"log: expected a checkpoint of all {size} leaves, found one of {newest.size}"
    yield from _check_published(registry, session)
    yield from _check_roles(registry, session)
    if deep:
        yield from _check_tree(registry, session)
        yield from _check_tiles(registry, session)
        yield from _check_events(session)


def _check_events(session: Session) -> Iterator[str]:
    """Every event that a leaf commits to is as it was, and none is gone."""
    bound: set[int] = set()
    query = select(Event).where(Event.action.in_(COMMITTED_ACTS), Event.outcome == DONE)
    for event in session.scalars(query, **_SOME):
        number = event.detail.get("leaf")
        if number is None:  # from before such events were committed to
            continue
        leaf = session.get(LogEntry, number)
        at = event.at.replace(microsecond=0)
        entry = Entry(act=event.action, subject="", sha256=commitment(event), at=at)
        bound.add(number)
        if leaf is None or leaf.entry != entry.to_bytes():
            yield f"audit event {event.id} ({event.action}): was changed since leaf {number}"
    for act in sorted(COMMITTED_ACTS):
        # The encoding is deterministic: the act stands at the beginning of its leaf.
        start = canonical_json({"act": act}).replace(b"}", b",")
        leaves = select(LogEntry.number).where(func.substr(LogEntry.entry, 1, len(start)) == start)
        for number in session.scalars(leaves):
            if number not in bound:
                yield f"leaf {number} of the log ({act}): its audit event is gone"


def _check_tree(registry: Registry, session: Session) -> Iterator[str]:
    """The stored hashes are those of the leaves, and each checkpoint ever signed is of their tree.

    One walk along the leaves, however many there are, beside one along the hashes of each level and
    one along the checkpoints: of none more than `_SOME` are held.
    """
    with ExitStack() as ends:
        leaves = session.scalars(select(LogEntry.entry).order_by(LogEntry.number), **_SOME)
        ends.enter_context(leaves)
        checkpoints = ends.enter_context(closing(_checkpoints(session)))
        yield from _walk_tree(registry, session, leaves, checkpoints, ends)


def _walk_tree(
    registry: Registry,
    session: Session,
    leaves: Iterable[bytes],
    checkpoints: Iterator[tuple[int, bytes]],
    ends: ExitStack,
) -> Iterator[str]:
    tree = Frontier()
    stored: dict[int, Iterator[tuple[int, bytes]]] = {}
    wrong: set[int] = set()
    next_size, note = next(checkpoints, (0, b""))
    for entry in leaves:
        for level, value in enumerate(tree.add(leaf_hash(entry))[::HEIGHT]):
            if level not in stored:
                stored[level] = ends.enter_context(closing(_hashes(session, level)))
            if level not in wrong:
                number = (tree.size - 1) >> HEIGHT * level
                problem = _compare_hash(level, (number, value), next(stored[level], None))
                if problem is not None:
                    wrong.add(level)
                    yield problem
        while next_size == tree.size:
            yield from _check_checkpoint(registry, next_size, note, tree.root)
            next_size, note = next(checkpoints, (0, b""))
    if next_size:
        yield f"log: checkpoint {next_size} was signed for another tree"
    for level in sorted(stored.keys() - wrong):
        if next(stored[level], None) is not None:
            yield _other_hashes(level)
    beyond = select(LogHash.level).where(LogHash.level.not_in(sorted(stored))).distinct()
    levels = session.scalars(beyond.order_by(LogHash.level)).all()
    if levels:
        yield f"log: hashes of levels that the log is too short for: {levels}"


def _hashes(session: Session, level: int) -> Generator[tuple[int, bytes], None, None]:
    query = select(LogHash.number, LogHash.hash).where(LogHash.level == level)
    with session.execute(query.order_by(LogHash.number), **_SOME) as rows:
        yield from rows


def _checkpoints(session: Session) -> Generator[tuple[int, bytes], None, None]:
    query = select(LogCheckpoint.size, LogCheckpoint.note).order_by(LogCheckpoint.size)
    with session.execute(query.where(LogCheckpoint.size > 0), **_SOME) as rows:
        yield from rows


def _compare_hash(
    level: int, expected: tuple[int, bytes], found: tuple[int, bytes] | None
) -> str | None:
    """What is said of a level once: what follows would be told again for each of millions."""
    if found is not None and found[0] != expected[0]:
        return f"log: hash {found[0]} of level {level} does not follow the one before"
    return None if found == expected else _other_hashes(level)


def _other_hashes(level: int) -> str:
    return f"log: the hashes of level {level} are not those of what is below"


def _check_checkpoint(registry: Registry, size: int, note: bytes, root: bytes) -> Iterator[str]:
    try:
        checkpoint = open_checkpoint(note, registry.log.keys.verifiers(), ()).checkpoint
    except SigningError as error:
        yield f"log: checkpoint {size}: {error.message}"
        return
    if checkpoint.size != size:
        yield f"log: checkpoint {size} speaks of {checkpoint.size} leaves"
    elif checkpoint.root != root:
        yield f"log: checkpoint {size} was signed for another tree"


def _check_published(registry: Registry, session: Session) -> Iterator[str]:
    newest = newest_checkpoint(session)
    assert newest is not None
    if newest.published_at is None:
        yield "log: committed but not published (forge-server check --finish)"
        return
    try:
        published = parse_note(registry.tree.read(CHECKPOINT)).text
    except (PathNotFoundError, SigningError):
        yield f"{CHECKPOINT}: missing or damaged among the published files"
        return
    if not newest.note.startswith(published.encode()):
        yield f"{CHECKPOINT}: the published file differs from the database"


def _check_roles(registry: Registry, session: Session) -> Iterator[str]:
    """Every role has its leaf, and its place is published."""
    # With the leaves, and columns alone: there is a role for every release.
    query = (
        select(
            MetadataVersion.role, MetadataVersion.version, MetadataVersion.data,
            MetadataVersion.log_index, MetadataVersion.published_at, LogEntry.entry,
        )
        .outerjoin(LogEntry, LogEntry.number == MetadataVersion.log_index)
        .where(MetadataVersion.log_index.is_not(None))
    )  # fmt: skip
    for role, version, data, index, published_at, leaf in session.execute(query, **_SOME):
        if leaf != role_entry(role, version, data).to_bytes():
            yield f"{version}.{role}: leaf {index} of the log is another"
        path = leaf_path(role, version)
        try:
            if published_at and registry.tree.read(path) != f"{index}\n".encode():
                yield f"{path}: the published number differs from the database"
        except PathNotFoundError:
            yield f"{path}: missing among the published files"


def _check_tiles(registry: Registry, session: Session) -> Iterator[str]:
    """Every file of the published tree size is there, and holds what the database holds."""
    newest = select(func.max(LogCheckpoint.size)).where(LogCheckpoint.published_at.is_not(None))
    for tile in tiles_of(session.scalar(newest) or 0):
        path = f"log/{tile.path}"
        try:
            if registry.tree.read(path) != read_tile(session, tile):
                what = "entries" if tile.level == ENTRIES else "hashes"
                yield f"{path}: the published {what} differ from the database"
        except PathNotFoundError:
            yield f"{path}: missing among the published files"
