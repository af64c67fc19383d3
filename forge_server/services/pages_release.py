"""One release as a page shows it: every check that a client makes, made here with what it saw; and
which releases a digest belongs to.

The server makes the very checks that ``forge verify`` makes. That it says so proves nothing to
anybody, which is why the page names the command that does; but a reader sees what is looked at,
and an operator sees at once what does not hold.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.component import FILE_NAME, MAX_TOML_BYTES
from signing.evidence import Evidence
from signing.manifest import FILE as MANIFEST
from signing.names import ComponentName
from signing.oms import FILE as BUNDLE
from signing.report import Check, Report
from signing.status import ROLE as STATUS
from signing.status import Withheld
from signing.tlog.merkle import prove_inclusion
from signing.tlog.proof import LogProof
from signing.verify import verify_release
from storage import BlobNotFoundError, BlobStore, PathNotFoundError, PublishedTree

from ..db.engine import Database
from ..db.models import Component, LogCheckpoint, MetadataVersion, Release, ReleaseFile
from .clock import Clock
from .log import hash_reader
from .pages_component import require_release
from .publication import target_path
from .rolebook import current_role, current_row, head_version
from .withheld import withheld_by_digest

_MAX_KEPT: Final = 128
MAX_FOUND: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A signed release that a digest belongs to. ``path`` is the file's; None where the digest is
    that of the release's manifest or signature, which ``what`` says."""

    component: str
    version: str
    what: str  # "file", "manifest" or "bundle"
    path: str | None
    published_at: datetime
    yanked: str | None
    withheld: Withheld | None


@dataclass(frozen=True, slots=True)
class ReleasePages:
    """``fingerprint`` is the pinned one of the first root; None before an authority is adopted.

    Verified reports are kept while nothing in the registry changed.
    """

    database: Database
    tree: PublishedTree
    blobs: BlobStore
    fingerprint: str | None
    clock: Clock
    _kept: OrderedDict[tuple[str, int], Report] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def checks(self, name: ComponentName, version: str) -> Sequence[Check]:
        """Every check in order; none where the registry has no authority yet.

        Raises:
            RegistryError: no such release (``not-found``).
        """
        if self.fingerprint is None:
            return ()
        with self.database.read() as session:
            release = require_release(session, name, version)
            key = (release.manifest_sha256, head_version(session, "timestamp"))
            with self._lock:
                kept = self._kept.get(key)
            if kept is not None:
                return kept.checks
            evidence = self._evidence(session, name, release)
            toml = session.scalar(
                select(ReleaseFile.sha256).where(
                    ReleaseFile.release_id == release.id, ReleaseFile.path == FILE_NAME
                )
            )
        if evidence is None:
            return ()
        report = verify_release(
            evidence,
            name,
            Version(version),
            fingerprint=self.fingerprint,
            now=self.clock(),
            observed=None,
            forge_toml=None if toml is None else self.small_blob(toml, MAX_TOML_BYTES),
        )
        with self._lock:
            self._kept[key] = report
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return report.checks

    def small_blob(self, digest: str, max_bytes: int) -> bytes | None:
        """The bytes of a blob; None where it is gone or longer."""
        try:
            with self.blobs.open(digest) as file:
                data = file.read(max_bytes + 1)
        except BlobNotFoundError:
            return None
        return data if len(data) <= max_bytes else None

    def _evidence(self, session: Session, name: ComponentName, release: Release) -> Evidence | None:
        roots = session.scalars(
            select(MetadataVersion.data)
            .where(MetadataVersion.role == "root")
            .order_by(MetadataVersion.version)
        ).all()
        chain = {role: current_role(session, role) for role in ("targets", "registrar", name.org)}
        project = current_row(session, name.role)
        files = [
            target_path(name.org, name.name, release.version, file, digest)
            for file, digest in (
                (MANIFEST, release.manifest_sha256),
                (BUNDLE, release.bundle_sha256),
            )
        ]
        try:
            manifest, bundle = map(self.tree.read, files)
        except PathNotFoundError:  # committed, and not published yet
            return None
        targets, registrar, organisation = chain.values()
        if targets is None or registrar is None or organisation is None or project is None:
            return None
        return Evidence(
            roots=tuple(roots),
            targets=targets,
            registrar=registrar,
            organisation=organisation,
            project=project.data,
            manifest=manifest,
            bundle=bundle,
            refreshed_at=self.clock(),
            log_proof=_log_proof(session, project.log_index),
            status=current_role(session, STATUS),
        )

    def find(self, digests: Sequence[str]) -> list[Found]:
        """Signed releases that contain, or are, one of ``digests``; newest first, at most fifty."""
        columns = (Component.organisation, Component.name, Release)
        joined = select(*columns).join(Component, Release.component_id == Component.id)
        newest = (Release.published_at.desc(), Release.id.desc())
        with self.database.read() as session:
            withheld = withheld_by_digest(session)
            found = [
                _found(row, what, None, withheld.get(row[2].manifest_sha256))
                for what, column in (
                    ("manifest", Release.manifest_sha256),
                    ("bundle", Release.bundle_sha256),
                )
                for row in session.execute(
                    joined.where(column.in_(digests)).order_by(*newest).limit(MAX_FOUND)
                )
            ]
            rows = session.execute(
                select(*columns, ReleaseFile.path)
                .join(Component, Release.component_id == Component.id)
                .join(ReleaseFile, ReleaseFile.release_id == Release.id)
                .where(ReleaseFile.sha256.in_(digests))
                .order_by(*newest)
                .limit(MAX_FOUND)
            )
            found += [
                _found(row, "file", row[3], withheld.get(row[2].manifest_sha256)) for row in rows
            ]
        return found[:MAX_FOUND]


def _log_proof(session: Session, index: int | None) -> bytes | None:
    """The proof that leaf ``index`` stands under the newest published checkpoint."""
    checkpoint = session.scalar(
        select(LogCheckpoint)
        .where(LogCheckpoint.published_at.is_not(None))
        .order_by(LogCheckpoint.size.desc())
        .limit(1)
    )
    if checkpoint is None or index is None or index >= checkpoint.size:
        return None
    hashes = prove_inclusion(index, checkpoint.size, hash_reader(session, checkpoint.size))
    note = checkpoint.cosigned or checkpoint.note
    return LogProof(index=index, hashes=tuple(hashes), checkpoint=note).to_bytes()


def _found(
    row: Sequence[object], what: str, path: str | None, withheld: Withheld | None
) -> Found:  # fmt: skip
    organisation, name, release = row[:3]
    assert isinstance(release, Release)
    return Found(
        component=f"{organisation}/{name}",
        version=release.version,
        what=what,
        path=path,
        published_at=release.published_at,
        yanked=release.yanked,
        withheld=withheld,
    )
