"""The composition root: from a data folder to services that work on it (`registry`)."""

from __future__ import annotations

from datetime import UTC, datetime

from .db.engine import Database, open_database
from .db.revisions import newest_revision, revision_of
from .errors import RegistryError
from .registry import Registry
from .services.clock import Clock
from .services.log import TransparencyLog
from .services.log_files import History
from .services.log_keys import LogKeys
from .services.online_keys import ONLINE_ROLES, KeyRing
from .settings import DataFolder, Settings, database_of, read_settings
from .stores import open_stores

__all__ = ["Registry", "open_registry", "read_fingerprint", "utc_now"]


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_registry(folder: DataFolder, *, clock: Clock = utc_now) -> Registry:
    """The services of the registry in ``folder``, which must be complete.

    Raises:
        RegistryError: no registry there, or settings that are not understood.
        KeyUnusableError: the online keys cannot be read.
    """
    folder.require()
    settings = read_settings(folder.settings)
    database = open_database(database_of(folder, settings))
    try:
        _require_schema(folder, database)
        return _assemble(folder, settings, database, clock)
    except BaseException:
        database.dispose()
        raise


def _assemble(folder: DataFolder, settings: Settings, database: Database, clock: Clock) -> Registry:
    stores = open_stores(folder, settings)
    keys = KeyRing(folder.keys)
    _require_keys(keys)
    log_keys = LogKeys(folder.keys)
    try:
        log_keys.verifiers()  # what cannot be read is said now, and not at the first publish
    except RegistryError as error:
        raise RegistryError("keys-missing", f"{folder.keys}: {error.message}") from error
    history = History(stores.tree)
    with database.read() as session:
        history.look(session)
    log = TransparencyLog(log_keys, clock, history.require)
    log.attach(database.writing)
    return Registry(
        folder=folder,
        settings=settings,
        fingerprint=read_fingerprint(folder),
        database=database,
        tree=stores.tree,
        blobs=stores.blobs,
        assembly=stores.assembly,
        keys=keys,
        log_keys=log_keys,
        history=history,
        log=log,
        clock=clock,
    )


def _require_schema(folder: DataFolder, database: Database) -> None:
    """Raises RegistryError when the database is not as this version of the program needs it."""
    with database.read() as session:
        revision = revision_of(session)
    if revision is None and database.url.file is None:
        raise RegistryError(
            "not-a-registry",
            f"{database.url}: expected a registry's database, found none",
            f"make one: forge-server init DIR --database {database.url}",
        )
    if revision != newest_revision():
        raise RegistryError(
            "schema-old",
            "database: expected the newest schema, found another",
            f"make a copy of the {'database' if database.url.file is None else 'folder'}, "
            f"then: forge-server migrate {folder.root}",
        )


def _require_keys(keys: KeyRing) -> None:
    """Says what cannot be read now, and not at the first publish."""
    try:
        missing = [role for role in ONLINE_ROLES if not keys.files(role)]
        why = ""
    except OSError as error:
        missing, why = list(ONLINE_ROLES), f" ({error.strerror})"
    if missing:
        raise RegistryError(
            "keys-missing",
            f"{keys.folder}: expected snapshot.pem and timestamp.pem, found no "
            f"{' or '.join(missing)} key{why}",
        )


def read_fingerprint(folder: DataFolder) -> str | None:
    """The root's fingerprint; None before an authority is adopted."""
    try:
        return folder.fingerprint.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
