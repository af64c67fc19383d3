"""The blobs of releases that are to be published: who may bring them, which are missing, and how
long what was brought stays without being published."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO

from sqlalchemy.orm import Session

from signing.digests import sha256_hex
from signing.errors import VerificationError
from signing.manifest import Manifest
from signing.names import ComponentName
from storage import BlobNotFoundError, BlobStore
from storage.hashing import Readable

from ..db.engine import Database
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller, Identity
from .chunk_checks import ChunkChecks
from .leases import BlobsGoneError, Held, Leases, batches, referred
from .publication import Publication
from .quotas import Quotas
from .rights import require_member


@dataclass(frozen=True, slots=True)
class Incoming:
    database: Database
    audit: Audit
    publication: Publication
    blobs: BlobStore
    chunk_checks: ChunkChecks
    leases: Leases
    quotas: Quotas

    def store_small(self, organisation: str, blobs: Iterable[bytes]) -> dict[str, str]:
        """Stores manifests and bundles; returns their leases."""
        return self.store(organisation, by_digest(blobs))

    def store(self, organisation: str, data: Mapping[str, bytes]) -> dict[str, str]:
        """Stores small blobs by their digests; returns their leases."""
        sizes = {digest: len(each) for digest, each in data.items()}
        held = self.leases.hold(sizes, organisation)
        for digest, each in data.items():
            self.blobs.put(digest, BytesIO(each), len(each))
        return held

    def receive(
        self,
        caller: Caller,
        component: ComponentName,
        digest: str,
        stream: Readable,
        size: int,
        chunks: str | None = None,
    ) -> bool:
        """Stores a blob for a release of ``component``; False when it was here already, in
        which case ``stream`` is not read. ``chunks`` is the chunk list that the release will
        name for it; with it the bytes are compared with that as they come.

        Raises:
            RegistryError: no right to publish, or the chunk list is not here.
            BlobMismatchError: the bytes are not those of ``digest``.
            VerificationError: the bytes are not those that ``chunks`` lists.
        """
        with self.database.read() as session:
            self.check_publisher(session, identity_of(caller), component)
            state = self.quotas.state(session, component.org)
            refusal = self.quotas.why_no_room_for_upload(session, state, size)
            is_going = self.leases.is_going(session, digest)
        if not self.blobs.missing([digest]) and self.keep(component, digest, size):
            return False
        if refusal is not None:
            raise refusal
        if is_going:
            self.leases.finish()
        if chunks is not None:
            stream = self.chunk_checks.watched(stream, chunks, digest, size)
        self.blobs.put(digest, stream, size)
        self.record(caller, component, digest, size, chunks)
        return True

    def keep(self, component: ComponentName, digest: str, size: int) -> bool:
        """Makes sure that a blob which is here stays for a while; False when it went just now."""
        with self.database.read() as session:
            if referred(session, [digest]):
                return True
        self.leases.hold({digest: size}, component.org)
        return not self.blobs.missing([digest])

    def record(
        self,
        caller: Caller,
        component: ComponentName,
        digest: str,
        size: int,
        chunks: str | None = None,
    ) -> None:
        """To be called when a blob for ``component`` has been put into the store. ``chunks`` is the
        list with which all of it was compared meanwhile."""
        try:
            with self.database.write() as session:
                self.leases.arrived(session, digest, size, component.org)
                if chunks is not None:
                    self.chunk_checks.record(session, chunks, digest)
                self.audit.record(
                    session, caller, "blob.store", str(component), sha256=digest, size=size
                )
        except BlobsGoneError:
            raise RegistryError(
                "busy", f"blob {digest}: it was being deleted; send it again"
            ) from None

    def size_of(self, caller: Caller, component: ComponentName, digest: str) -> int | None:
        """The size of a blob that is here; None when it is not. For publishers alone."""
        self.require_publisher(caller, component)
        if self.blobs.missing([digest]):
            return None
        return self.blobs.stat(digest).size

    def require_publisher(self, caller: Caller, component: ComponentName) -> None:
        """Raises RegistryError unless the caller may publish ``component``."""
        with self.database.read() as session:
            self.check_publisher(session, identity_of(caller), component)

    def require_room(self, caller: Caller, component: ComponentName, size: int) -> None:
        """Raises RegistryError unless the caller may publish a release of ``component`` of that
        many bytes, as an offer of it would."""
        with self.database.read() as session:
            self.check_publisher(session, identity_of(caller), component)
            self.quotas.require_room_for_release(self.quotas.state(session, component.org), size)

    def check_publisher(
        self, session: Session, identity: Identity, component: ComponentName
    ) -> None:
        """`require_publisher` in a transaction of the caller's."""
        self.publication.check_writable(session)
        identity.require("publish", organisation=component.org, component=str(component))
        require_member(session, identity, component.org, "publisher")

    def find(self, manifest: Manifest, fresh: Held) -> tuple[dict[str, str], dict[str, int | None]]:
        """The leases of all blobs, looked up before the store was, and what is missing in it.
        ``fresh`` are leases of blobs that were stored under them a moment ago."""
        wanted = blobs_of(manifest).keys() - fresh.keys()
        if not wanted:
            return dict(fresh), {}
        with self.database.read() as session:
            held = {**fresh, **self.leases.look(session, wanted)}
            loose = [
                digest
                for batch in batches(digest for digest in wanted if digest not in held)
                for digest in set(batch) - referred(session, batch)
            ]
        missing = self.missing(manifest, wanted)
        if missing or not loose:
            return held, missing
        # Here from before there were leases, or about to go: take them, and look again.
        sizes = {digest: self._size(digest) for digest in loose}
        held |= self.leases.hold(sizes, manifest.component.org)
        return held, self.missing(manifest, wanted)

    def _size(self, digest: str) -> int:
        try:
            return self.blobs.stat(digest).size
        except BlobNotFoundError:
            return 0  # the next look says so

    def missing(
        self, manifest: Manifest, those: Collection[str] | None = None
    ) -> dict[str, int | None]:
        """Which blobs are not in the store, of all or of ``those``."""
        blobs = blobs_of(manifest)
        wanted = {each: blobs[each] for each in (blobs if those is None else those)}
        missing = self.blobs.missing(wanted)
        for digest, size in wanted.items():
            if digest not in missing and size is not None:
                try:
                    _require_size(manifest, digest, size, self.blobs.stat(digest).size)
                except BlobNotFoundError:
                    missing.add(digest)  # deleted since
        return {digest: wanted[digest] for digest in sorted(missing)}


def identity_of(caller: Caller) -> Identity:
    if caller.identity is None:
        raise RegistryError("not-authenticated", "expected an access token, found none")
    return caller.identity


def blobs_of(manifest: Manifest) -> dict[str, int | None]:
    """``{digest: size in bytes}`` of all files, and of their chunk lists with size None."""
    lists = {entry.chunks: None for entry in manifest.files if entry.chunks is not None}
    return lists | manifest.blobs()


def by_digest(blobs: Iterable[bytes]) -> dict[str, bytes]:
    return {sha256_hex(each): each for each in blobs}


def _require_size(manifest: Manifest, digest: str, expected: int, found: int) -> None:
    if expected != found:
        raise VerificationError(
            "length-mismatch", f"{manifest}: blob {digest}", f"{expected} bytes", f"{found} bytes"
        )
