"""The rows of a release: written when it is published, and read when it is offered again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.orm import Session

from signing.manifest import Manifest
from signing.names import ComponentName
from signing.updates import Offer

from ..db.later import later
from ..db.models import Component, Release, ReleaseFile, table_of
from ..errors import RegistryError
from .callers import Identity
from .components import find_release, is_published, refresh_component
from .foresight import Seen

_RELEASES: Final = table_of(Release)
_ADD_RELEASE: Final = insert(_RELEASES).returning(
    _RELEASES.c.id, _RELEASES.c.component_id, _RELEASES.c.version
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    component: str
    version: str
    manifest_sha256: str
    role: str
    role_version: int
    snapshot_version: int
    published_at: datetime


def same_release(session: Session, manifest: Manifest) -> Receipt | None:
    """The receipt when this very release is published; None when the version is free.

    Raises:
        RegistryError: the version holds something else (``version-taken``).
    """
    component, version = manifest.component, str(manifest.version)
    if not is_published(session, component, version):
        return None
    release = find_release(session, component, version)
    assert release is not None
    if release.manifest_sha256 != manifest.digest:
        raise RegistryError(
            "version-taken",
            f"{manifest}: expected a new version, found this one published with other content "
            f"(manifest {release.manifest_sha256})",
            "a published version never changes; raise version in forge.toml",
            manifest_sha256=release.manifest_sha256,
        )
    return receipt_of(manifest.component, release)


def receipt_of(component: ComponentName, release: Release) -> Receipt:
    return Receipt(
        component=str(component),
        version=release.version,
        manifest_sha256=release.manifest_sha256,
        role=release.role,
        role_version=release.role_version,
        snapshot_version=release.snapshot_version,
        published_at=release.published_at,
    )


def add_release(
    session: Session,
    identity: Identity,
    offer: Offer,
    bundle_sha256: str,
    seen: Seen,
    snapshot: int,
    now: datetime,
) -> Release:
    """The row to be, which has no number before `write_now`."""
    manifest, component = offer.manifest, offer.manifest.component
    row = seen.components.get(component)
    if row is None:
        row = Component(
            organisation=component.org, name=component.name, kind=manifest.kind, summary="",
            license="", languages=[], tasks=[], latest="", versions=0, search_text="",
            created_at=now, updated_at=now,
        )  # fmt: skip
        session.add(row)
        session.flush()
    values: dict[str, Any] = {
        "component_id": row.id,
        "version": str(manifest.version),
        "kind": manifest.kind,
        "details": manifest.metadata,
        "manifest_sha256": manifest.digest,
        "bundle_sha256": bundle_sha256,
        "total_bytes": manifest.total_size,
        "file_count": len(manifest.files),
        "publisher_id": identity.user_id,
        "publisher_key": offer.publisher.keyid,
        "role": component.role,
        "role_version": offer.role_version,
        "snapshot_version": snapshot,
        "published_at": now,
    }
    release = Release(**values)
    later(session, _add_releases, (release, values, manifest))
    refresh_component(session, row, now, release, seen.versions_of(component))
    return release


def _add_releases(
    session: Session, found: Sequence[tuple[Release, dict[str, Any], Manifest]]
) -> None:
    connection = session.connection()
    rows = connection.execute(_ADD_RELEASE, [values for _, values, _ in found])
    numbers = {(component, version): number for number, component, version in rows}
    for release, _, _ in found:
        release.id = numbers[release.component_id, release.version]
    files = [row for release, _, manifest in found for row in _files_of(release.id, manifest)]
    connection.execute(insert(table_of(ReleaseFile)), files)


def _files_of(release_id: int, manifest: Manifest) -> list[dict[str, object]]:
    return [
        {
            "release_id": release_id,
            "path": entry.path,
            "size": entry.size,
            "sha256": entry.sha256,
            "chunks": entry.chunks,
        }
        for entry in manifest.files
    ]
