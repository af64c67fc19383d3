"""Whether the public log is whole: its leaves, the hashes above them, and what is published."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signing.encoding import canonical_json
from signing.errors import SigningError
from signing.tlog.checkpoint import open_checkpoint
from signing.tlog.entries import Entry, role_entry
from signing.tlog.merkle import leaf_hash, root_of
from signing.tlog.note import parse_note
from signing.tlog.tiles import ENTRIES, WIDTH, tile_root, tiles_of
from storage import PathNotFoundError

from ..db.models import Event, LogCheckpoint, LogEntry, LogHash, MetadataVersion
from ..services.audit import DONE, commitment
from ..services.log import COMMITTED_ACTS, hash_reader, log_size, newest_checkpoint, read_tile
from ..services.log_files import CHECKPOINT, leaf_path
from ..wiring import Registry


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
        yield from _check_checkpoints(registry, session)
        yield from _check_hashes(session)
        yield from _check_tiles(registry, session)
        yield from _check_events(session)


def _check_events(session: Session) -> Iterator[str]:
    """Every event that a leaf commits to is as it was, and none is gone."""
    bound: set[int] = set()
    query = select(Event).where(Event.action.in_(COMMITTED_ACTS), Event.outcome == DONE)
    for event in session.scalars(query):
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


def _check_checkpoints(registry: Registry, session: Session) -> Iterator[str]:
    """Each checkpoint ever signed is one of this very tree."""
    for row in session.scalars(select(LogCheckpoint).order_by(LogCheckpoint.size)):
        try:
            checkpoint = open_checkpoint(row.note, registry.log.keys.verifiers(), ()).checkpoint
        except SigningError as error:
            yield f"log: checkpoint {row.size}: {error.message}"
            continue
        if checkpoint.size != row.size:
            yield f"log: checkpoint {row.size} speaks of {checkpoint.size} leaves"
        elif checkpoint.root != root_of(row.size, hash_reader(session, row.size)):
            yield f"log: checkpoint {row.size} was signed for another tree"


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
    query = select(MetadataVersion).where(MetadataVersion.log_index.is_not(None))
    for row in session.scalars(query.execution_options(yield_per=100)):
        name = f"{row.version}.{row.role}"
        leaf = session.get(LogEntry, row.log_index)
        expected = role_entry(row.role, row.version, row.data).to_bytes()
        if leaf is None or leaf.entry != expected:
            yield f"{name}: leaf {row.log_index} of the log is another"
        path = leaf_path(row.role, row.version)
        try:
            if row.published_at and registry.tree.read(path) != f"{row.log_index}\n".encode():
                yield f"{path}: the published number differs from the database"
        except PathNotFoundError:
            yield f"{path}: missing among the published files"


def _check_hashes(session: Session) -> Iterator[str]:
    """The stored hashes are those of the leaves, level by level."""
    hashes: dict[int, list[bytes]] = {}
    for level, number, value in session.execute(
        select(LogHash.level, LogHash.number, LogHash.hash).order_by(LogHash.level, LogHash.number)
    ):
        if number != len(hashes.setdefault(level, [])):
            yield f"log: hash {number} of level {level} does not follow the one before"
        hashes[level].append(value)
    leaves = select(LogEntry.number, LogEntry.entry).order_by(LogEntry.number)
    found = [leaf_hash(entry) for _, entry in session.execute(leaves)]
    level = 0
    while found:
        if hashes.pop(level, []) != found:
            yield f"log: the hashes of level {level} are not those of what is below"
        whole = range(0, len(found) - WIDTH + 1, WIDTH)
        found = [tile_root(found[start : start + WIDTH]) for start in whole]
        level += 1
    if hashes:
        yield f"log: hashes of levels that the log is too short for: {sorted(hashes)}"


def _check_tiles(registry: Registry, session: Session) -> Iterator[str]:
    """Every file of the published tree size is there, and holds what the database holds."""
    published = session.scalars(
        select(LogCheckpoint.size).where(LogCheckpoint.published_at.is_not(None))
    ).all()
    for tile in tiles_of(max(published, default=0)):
        path = f"log/{tile.path}"
        try:
            if registry.tree.read(path) != read_tile(session, tile):
                what = "entries" if tile.level == ENTRIES else "hashes"
                yield f"{path}: the published {what} differ from the database"
        except PathNotFoundError:
            yield f"{path}: missing among the published files"
