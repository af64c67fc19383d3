"""A copy of the registry that can be brought back: `forge-server backup`.

    TARGET/forge-backup.json        whose backups these are
    TARGET/blobs/ab/abcdef…         every blob once, as in a registry; also published files
    TARGET/backups/<time>/          one backup: the database as one file, settings, keys if asked
    for TARGET/backups/…/backup.json    written last: without it a backup does not exist

The order. First the blobs that releases refer to now, which may take days and holds nothing. Then
the database, all of it as of one moment. Then the few blobs that this refers to and that came
meanwhile; they cannot have gone, because a release keeps its blobs. Last ``backup.json`` with the
digests of everything. So a backup that exists is whole, whatever was published while it was made,
and one that was killed is no backup, and what it copied need not be copied again.

The signing keys are left out unless somebody asks for them: who steals a backup shall not be able
to sign. They do not change, and belong into a safe once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signing.digests import hash_stream, sha256_hex
from signing.status import ROLE as STATUS
from signing.status import status_of
from storage import (
    BackendError,
    BlobMismatchError,
    BlobNotFoundError,
    LocalBlobStore,
    PathNotFoundError,
    several,
)
from storage.durable import exclusively, fsync_dir, replace_durably, write_file_durably

from ..db.models import MetadataVersion, Release
from ..db.revisions import newest_revision
from ..errors import RegistryError
from ..services.leases import batches
from ..services.log import log_size, newest_checkpoint
from ..services.log_files import leaf_path
from ..services.rolebook import current_role, head_version
from ..services.wanted import iter_wanted
from ..wiring import Registry
from .export import FORMAT, wanted_in, write_export

MARKER: Final = "forge-backup.json"
MANIFEST: Final = "backup.json"
DATABASE: Final = "database.jsonl.gz"
_PUBLIC_FILES: Final = ("server.toml", "root.fingerprint", "online-keys.json", "keys/log.vkey")
# The database keeps the newest 20 snapshots. Clients that read a timestamp before the registry was
# lost may ask for one of these; and for the one that the status host names, however old it is.
_SNAPSHOTS: Final = 1000
_TORN: Final = re.compile(r"[0-9a-f]{32}\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What ``backup.json`` says. ``files`` is ``{name in the backup's folder: [sha256, size]}``,
    ``published`` ``{path of a published file that is not in the database: sha256}``, ``absent``
    digests of blobs that the registry itself had not, or only damaged."""

    made_at: str
    schema: str
    origin: str
    root: str
    log_size: int
    checkpoint: str | None
    releases: int
    rows: int
    with_keys: bool
    files: dict[str, list[Any]]
    published: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """``copied`` blobs were not in the target before."""

    name: str
    manifest: Manifest
    copied: int
    copied_bytes: int


@dataclass(slots=True)
class _Copy:
    """Copies blobs into the target that it has not."""

    registry: Registry
    store: LocalBlobStore
    tell: Callable[[str], None]
    copied: int = 0
    copied_bytes: int = 0
    absent: dict[str, str] = field(default_factory=dict)

    def all(self, digests: Iterable[str]) -> None:
        for batch in batches(digests):
            missing = sorted(self.store.missing(batch) - self.absent.keys())
            for digest, (problem, size) in zip(missing, several(self._one, missing), strict=True):
                if problem is not None:
                    self.absent[digest] = problem
                    self.tell(f"not in the backup: {problem}")
                else:
                    self.copied += 1
                    self.copied_bytes += size

    def _one(self, digest: str) -> tuple[str | None, int]:
        problem, size = self._try(digest)
        if problem is not None:  # perhaps they were altered on the way
            problem, size = self._try(digest)
        return problem, size

    def _try(self, digest: str) -> tuple[str | None, int]:
        """(what is wrong with the registry's own blob, how many bytes it has). One blob that cannot
        be had must not be the end of every backup.

        Raises:
            BackendError: the registry's store or the target failed.
        """
        size = 0
        try:
            size = self.registry.blobs.stat(digest).size
            with self.registry.blobs.open(digest) as file:
                self.store.put(digest, file, size)
        except (BlobNotFoundError, BlobMismatchError) as error:
            return error.message, size
        except BackendError as error:
            if error.code != "blob-damaged":
                raise
            return f"blob {digest}: {error.message}", size
        except OSError as error:  # of the reading: what the target's disk says is a BackendError
            return f"blob {digest}: cannot be read: {error.strerror}", size
        return None, size


def back_up(
    registry: Registry, target: Path, *, with_keys: bool, tell: Callable[[str], None]
) -> Done:
    """Makes a backup in ``target``, a folder that is empty or holds earlier ones.

    Raises:
        RegistryError: something else is in the folder, or the backups of another registry.
        BackendError: the registry's store or the target failed; the same command again goes on.
    """
    if registry.fingerprint is None:
        raise RegistryError("not-adopted", f"{registry.folder.root}: nothing to keep yet")
    _take_target(registry, target)
    with exclusively(target / "lock"):
        for folder in (target / "backups").iterdir():
            if not (folder / MANIFEST).is_file():
                shutil.rmtree(folder)  # of one that was killed
        store = LocalBlobStore(target / "blobs")
        store.sweep_temp(0, registry.clock())
        copy = _Copy(registry, store, tell)
        copy.all(iter_wanted(registry.database))
        name = f"{registry.clock():%Y%m%dT%H%M%S.%fZ}"
        folder = target / "backups" / name
        folder.mkdir(mode=0o700)
        manifest = _fill(registry, folder, copy, with_keys=with_keys)
        fsync_dir(folder)
        fsync_dir(folder.parent)
        text = json.dumps(asdict(manifest), indent=1).encode() + b"\n"
        write_file_durably(folder / MANIFEST, text)
    return Done(name=name, manifest=manifest, copied=copy.copied, copied_bytes=copy.copied_bytes)


def _take_target(registry: Registry, target: Path) -> None:
    ours = {"format": FORMAT, "root": registry.fingerprint, "log": registry.log.keys.origin}
    marker = target / MARKER
    if not marker.exists():
        remove_torn(target)
        if target.is_dir() and any(target.iterdir()):
            raise RegistryError(
                "folder-not-empty",
                f"{target}: expected an empty folder or one with backups, found something else",
                "choose another folder",
            )
        target.mkdir(parents=True, exist_ok=True)
        replace_durably(marker, json.dumps(ours).encode() + b"\n")
    found = read_json(marker)
    if found != ours:
        raise RegistryError(
            "backup-of-another",
            f"{target}: expected the backups of {ours['log']}, found those of {found.get('log')}",
            "choose another folder",
        )
    (target / "backups").mkdir(exist_ok=True)


def remove_torn(folder: Path) -> None:
    """Removes files that somebody died writing into ``folder`` (`storage.durable.TempFile`)."""
    for path in folder.glob("*.part"):
        if _TORN.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _fill(registry: Registry, folder: Path, copy: _Copy, *, with_keys: bool) -> Manifest:
    with registry.database.read() as session:
        with (folder / DATABASE).open("xb") as file:
            rows = write_export(session, file)
            file.flush()
            os.fsync(file.fileno())
        newest = newest_checkpoint(session)
        note = None if newest is None else (newest.cosigned or newest.note).decode()
        size = log_size(session)
        releases = session.scalar(select(func.count()).select_from(Release)) or 0
        forgotten = _forgotten(session)
    # After the database, because of what was published meanwhile.
    copy.all(wanted_in(folder / DATABASE))
    names = [name for name in _PUBLIC_FILES if (registry.folder.root / name).is_file()]
    if with_keys:
        names += sorted(f"keys/{path.name}" for path in registry.folder.keys.glob("*.pem"))
    for name in names:
        _copy_file(registry.folder.root / name, folder / name)
    return Manifest(
        made_at=f"{registry.clock():%FT%TZ}",
        schema=newest_revision(),
        origin=registry.log.keys.origin,
        root=str(registry.fingerprint),
        log_size=size,
        checkpoint=note,
        releases=releases,
        rows=rows,
        with_keys=with_keys,
        files={name: digest_of(folder / name) for name in (DATABASE, *names)},
        published=_keep_published(registry, copy.store, forgotten),
        absent=sorted(copy.absent),
    )


def _forgotten(session: Session) -> list[str]:
    """The paths of published snapshots, and of their places in the log, that the database has
    not any more."""
    query = select(MetadataVersion.version).where(MetadataVersion.role == "snapshot")
    kept = set(session.scalars(query))
    head = head_version(session, "snapshot")
    versions = {*range(max(1, head - _SNAPSHOTS), head)} - kept
    status = current_role(session, STATUS)
    if status is not None:
        versions.add(status_of(status).snapshot.version)
    return [
        path
        for version in sorted(versions)
        for path in (f"{version}.snapshot.json", leaf_path("snapshot", version))
    ]


def _keep_published(
    registry: Registry, store: LocalBlobStore, paths: Iterable[str]
) -> dict[str, str]:
    def keep(path: str) -> str | None:
        try:
            data = registry.tree.read(path)
        except PathNotFoundError:
            return None
        digest = sha256_hex(data)
        store.put(digest, BytesIO(data), len(data))
        return digest

    wanted = list(paths)
    kept = zip(wanted, several(keep, wanted), strict=True)
    return {path: digest for path, digest in kept if digest is not None}


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    write_file_durably(target, source.read_bytes(), mode=0o600)


def digest_of(path: Path) -> list[Any]:
    """[sha256, size] of a file."""
    with path.open("rb") as file:
        size, digest = hash_stream(file)
    return [digest, size]


def read_json(path: Path) -> dict[str, Any]:
    """Raises RegistryError (``backup-damaged``) for anything but a JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, FileNotFoundError) as error:
        raise RegistryError(
            "backup-damaged", f"{path}: expected a JSON object, found {type(error).__name__}"
        ) from None
    if not isinstance(value, dict):
        raise RegistryError("backup-damaged", f"{path}: expected a JSON object, found another")
    return value


def find_backup(target: Path, name: str | None) -> tuple[Path, Manifest]:
    """The folder and the manifest of the newest backup in ``target``, or of the one of that name,
    with every file in it verified.

    Raises:
        RegistryError: there is none (``backup-not-found``), or it is not as it was made
            (``backup-damaged``).
    """
    marker = read_json(target / MARKER) if (target / MARKER).exists() else {}
    whole = sorted(
        folder.name for folder in (target / "backups").glob("*") if (folder / MANIFEST).is_file()
    )
    if not marker or not whole or (name is not None and name not in whole):
        raise RegistryError(
            "backup-not-found",
            f"{target}: expected {name or 'a backup'}, found {', '.join(whole[-5:]) or 'none'}",
        )
    folder = target / "backups" / (name or whole[-1])
    try:
        manifest = Manifest(**read_json(folder / MANIFEST))
    except TypeError:
        raise RegistryError(
            "backup-damaged", f"{folder / MANIFEST}: made by another version of forge-server"
        ) from None
    for file, expected in manifest.files.items():
        found = digest_of(folder / file) if (folder / file).is_file() else ["nothing", 0]
        if found != expected:
            raise RegistryError(
                "backup-damaged",
                f"{folder / file}: expected sha256 {expected[0]}, found {found[0]}",
                "restore another backup: --backup NAME",
            )
    return folder, manifest
