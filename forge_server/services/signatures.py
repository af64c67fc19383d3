"""New bundles for releases that are there: another key of the project signs the same files.

The order is the one of publishing: the bundle is a durable blob before the transaction that
mentions it, and the transaction is committed before the published tree announces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from signing.digests import sha256_hex
from signing.keys import PublicKey
from signing.manifest import MAX_MANIFEST_BYTES
from signing.names import ComponentName
from signing.resign import check_resign
from signing.roles import role_version
from storage import BlobStore

from ..db.engine import Database
from ..db.models import Release
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .components import find_release
from .incoming import Incoming
from .leases import BlobsGoneError
from .publication import Publication
from .rolebook import add_role, require_role

MAX_BUNDLES = 200  # in one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Resigned:
    """The project role's version and the snapshot that announces it."""

    role_version: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class Signatures:
    database: Database
    audit: Audit
    publication: Publication
    blobs: BlobStore
    incoming: Incoming
    clock: Clock

    def resign(
        self, caller: Caller, component: ComponentName, role: bytes, bundles: Mapping[str, bytes]
    ) -> Resigned:
        """Takes ``{version: bundle}`` and the project's role that lists them.

        Raises:
            RegistryError: no right to publish, no such version, too many bundles.
            SigningError: something does not hold, or came too late.
        """
        self.incoming.require_publisher(caller, component)
        if not 1 <= len(bundles) <= MAX_BUNDLES:
            raise RegistryError(
                "malformed",
                f"request: bundles: expected 1 to {MAX_BUNDLES}, found {len(bundles)}",
            )
        signers = self._check(component, role, bundles)
        held = self.incoming.store_small(component.org, bundles.values())
        try:
            with self.database.write() as session:
                self.incoming.leases.settle(session, map(sha256_hex, bundles.values()), held)
                version = role_version(role)
                add_role(session, component.role, version, role, self.clock())
                for number, bundle in bundles.items():
                    self._record(session, caller, component, number, bundle, signers[number])
                snapshot = self.publication.announce(session)
        except BlobsGoneError:
            raise RegistryError("busy", f"{component}: the registry is tidying up") from None
        self.publication.materialise()
        return Resigned(role_version=version, snapshot=snapshot)

    def _check(
        self, component: ComponentName, role: bytes, bundles: Mapping[str, bytes]
    ) -> dict[str, PublicKey]:
        with self.database.read() as session:
            current = require_role(session, component.role)
            organisation = require_role(session, component.org)
            digests = {
                version: _release(session, component, version).manifest_sha256
                for version in bundles
            }
        resigned = {}
        for version, bundle in bundles.items():
            with self.blobs.open(digests[version]) as file:
                resigned[version] = (file.read(MAX_MANIFEST_BYTES), bundle)
        return check_resign(resigned, component, role, current, organisation, self.clock())

    def _record(
        self,
        session: Session,
        caller: Caller,
        component: ComponentName,
        version: str,
        bundle: bytes,
        key: PublicKey,
    ) -> None:
        row = _release(session, component, version)
        row.bundle_sha256 = sha256_hex(bundle)
        row.publisher_key = key.keyid
        row.stored_at = None  # the new bundle goes into the published tree
        self.audit.record(
            session, caller, "release.resign", f"{component}=={version}", keyid=key.keyid
        )


def _release(session: Session, component: ComponentName, version: str) -> Release:
    row = find_release(session, component, version)
    if row is None:
        raise RegistryError(
            "component-not-found", f"{component}: expected a release {version:.60}, found none"
        )
    return row
