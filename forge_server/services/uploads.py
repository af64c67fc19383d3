"""Uploads in parts: what a line that breaks, or a new version of an old file, needs.

A client says what the blob will be made of: parts that it sends, and pieces of blobs that are
public already. It sends the parts in any order, asks which are here after whatever happened, and
finishes. Nothing of it can be seen before the digest of the whole is right. The server keeps no
table of uploads: the name of one is made from the component and what the client said, so the same
offer by another process, from another machine, or after a restart of the server finds its parts.

Only bytes that anybody may download are copied from. Who publishes can so find out nothing about
files that others have sent and not published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from signing.chunks import ChunkCheck
from signing.names import ComponentName
from storage import (
    BlobAssembly,
    BlobStore,
    Limits,
    Part,
    PartAddress,
    Segment,
    UploadNotFoundError,
)
from storage.checks import check_digest
from storage.hashing import Readable

from ..errors import RegistryError
from .callers import Caller
from .chunk_checks import ChunkChecks, read_list
from .clock import Clock
from .incoming import Incoming
from .slow_work import SlowWork
from .withheld import HandedOut

ABANDONED_SECONDS = 24 * 3600
ADDRESS_SECONDS = 15 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """The blob that an upload shall become; ``chunks`` is the list that its release will name."""

    component: ComponentName
    digest: str
    size: int
    chunks: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """``parts`` are those that are here; ``stored`` that the whole blob is."""

    upload: str
    parts: frozenset[int] = frozenset()
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Uploads:
    incoming: Incoming
    handed_out: HandedOut
    blobs: BlobStore
    assembly: BlobAssembly
    chunk_checks: ChunkChecks
    work: SlowWork
    clock: Clock
    may_go_direct: bool = False

    @property
    def limits(self) -> Limits:
        return self.assembly.limits

    @property
    def direct(self) -> bool:
        """Whether parts may go straight to the store: it has addresses, and clients reach it."""
        return self.may_go_direct and self.limits.direct

    def begin(self, caller: Caller, blob: Blob, segments: Sequence[Segment]) -> Begun:
        """Opens an upload, or finds the one that was opened by the same offer.

        Raises:
            RegistryError: no right to publish; ``blob-not-found`` for a source that is not public;
                no room in the organisation's quota.
            InvalidArgumentError: a recipe that cannot be.
        """
        self.incoming.require_publisher(caller, blob.component)
        upload = _upload_of(blob, segments)
        if self._is_here(blob):
            return Begun(upload=upload, stored=True)
        self.incoming.quotas.require_room_for_upload(blob.component.org, blob.size)
        for source in {segment.source for segment in segments if segment.source is not None}:
            if not self.handed_out.is_public(source):
                raise RegistryError(
                    "blob-not-found", f"blob {source:.64} belongs to no published release"
                )
        self.sweep()
        name = _private(blob.component, upload)
        self.assembly.begin(name, blob.digest, blob.size, segments)
        return Begun(upload=upload, parts=frozenset(self.assembly.parts(name)))

    def require_open(self, caller: Caller, component: ComponentName, upload: str) -> str:
        """The store's name of the upload, if the caller may add to it."""
        self.incoming.require_publisher(caller, component)
        name = _private(component, upload)
        self.assembly.parts(name)
        return name

    def put_part(self, name: str, number: int, stream: Readable, size: int, sha256: str) -> None:
        """Stores a part of the upload that `require_open` named. Raises as the contract says."""
        self.assembly.put_part(name, number, stream, size, sha256)

    def addresses(self, name: str, parts: Sequence[Part]) -> list[PartAddress]:
        """Where parts of the upload that `require_open` named may be sent straight to the store,
        for `ADDRESS_SECONDS`; none where they may not. Whoever has such an address can store this
        part and nothing else. What came that way is believed no more than what comes through here:
        `finish` hashes the whole."""
        return self.assembly.part_addresses(name, parts, ADDRESS_SECONDS) if self.direct else []

    def finish(self, caller: Caller, blob: Blob, upload: str) -> bool:
        """Whether the blob is stored; False means that it is still being read: ask again.

        Raises:
            PartsMissingError, BlobMismatchError: as the contract of the assembly says.
            VerificationError: the bytes are not those that the chunk list lists.
        """
        self.incoming.require_publisher(caller, blob.component)
        name = _private(blob.component, upload)
        return self.work.run(f"upload {name}", lambda: self._assemble(caller, blob, name))

    def _assemble(self, caller: Caller, blob: Blob, name: str) -> None:
        was_here = self._is_here(blob)
        if not was_here:
            self.incoming.leases.make_way(blob.digest)
        watch = None
        if blob.chunks is not None and not was_here:
            chunks = read_list(self.blobs, blob.chunks, blob.size)
            known = self.chunk_checks.copied(chunks, self._recipe(name))
            watch = ChunkCheck(chunks, f"blob {blob.digest}", known=known)
        self.assembly.assemble(
            name, blob.digest, blob.size, None if watch is None else watch.update
        )
        if was_here:
            return
        compared = blob.chunks if watch is not None and watch.complete else None
        self.incoming.record(caller, blob.component, blob.digest, blob.size, compared)

    def _recipe(self, name: str) -> Sequence[Segment]:
        """What the blob is made of; nothing where somebody else has finished it."""
        with suppress(UploadNotFoundError):
            return self.assembly.recipe(name)
        return ()

    def _is_here(self, blob: Blob) -> bool:
        """Whether the blob is stored, and stays for long enough to be published."""
        if self.blobs.missing([check_digest(blob.digest)]):
            return False
        return self.incoming.keep(blob.component, blob.digest, blob.size)

    def abort(self, caller: Caller, component: ComponentName, upload: str) -> None:
        """Nothing is left of the upload."""
        self.incoming.require_publisher(caller, component)
        self.assembly.abort(_private(component, upload))

    def sweep(self) -> int:
        """Removes what nobody has added to for a day."""
        return self.assembly.sweep(ABANDONED_SECONDS, self.clock())


def _upload_of(blob: Blob, segments: Sequence[Segment]) -> str:
    """The same name for the same offer."""
    rows = [[each.length, each.source, each.start] for each in segments]
    text = json.dumps([blob.digest, blob.size, blob.chunks, rows])
    return hashlib.sha256(text.encode()).hexdigest()


def _private(component: ComponentName, upload: str) -> str:
    """The store's name of an upload. It depends on the component whose publishers may add to it,
    so that nobody else's request can mean the same one."""
    return hashlib.sha256(f"{component}\n{check_digest(upload)}".encode()).hexdigest()
