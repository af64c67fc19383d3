"""Making a registry: its data folder and, for development, an authority beside it.

All or nothing: everything is made in folders beside the final places and moved there at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from signing.authority import Authority, new_authority
from signing.digests import fingerprint
from signing.keys import PrivateKey, generate_key
from signing.tlog.checkpoint import log_key
from signing.tlog.note import NoteKey
from signing.tlog.policy import LogPolicy

from ..db.migrate import empty_again, is_empty, migrate
from ..db.url import DatabaseUrl
from ..errors import RegistryError
from ..settings import TEMPLATE, DataFolder, read_settings
from ..stores import require_usable
from ..wiring import utc_now
from .adopt import adopt

AUTHORITY_README = """\
DEVELOPMENT ONLY. DO NOT USE THIS AUTHORITY FOR ANYTHING REAL.

Every key of the authority lies here, in one folder, without a passphrase, on the machine that
runs the registry. Whoever can read this folder can approve any organisation and take over any
name. It exists so that the whole way can be tried on one machine.

For a real registry the authority makes its keys elsewhere (forge authority init), and the
server only ever sees what they signed.

    root.pem targets.pem registrar.pem    the authority's keys
    status.pem                            the status host's, where there is one
    metadata/                             what they signed first
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What was made. ``fingerprint`` and ``authority`` are None without a development
    authority."""

    folder: DataFolder
    fingerprint: str | None
    authority: Path | None


def initialise(
    root: Path,
    *,
    dev: bool,
    log_origin: str | None = None,
    with_status: bool = False,
    database: str | None = None,
    settings: Path | None = None,
) -> Initialised:
    """Makes the data folder ``root`` and, with ``dev``, ``root``-authority beside it; an authority
    that names a status host where ``with_status`` says so.

    ``log_origin`` is the name of the public log, for instance ``registry.example/log``; it can
    never be changed. None makes one up. ``database`` is the URL of an empty PostgreSQL database;
    None makes a SQLite file in the folder. ``settings`` is a file to begin with; it may be the
    folder's own ``server.toml``, written before.

    Raises:
        RegistryError: one of the folders, or the object store that the settings name, is there and
            not empty (``folder-not-empty``), or the database is not (``database-not-empty``);
            settings that are not understood, or two databases.
        BackendError: that object store cannot be used.
        MalformedError: a log's name with spaces or plus in it, or no such URL.
    """
    root = Path(os.path.abspath(root))
    authority_folder = root.with_name(f"{root.name}-authority") if dev else None
    own = _own_settings(root, settings)
    require_empty(root, but=own)
    if authority_folder is not None:
        require_empty(authority_folder)
    root.parent.mkdir(parents=True, exist_ok=True)
    now = utc_now()
    text, database = _first_settings(root, settings, database)
    read = "" if own is None else own.read_text(encoding="utf-8")
    url = None if database is None else DatabaseUrl.parse(database, "--database")
    with (
        _staging(root) as staged,
        _staging(authority_folder or root) as staged_authority,
        _schema(url or DatabaseUrl.of_file(DataFolder(staged).database)),
    ):
        keys, log = _make_data_folder(DataFolder(staged), log_origin, text, url)
        mark = None
        if dev:
            made = new_authority(
                now,
                keys["snapshot"].public,
                keys["timestamp"].public,
                LogPolicy(keys=(log,)),
                with_status=with_status,
            )
            mark = _make_authority(staged_authority, made, now)
            adopt(DataFolder(staged), staged_authority / "metadata")
        if authority_folder is not None:
            os.rename(staged_authority, authority_folder)
        try:
            if own is not None:
                own.unlink()  # its words are in the new folder's; put back where that fails
            os.rename(staged, root)
        except OSError:
            if own is not None and not own.exists():
                own.write_text(read, encoding="utf-8")
            if authority_folder is not None:
                shutil.rmtree(authority_folder, ignore_errors=True)
            raise
    return Initialised(folder=DataFolder(root), fingerprint=mark, authority=authority_folder)


def _first_settings(root: Path, path: Path | None, database: str | None) -> tuple[str, str | None]:
    """(text of the settings, URL of the database), once it is clear that a registry can be made
    with them."""
    text = TEMPLATE
    if path is not None:
        found = read_settings(path)
        require_usable(DataFolder(root), found, empty=True)
        text = path.read_text(encoding="utf-8")
        if found.database and database is not None:
            raise RegistryError(
                "settings-malformed",
                f"{path}: expected no database beside --database, found {found.database}",
                "name the database in one place",
            )
        if found.database:
            return text, found.database
    if database is not None:
        text = f"{text}\ndatabase = {json.dumps(database)}\n"
    return text, database


def _own_settings(root: Path, settings: Path | None) -> Path | None:
    """``settings`` where it is the file that the registry in ``root`` will read: written there
    before, it becomes the first of what is in the folder.

    Raises:
        RegistryError: it is in there under another name, or a link, which is not ours to replace.
    """
    if settings is None:
        return None
    own, there = DataFolder(root).settings, Path(os.path.abspath(settings))
    if there == own and not own.is_symlink():
        return own
    if root in there.parents:
        raise RegistryError(
            "folder-not-empty",
            f"{settings}: expected settings outside of the new folder, or in its file {own.name}",
            f"call it {own}, or move it out of the folder",
        )
    return None


def require_empty(folder: Path, *, but: Path | None = None) -> None:
    """Raises RegistryError when something is at ``folder`` that is not an empty folder, or one
    that holds nothing ``but`` that."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir() or any(each != but for each in folder.iterdir()):
        raise RegistryError(
            "folder-not-empty",
            f"{folder}: expected nothing or an empty folder, found something",
            "choose another folder, or move that one away",
        )


@contextmanager
def _staging(final: Path) -> Iterator[Path]:
    """A private folder beside ``final``, gone afterwards unless it was moved."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))  # mode 0700
    except OSError as error:  # with the name that was asked for, not the one made up here
        raise OSError(error.errno, error.strerror, str(final)) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _schema(url: DatabaseUrl) -> Iterator[None]:
    """The tables, gone again where what follows fails."""
    found_empty = url.file is not None or is_empty(url)
    # Another `init` may have been quicker since: then the schema is there, and is not ours.
    if not found_empty or migrate(url)[0] is not None:
        raise RegistryError(
            "database-not-empty",
            f"{url}: expected an empty database, found tables in it",
            "make another database, with createdb for instance",
        )
    try:
        yield
    except BaseException:
        if url.file is None:
            empty_again(url)
        raise


def _make_data_folder(
    folder: DataFolder, origin: str | None, settings: str, url: DatabaseUrl | None
) -> tuple[dict[str, PrivateKey], NoteKey]:
    for path in (folder.blobs, folder.public, folder.keys, folder.locks):
        path.mkdir()
    os.chmod(folder.keys, 0o700)
    os.chmod(folder.root, 0o750)  # noqa: S103  a proxy in our group may serve public/
    folder.settings.write_text(settings, encoding="utf-8")
    keys = {role: generate_key("ed25519") for role in ("snapshot", "timestamp", "log")}
    for role, key in keys.items():
        write_private(folder.keys / f"{role}.pem", key.to_pem(None))
    log = log_key(origin or f"localhost/forge-{os.urandom(6).hex()}", keys["log"])
    (folder.keys / "log.vkey").write_text(f"{log.vkey}\n", encoding="utf-8")
    public = {role: keys[role].public.pem.decode() for role in ("snapshot", "timestamp")}
    public["log"] = log.vkey
    folder.online_keys.write_text(json.dumps(public, indent=2) + "\n", encoding="ascii")
    if url is None:
        os.chmod(folder.database, 0o600)
    return keys, log


def _make_authority(folder: Path, made: Authority, now: datetime) -> str:
    metadata = folder / "metadata"
    metadata.mkdir()
    for name, data in made.metadata.items():
        (metadata / name).write_bytes(data)
    for role in ("root", "targets", "registrar", "status"):
        key: PrivateKey | None = getattr(made, f"{role}_key")
        if key is not None:
            write_private(folder / f"{role}.pem", key.to_pem(None))
    (folder / "README").write_text(f"{AUTHORITY_README}\nMade {now:%Y-%m-%d}.\n", encoding="utf-8")
    return fingerprint(made.metadata["1.root.json"])


def write_private(path: Path, data: bytes) -> None:
    """Creates ``path``, readable by its owner alone from the first moment."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
