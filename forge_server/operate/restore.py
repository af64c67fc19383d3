"""Bringing a registry back from a backup: `forge-server restore`, and `confirm`.

Into an empty folder, with an empty database. ``server.toml`` is written last: until then the folder
is no registry, and the same command again finishes what was begun (``restoring.json`` says with
which backup). Blobs are hashed while they are copied, and those that are there are not copied
again. The published files are written from the database, as a publish writes them: what never
changes once, and what is replaced never by something older. So nothing that the world has seen goes
back when the published files are still where they were; the server then says that its database is
the older one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Select, func, select, true
from sqlalchemy.orm import Session

from signing.errors import MalformedError
from signing.roles import parse_signed
from signing.tlog.note import NoteKey
from signing.tlog.tiles import tiles_of
from storage import (
    BlobNotFoundError,
    BlobStore,
    LocalBlobStore,
    PathNotFoundError,
    PublishedTree,
    put_together,
    several,
)
from storage.durable import replace_durably, write_file_durably

from ..db.engine import open_database
from ..db.migrate import empty_again, is_empty, migrate
from ..db.models import Component, LogCheckpoint, MetadataVersion, Release
from ..db.revisions import newest_revision
from ..db.url import DatabaseUrl
from ..errors import RegistryError
from ..services.callers import OPERATOR
from ..services.clock import Clock
from ..services.components import mark_changed
from ..services.forward import publish_forward
from ..services.leases import batches
from ..services.log import read_tile
from ..services.log_files import CHECKPOINT, leaf_path, size_of
from ..services.publication import TIMESTAMP, target_files
from ..services.restored import confirm, judge_checkpoint, set_restored, why_unconfirmed
from ..services.review_roles import published_statements, statement_file
from ..services.upkeep import COLLECTED, RESTORED, SCRUBBED, forget
from ..settings import (
    DataFolder,
    database_of,
    parse_settings,
    read_settings,
)  # fmt: skip
from ..stores import open_stores
from ..wiring import Registry
from .backup import DATABASE, Manifest, find_backup, read_json, remove_torn
from .export import read_into, schema_of, wanted_in
from .initialise import require_empty

MARKER: Final = "restoring.json"
_PLACES: Final = re.compile(r"^\s*(database|public|blobs|s3_[a-z_]+)\s*=.*$\n?", re.MULTILINE)
_AT_ONCE: Final = 1000
_SOME: Final = {"yield_per": 100}  # rows in memory at once, of tables that grow with the releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """``why`` nothing is signed, None when it is; ``missing`` blobs are not in the backup either;
    ``keys`` whether the server's keys are there."""

    name: str
    manifest: Manifest
    why: str | None
    missing: tuple[str, ...]
    keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """``backup`` is a name, None for the newest; ``settings`` a file to begin with in place of the
    backup's; ``database`` the URL of an empty PostgreSQL database; ``keys`` a folder with the
    server's keys; ``checkpoint`` what somebody has seen; ``newest`` that nobody saw anything
    newer."""

    backup: str | None = None
    settings: Path | None = None
    database: str | None = None
    keys: Path | None = None
    checkpoint: Path | None = None
    newest: bool = False


def restore(
    target: Path, root: Path, wishes: Wishes, clock: Clock, tell: Callable[[str], None]
) -> Restored:
    """Makes the registry in the folder ``root`` from a backup in ``target``.

    Raises:
        RegistryError: no whole backup, a folder or database that is not empty, a checkpoint that
            contradicts the backup.
        BackendError: the store failed; the same command again goes on.
    """
    source, manifest = find_backup(target, wishes.backup)
    export = source / DATABASE
    if schema_of(export) != newest_revision():
        raise RegistryError(
            "schema-old",
            f"{source.name}: expected the schema {newest_revision()}, found {schema_of(export)}",
            "restore it with the version of forge-server that made it, then: forge-server migrate",
        )
    data = DataFolder(root.absolute())
    text, url = _settings(source, data, wishes)
    _take_folder(data, source.name)
    settings = parse_settings(_parsed(text), data.settings)
    stores = open_stores(data, settings)
    blobs, tree = stores.blobs, stores.tree
    store = LocalBlobStore(target / "blobs")
    missing = _copy_blobs(store, blobs, wanted_in(export))
    for digest in missing:
        tell(f"blob {digest}: not in the backup")
    why = _fill_database(data, url, export, manifest, (source, tree, wishes), clock)
    _rebuild(url, tree, blobs)
    for path, digest in manifest.published.items():
        with store.open(digest) as file:
            tree.put_once(path, file.read())
    keys = _copy_keys(source, data, wishes.keys)
    for name in ("root.fingerprint", "online-keys.json"):
        if (source / name).is_file():
            replace_durably(data.root / name, (source / name).read_bytes())
    write_file_durably(data.settings, text.encode())
    (data.root / MARKER).unlink()
    return Restored(name=source.name, manifest=manifest, why=why, missing=tuple(missing), keys=keys)


def _parsed(text: str) -> dict[str, object]:
    return tomllib.loads(text)


def _settings(source: Path, data: DataFolder, wishes: Wishes) -> tuple[str, DatabaseUrl]:
    """The text of ``server.toml``, and where the database will be.

    The backup's own settings lose what they say about places: a rehearsal must not write where the
    registry itself does.
    """
    if wishes.settings is not None:
        read_settings(wishes.settings)
        text = wishes.settings.read_text("utf-8")
    else:
        text = _PLACES.sub("", (source / "server.toml").read_text("utf-8"))
    if wishes.database is not None:
        DatabaseUrl.parse(wishes.database, "--database")
        text = re.sub(r"^\s*database\s*=.*$\n?", "", text, flags=re.MULTILINE)
        text = f"{text.rstrip()}\ndatabase = {json.dumps(wishes.database)}\n"
    return text, database_of(data, parse_settings(_parsed(text), data.settings))


def _take_folder(data: DataFolder, name: str) -> None:
    marker = data.root / MARKER
    for folder in (data.root, data.keys):
        remove_torn(folder)
    if data.settings.exists():
        marker.unlink(missing_ok=True)  # killed after the last step
    if not marker.exists():
        require_empty(data.root)
        data.root.mkdir(parents=True, exist_ok=True)
        replace_durably(marker, json.dumps({"backup": name, "database": False}).encode())
        data.root.chmod(0o750)
    begun = read_json(marker).get("backup")
    if begun != name:
        raise RegistryError(
            "folder-not-empty",
            f"{data.root}: expected the restore of {name}, found one of {begun} that was begun",
            f"finish that: --backup {begun}; or remove the folder",
        )
    for folder in (data.blobs, data.public, data.keys, data.locks):
        folder.mkdir(exist_ok=True)
    data.keys.chmod(0o700)


def _copy_blobs(source: BlobStore, target: BlobStore, digests: Iterator[str]) -> list[str]:
    def copy(digest: str) -> bool:
        """False where it is not in the backup."""
        try:
            size = source.stat(digest).size
            with source.open(digest) as file:
                target.put(digest, file, size)
        except BlobNotFoundError:
            return False
        return True

    absent: set[str] = set()
    for batch in batches(digests):
        missing = sorted(target.missing(batch))
        copied = zip(missing, several(copy, missing), strict=True)
        absent.update(digest for digest, there in copied if not there)
    return sorted(absent)


def _fill_database(
    data: DataFolder,
    url: DatabaseUrl,
    export: Path,
    manifest: Manifest,
    seen: tuple[Path, PublishedTree, Wishes],
    clock: Clock,
) -> str | None:
    """Returns why nothing may be signed."""
    _empty_database(data, url, export.parent.name)
    migrate(url)
    database = open_database(url)
    try:
        with database.write() as session:
            read_into(session, export)
            mark_changed(session, true())  # the search index is not in a backup
            for name in (COLLECTED, SCRUBBED, RESTORED):
                forget(session, name)
            set_restored(session, manifest.made_at, clock)
            _judge(session, *seen, clock)
        with database.read() as session:
            return why_unconfirmed(session)
    finally:
        database.dispose()


def _empty_database(data: DataFolder, url: DatabaseUrl, name: str) -> None:
    """Takes back what a restore that was killed has written; a database of anybody else stays."""
    if url.file is not None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{url.file}{suffix}").unlink(missing_ok=True)
        return
    marker = data.root / MARKER
    if read_json(marker)["database"]:
        empty_again(url)
    elif not is_empty(url):
        raise RegistryError(
            "database-not-empty",
            f"{url}: expected an empty database, found tables in it",
            "make another database, with createdb for instance",
        )
    replace_durably(marker, json.dumps({"backup": name, "database": True}).encode())


def _judge(
    session: Session, source: Path, tree: PublishedTree, wishes: Wishes, clock: Clock
) -> None:
    """Compares the database with what is known to have been seen of its log."""
    vkey = source / "keys" / "log.vkey"
    own = (NoteKey.parse(vkey.read_text().strip(), "log.vkey"),) if vkey.is_file() else ()
    known, newer = wishes.newest, None
    if wishes.checkpoint is not None:
        data = wishes.checkpoint.read_bytes()
        newer = judge_checkpoint(session, data, own, str(wishes.checkpoint))
        known = True
    try:
        published = tree.read(CHECKPOINT)
    except PathNotFoundError:
        published = None
    if published is not None:  # the published files are where they were: the world's own view
        newer = judge_checkpoint(session, published, own, CHECKPOINT) or newer
        known = True
    if known:
        confirm(session, newer, clock)


def _rebuild(url: DatabaseUrl, tree: PublishedTree, blobs: BlobStore) -> None:
    """Writes the published files that the database knows to have been published, in the order of a
    publish: what nobody knows of yet first, the checkpoint, and the timestamp last."""
    database = open_database(url)
    try:
        with database.read() as session:
            files = _files(session, blobs)
            while part := list(islice(files, _AT_ONCE)):
                put_together(tree, part)
            newest = session.scalar(
                select(LogCheckpoint)
                .where(LogCheckpoint.published_at.is_not(None))
                .order_by(LogCheckpoint.size.desc())
                .limit(1)
            )
            if newest is not None:
                size = newest.size
                publish_forward(
                    tree, CHECKPOINT, newest.cosigned or newest.note,
                    lambda seen: size_of(seen) >= size,
                )  # fmt: skip
            stamp = session.scalar(_published().where(MetadataVersion.role == "timestamp").limit(1))
            if stamp is not None:
                version = stamp.version
                publish_forward(tree, TIMESTAMP, stamp.data, lambda seen: _version(seen) >= version)
    finally:
        database.dispose()


def _published() -> Select[MetadataVersion]:
    return (
        select(MetadataVersion)
        .where(MetadataVersion.published_at.is_not(None))
        .order_by(MetadataVersion.version.desc())
    )


def _files(session: Session, blobs: BlobStore) -> Iterator[tuple[str, Callable[[], bytes]]]:
    releases = select(
        Component.organisation, Component.name, Release.version, Release.manifest_sha256,
        Release.bundle_sha256,
    ).join(Component, Release.component_id == Component.id)  # fmt: skip
    stored = releases.where(Release.stored_at.is_not(None))
    for release in session.execute(stored, execution_options=_SOME):
        for target in target_files(*release):
            if not blobs.missing([target.sha256]):
                yield target.path, partial(_blob, blobs, target.sha256)
    # What reviewers signed is in the database itself, and listed by roles that come back.
    for path, sha256, envelope in published_statements(session):
        yield statement_file(path, sha256), partial(bytes, envelope)
    for row in session.scalars(_published(), execution_options=_SOME):
        if row.role != "timestamp":
            yield f"{row.version}.{row.role}.json", partial(bytes, row.data)
        if row.log_index is not None:
            yield leaf_path(row.role, row.version), f"{row.log_index}\n".encode
    query = select(func.max(LogCheckpoint.size)).where(LogCheckpoint.published_at.is_not(None))
    for tile in tiles_of(session.scalar(query) or 0):
        yield f"log/{tile.path}", partial(bytes, read_tile(session, tile))


def _blob(blobs: BlobStore, digest: str) -> bytes:
    with blobs.open(digest) as file:
        return file.read()


def _version(data: bytes) -> int:
    try:
        return int(parse_signed(data, TIMESTAMP, "timestamp").signed.version)
    except MalformedError:
        return 0  # a stranger's, which ours replaces


def _copy_keys(source: Path, data: DataFolder, folder: Path | None) -> bool:
    """Copies the keys from ``folder``, or from the backup where it has them; returns whether there
    are any now."""
    given = folder or source / "keys"
    for path in (*given.glob("*.pem"), *given.glob("log.vkey"), *(source / "keys").glob("*.vkey")):
        replace_durably(data.keys / path.name, path.read_bytes(), mode=0o600)
    return all((data.keys / f"{role}.pem").exists() for role in ("snapshot", "timestamp", "log"))


def confirm_registry(registry: Registry, checkpoint: Path | None) -> str | None:
    """Says that the world has seen nothing newer than this registry, or what it has seen; returns
    why nothing is signed even so.

    Raises:
        RegistryError: the checkpoint contradicts the registry's log.
    """
    own = tuple(registry.log.keys.verifiers())
    with registry.database.write() as session:
        newer = None
        if checkpoint is not None:
            newer = judge_checkpoint(session, checkpoint.read_bytes(), own, str(checkpoint))
        if confirm(session, newer, registry.clock):
            registry.audit.record(session, OPERATOR, "registry.confirm", None)
    return registry.publication.unable
