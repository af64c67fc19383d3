"""Components, their releases and their files, as every façade sees them.

What changes (versions, yanks, quarantines) is kept while one statement says that nothing did; the
files of a release never change, and are kept for as long as there is room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.errors import MalformedError
from signing.names import ComponentName

from ..db.engine import Database
from ..db.models import Component, Release, ReleaseFile
from ..errors import RegistryError
from ..services.components import find_component
from .kept import Kept
from .serving import Gate, Standing, newest, stamp

_MAX_COMPONENTS: Final = 500
_MAX_RELEASES: Final = 200
_MANY_FILES: Final = 5_000  # beyond that they are looked up one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One release. It may be served only if its ``standing`` says so."""

    id: int
    component: ComponentName
    kind: str
    version: str
    manifest_sha256: str
    bundle_sha256: str
    details: Mapping[str, Any]
    published_at: datetime
    file_count: int
    standing: Standing

    def __str__(self) -> str:
        return f"{self.component}=={self.version}"


@dataclass(frozen=True, slots=True, order=True)
class ServedFile:
    """``size`` in bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Every release of a component, newest version first; withheld ones too, so that it can be
    said why they are not served."""

    component: ComponentName
    all: Sequence[Served]

    @property
    def served(self) -> list[Served]:
        return [release for release in self.all if release.standing.is_served]

    def require_newest(self) -> Served:
        """The release that stands for "the newest".

        Raises:
            RegistryError: none may (``revision-not-found``), with the reason of the last one.
        """
        found = newest((each.version, each.standing, each) for each in self.all)
        if found is None:
            last = self.all[0]
            why = last.standing.refused or last.standing.warning
            raise RegistryError(
                "revision-not-found",
                f"{self.component}: no version may be picked; {last.version}: {why}",
            )
        return found


@dataclass(frozen=True, slots=True)
class FacadeReleases:
    database: Database
    _versions: Kept[Versions] = field(default_factory=lambda: Kept(_MAX_COMPONENTS))
    _files: Kept[Mapping[str, ServedFile]] = field(default_factory=lambda: Kept(_MAX_RELEASES))

    def versions(self, organisation: str, name: str) -> Versions:
        """The releases of a component.

        Raises:
            RegistryError: there is no such component (``component-not-found``).
        """
        try:
            component = ComponentName.parse(f"{organisation}/{name}")
        except MalformedError:
            raise _no_component(f"{organisation}/{name}") from None
        now = stamp(self.database)
        return self._versions.get(component, now, lambda: self._read(component))

    def files(self, release: Served) -> Sequence[ServedFile]:
        """All files of the release, by path."""
        if release.file_count > _MANY_FILES:
            with self.database.read() as session:
                return list(_files(session, release.id).values())
        return list(self._kept_files(release).values())

    def file(self, release: Served, path: str) -> ServedFile | None:
        """The file at ``path`` of the release; None where it has none."""
        if release.file_count <= _MANY_FILES:
            return self._kept_files(release).get(path)
        if "\0" in path:  # PostgreSQL would refuse to compare it
            return None
        with self.database.read() as session:
            return _files(session, release.id, path).get(path)

    def holding(self, component: ComponentName, sha256: str) -> frozenset[int]:
        """The ids of the component's releases that have a file with the digest: asked of an index,
        because a stranger may ask for any digest of a component with a thousand releases."""
        query = (
            select(ReleaseFile.release_id)
            .join(Release, Release.id == ReleaseFile.release_id)
            .join(Component, Component.id == Release.component_id)
            .where(
                ReleaseFile.sha256 == sha256,
                Component.organisation == component.org,
                Component.name == component.name,
            )
        )
        with self.database.read() as session:
            return frozenset(session.scalars(query))

    def _kept_files(self, release: Served) -> Mapping[str, ServedFile]:
        def read() -> Mapping[str, ServedFile]:
            with self.database.read() as session:
                return _files(session, release.id)

        return self._files.get(release.manifest_sha256, None, read)

    def _read(self, component: ComponentName) -> Versions:
        with self.database.read() as session:
            row = find_component(session, component)
            if row is None:
                raise _no_component(str(component))
            gate = Gate.of(session)
            found = [
                served_of(component, release, gate)
                for release in session.scalars(
                    select(Release).where(Release.component_id == row.id)
                )
            ]
        found.sort(key=lambda release: Version(release.version), reverse=True)
        return Versions(component=component, all=found)


def served_of(component: ComponentName, row: Release, gate: Gate) -> Served:
    """What the façades know of a row."""
    return Served(
        id=row.id,
        component=component,
        kind=row.kind,
        version=row.version,
        manifest_sha256=row.manifest_sha256,
        bundle_sha256=row.bundle_sha256,
        details=row.details,
        published_at=row.published_at,
        file_count=row.file_count,
        standing=gate.standing(row.manifest_sha256, row.yanked, row.stored_at),
    )


def _files(session: Session, release_id: int, path: str | None = None) -> dict[str, ServedFile]:
    query = select(ReleaseFile.path, ReleaseFile.size, ReleaseFile.sha256).where(
        ReleaseFile.release_id == release_id
    )
    if path is not None:
        query = query.where(ReleaseFile.path == path)
    rows = session.execute(query.order_by(ReleaseFile.path))
    return {path: ServedFile(path, size, sha256) for path, size, sha256 in rows}


def _no_component(name: str) -> RegistryError:
    return RegistryError("component-not-found", f"component {name!r:.120} does not exist")
