"""The composition root: from a data folder to services that work on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from signing.authority import check_online_keys
from signing.errors import SigningError
from signing.keys import load_private_key
from storage import LocalBlobStore, LocalPublishedTree

from .db.engine import Database, open_database
from .errors import RegistryError
from .services.accounts import Accounts
from .services.audit import Audit, Clock
from .services.catalogue import Catalogue
from .services.health import Health
from .services.locks import FolderLock
from .services.organisations import Organisations
from .services.publication import OnlineKeys, Publication
from .services.releases import Releases
from .services.rolebook import current_role
from .services.roles import Roles
from .services.signatures import Signatures
from .services.throttle import Throttle
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
    signatures: Signatures
    health: Health
    catalogue: Catalogue
    publication: Publication
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
    keys = read_online_keys(folder)
    publication = Publication(
        database=database,
        tree=tree,
        blobs=blobs,
        keys=keys,
        clock=clock,
        lock=FolderLock(folder.locks / "publish.lock"),
        read_only=_why_read_only(database, keys),
    )
    releases = Releases(database, audit, publication, blobs, clock)
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
        health=Health(database, publication, clock),
        signatures=Signatures(database, audit, publication, blobs, releases, clock),
        catalogue=Catalogue(database, clock),
        publication=publication,
        throttle=Throttle(settings.max_failures_per_minute),
        clock=clock,
    )


def read_online_keys(folder: DataFolder) -> OnlineKeys:
    """The server's two private keys."""
    try:
        snapshot, timestamp = (
            load_private_key((folder.keys / f"{role}.pem").read_bytes())
            for role in ("snapshot", "timestamp")
        )
    except OSError as error:
        raise RegistryError(
            "keys-missing",
            f"{folder.keys}: expected snapshot.pem and timestamp.pem, found neither or "
            f"no permission ({error.strerror})",
        ) from error
    return OnlineKeys(snapshot, timestamp)


def read_fingerprint(folder: DataFolder) -> str | None:
    """The root's fingerprint; None before an authority is adopted."""
    try:
        return folder.fingerprint.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _why_read_only(database: Database, keys: OnlineKeys) -> str | None:
    with database.read() as session:
        root = current_role(session, "root")
    if root is None:
        return "no authority has been adopted yet"
    try:
        check_online_keys(root, keys.snapshot.public, keys.timestamp.public)
    except SigningError as error:
        return f"its online keys are not those that the root lists ({error.message})"
    return None
