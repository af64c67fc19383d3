"""The composition root: from a data folder to services that work on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from signing.errors import MalformedError
from storage import LocalAssembly, LocalBlobStore, LocalPublishedTree

from .db.engine import Database, open_database
from .errors import RegistryError
from .services.accounts import Accounts
from .services.audit import Audit
from .services.catalogue import Catalogue
from .services.chunk_checks import ChunkChecks
from .services.clock import Clock
from .services.health import Health
from .services.locks import FolderLock
from .services.log import TransparencyLog
from .services.log_files import LogFiles, why_rewound
from .services.log_keys import LogKeys
from .services.online_keys import ONLINE_ROLES, KeyRing
from .services.organisations import Organisations
from .services.publication import Publication
from .services.releases import Releases
from .services.roles import Roles
from .services.signatures import Signatures
from .services.slow_work import SlowWork
from .services.throttle import Throttle
from .services.uploads import Uploads
from .services.witnesses import Witnesses, parse_witness
from .settings import DataFolder, Settings, read_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Everything that the shells (HTTP, commands) may call."""

    folder: DataFolder
    settings: Settings
    fingerprint: str | None  # None until an authority is adopted
    database: Database
    tree: LocalPublishedTree
    blobs: LocalBlobStore
    audit: Audit
    accounts: Accounts
    organisations: Organisations
    roles: Roles
    releases: Releases
    uploads: Uploads
    signatures: Signatures
    health: Health
    catalogue: Catalogue
    publication: Publication
    log: TransparencyLog
    throttle: Throttle
    clock: Clock


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
    database = open_database(folder.database)
    tree = LocalPublishedTree(folder.public)
    blobs = LocalBlobStore(folder.blobs)
    audit = Audit(database, clock)
    keys = KeyRing(folder.keys)
    _require_keys(keys)
    log_keys = LogKeys(folder.keys)
    try:
        log_keys.verifiers()  # what cannot be read is said now, and not at the first publish
    except RegistryError as error:
        raise RegistryError("keys-missing", f"{folder.keys}: {error.message}") from error
    log = TransparencyLog(log_keys, clock)
    log.attach(database.writing)
    publication = Publication(
        database=database,
        tree=tree,
        blobs=blobs,
        keys=keys,
        clock=clock,
        lock=FolderLock(folder.locks / "publish.lock"),
        log=LogFiles(database, tree, clock, _witnesses(folder, settings, database).cosign),
        log_keys=log_keys,
        rewound=why_rewound(database, tree),
    )
    work = SlowWork()
    chunk_checks = ChunkChecks(database, blobs, clock, work)
    releases = Releases(database, audit, publication, blobs, chunk_checks, clock)
    return Registry(
        folder=folder,
        settings=settings,
        fingerprint=read_fingerprint(folder),
        database=database,
        tree=tree,
        blobs=blobs,
        audit=audit,
        accounts=Accounts(database, audit, clock, os.urandom),
        organisations=Organisations(
            database, audit, publication, clock, settings.max_pending_applications
        ),
        roles=Roles(database, audit, publication, clock),
        releases=releases,
        uploads=Uploads(
            database,
            audit,
            releases,
            blobs,
            LocalAssembly(blobs, folder.blobs),
            chunk_checks,
            work,
            clock,
        ),
        health=Health(database, publication, clock),
        signatures=Signatures(database, audit, publication, blobs, releases, clock),
        catalogue=Catalogue(database, clock),
        publication=publication,
        log=log,
        throttle=Throttle(settings.max_failures_per_minute),
        clock=clock,
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


def _witnesses(folder: DataFolder, settings: Settings, database: Database) -> Witnesses:
    try:
        return Witnesses(
            database,
            [parse_witness(text, f"witnesses[{at}]") for at, text in enumerate(settings.witnesses)],
            settings.witness_timeout_seconds,
        )
    except MalformedError as error:
        raise RegistryError(
            "settings-malformed", f"{folder.settings}: {error.message}", "correct the file"
        ) from None


def read_fingerprint(folder: DataFolder) -> str | None:
    """The root's fingerprint; None before an authority is adopted."""
    try:
        return folder.fingerprint.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
