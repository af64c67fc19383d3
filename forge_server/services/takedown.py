"""Taking a release down by order of an authority: its files are deleted, a tombstone stays.

One transaction writes down that it happened and takes away what made the release hold its files;
blobs that no other release holds are doomed in it and deleted after it, under the collector's lock
(`services.leases`). A crash in between leaves nothing readable, and the next collection or
publisher finishes the deletion. The release's row, its place in the signed index and in the public
log stay: so its version can never be published again, and everybody can see what was done, why and
by which order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from signing.names import ComponentName
from signing.roles import check_reason
from storage import BlobNotFoundError, BlobStore

from ..db.engine import Database
from ..db.models import BlobLease, Component, Release, ReleaseFile, WheelMetadata
from ..db.recall_models import ReportRow, TakenBlob, Withholding
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .components import mark_changed
from .leases import Leases, add_leases, batches, referred
from .publication import Publication
from .quarantine import require_published, show
from .withheld import REMOVED, TAKEDOWN, put

MAX_REFERENCE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenDown:
    """``deleted`` of the release's ``blobs`` are gone; the others belong to further releases."""

    blobs: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Takedown:
    database: Database
    audit: Audit
    publication: Publication
    blobs: BlobStore
    leases: Leases
    clock: Clock

    def remove(
        self, caller: Caller, name: ComponentName, version: str, reason: str, reference: str
    ) -> TakenDown:
        """Deletes the files of a release for good.

        Raises:
            RegistryError: no such release (``not-found``), or it was taken down before
                (``taken-down``).
            MalformedError: a reason or a reference that is not one line of plain text.
            BackendError: the store failed; the next collection finishes the deletion.
        """
        check_reason(reason, required=True)
        check_reason(reference, "reference", required=True)
        with self.database.read() as session:
            release = require_published(session, name, version)
            sizes = self._sizes(_blobs_of(session, release))
        # The lock from the dooming to the last deletion, as the collector holds it.
        with self.leases.lock.held() as still_held:
            with self.database.write() as session:
                release = require_published(session, name, version)
                digests = self._write_down(session, caller, name, release, reason, reference)
                show(session, self.publication)
                deleted = self._doom(session, release.manifest_sha256, digests, sizes)
            self.leases.delete_doomed(still_held)
        self.publication.materialise()
        return TakenDown(blobs=len(digests), deleted=deleted)

    def _write_down(
        self,
        session: Session,
        caller: Caller,
        name: ComponentName,
        release: Release,
        reason: str,
        reference: str,
    ) -> Sequence[str]:
        digest, now = release.manifest_sha256, self.clock()
        if session.get(Withholding, (digest, TAKEDOWN)) is not None:
            raise RegistryError("taken-down", f"{name}=={release.version}: taken down already")
        put(
            session, TAKEDOWN, name, release.version, digest, REMOVED, reason, now,
            reference[:MAX_REFERENCE],
        )  # fmt: skip
        session.execute(
            update(ReportRow)
            .where(ReportRow.manifest_sha256 == digest, ReportRow.closed_at.is_(None))
            .values(closed_at=now)
        )
        self.audit.record(
            session, caller, "release.takedown", f"{name}=={release.version}",
            manifest_sha256=digest, reason=reason, reference=reference,
        )  # fmt: skip
        mark_changed(session, Component.id == release.component_id)
        digests = _blobs_of(session, release)
        session.execute(delete(ReleaseFile).where(ReleaseFile.release_id == release.id))
        return digests

    def _doom(
        self, session: Session, manifest: str, digests: Sequence[str], sizes: Mapping[str, int]
    ) -> int:
        """Marks those of the blobs that nothing refers to any more for deletion; how many."""
        now, alone = self.clock(), 0
        for batch in batches(digests):
            kept = referred(session, batch)
            free = [each for each in batch if each not in kept]
            leased = set(
                session.scalars(select(BlobLease.sha256).where(BlobLease.sha256.in_(free)))
            )
            new = {each: sizes.get(each, 0) for each in free if each not in leased}
            add_leases(session, new, None, now)
            session.execute(
                update(BlobLease).where(BlobLease.sha256.in_(free)).values(doomed_at=now)
            )
            # What was read out of a wheel is a part of it.
            session.execute(delete(WheelMetadata).where(WheelMetadata.sha256.in_(free)))
            for each in free:
                session.merge(TakenBlob(sha256=each, manifest_sha256=manifest))
            alone += len(free)
        return alone

    def _sizes(self, digests: Sequence[str]) -> dict[str, int]:
        sizes = {}
        for digest in digests:
            try:
                sizes[digest] = self.blobs.stat(digest).size
            except BlobNotFoundError:
                continue
        return sizes


def _blobs_of(session: Session, release: Release) -> list[str]:
    """The files of the release and their chunk lists; its manifest and signature stay."""
    rows = session.execute(
        select(ReleaseFile.sha256, ReleaseFile.chunks).where(ReleaseFile.release_id == release.id)
    )
    return sorted({str(digest) for row in rows for digest in row if digest is not None})
