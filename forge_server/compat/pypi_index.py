"""The wheels and sdists of `library` components, as an installer asks for them.

What a file's name promises was compared with the wheel's own metadata when it was published (or,
for what is older, when somebody first asks): a wheel that says it is another distribution is never
listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..db.models import Component, Distribution, DistributionFile, Release, WheelMetadata
from ..domain.wheels import distribution_of
from ..errors import RegistryError
from ..logs import LOGGER
from ..services.distributions import Distributions, add_metadata
from .kept import Kept
from .serving import Gate, stamp

_MAX_KEPT: Final = 2000
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # PEP 503
_FILES: Final = (
    select(DistributionFile, Release, WheelMetadata)
    .join(Release, DistributionFile.release_id == Release.id)
    .join(WheelMetadata, DistributionFile.sha256 == WheelMetadata.sha256, isouter=True)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """``release`` is the one that brought it; ``yanked`` None: at least one release of it is not
    yanked. ``metadata_sha256`` None: no metadata can be asked for (an sdist)."""

    filename: str
    version: str
    sha256: str
    size: int
    requires_python: str | None
    metadata_sha256: str | None
    uploaded_at: datetime
    yanked: str | None
    release: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """``files`` by version and name. ``quarantined`` says why none of several is served."""

    name: str
    component: str
    files: Sequence[IndexFile]
    quarantined: str | None

    @property
    def versions(self) -> list[str]:
        """Each version once, oldest first."""
        return list(dict.fromkeys(file.version for file in self.files))


@dataclass(frozen=True, slots=True)
class PythonIndex:
    database: Database
    distributions: Distributions
    _kept: Kept[tuple[str, bytes]] = field(default_factory=lambda: Kept(_MAX_KEPT))

    def page(
        self,
        name: str,
        organisation: str | None,
        form: str,
        render: Callable[[Project], tuple[str, bytes]],
    ) -> tuple[str, bytes]:
        """What ``render`` made of the project (its ETag and bytes), kept under ``form`` while
        nothing changes.

        Raises:
            RegistryError: as `project`.
        """
        now = stamp(self.database)
        return self._kept.get(
            (name, organisation, form), now, lambda: render(self.project(name, organisation))
        )

    def project(self, name: str, organisation: str | None = None) -> Project:
        """What there is under a distribution's ``name`` (PEP 503 form); with an ``organisation``,
        only where the name is one of its.

        Raises:
            RegistryError: nobody has published under it (``not-found``).
        """
        if not _NAME.fullmatch(name):
            raise RegistryError("not-found", f"no distribution can be named {name!r:.100}")
        self._read_older(name)
        with self.database.read() as session:
            owner = _owner(session, name)
            if owner is None or organisation not in (None, owner.organisation):
                within = "" if organisation is None else f" of {organisation}"
                raise RegistryError("not-found", f"no distribution{within} is named {name!r:.100}")
            component = f"{owner.organisation}/{owner.name}"
            gate = Gate.of(session)
            query = _FILES.where(DistributionFile.distribution == name).order_by(Release.id)
            files: dict[str, IndexFile] = {}
            refused: list[str] = []
            for row, release, metadata in session.execute(query):
                standing = gate.standing(release.manifest_sha256, release.yanked, release.stored_at)
                if standing.refused is not None:
                    refused.append(standing.refused)
                elif _is_offered(row.filename, metadata):
                    found = _file(component, row, release, metadata, standing.yanked)
                    _add(files, found)
        return Project(
            name=name,
            component=component,
            files=sorted(files.values(), key=lambda one: (Version(one.version), one.filename)),
            quarantined=refused[-1] if refused and not files else None,
        )

    def names(self, organisation: str | None = None) -> list[str]:
        """Every name that is taken, in order; with an ``organisation``, those of its."""
        query = select(Distribution.name).order_by(Distribution.name)
        if organisation is not None:
            query = query.join(Component, Distribution.component_id == Component.id).where(
                Component.organisation == organisation
            )
        with self.database.read() as session:
            return list(session.scalars(query))

    def require_file(self, sha256: str, filename: str) -> None:
        """Establishes that a release that may be served has the file under this name.

        Raises:
            RegistryError: none has (``blob-not-found``), saying so where it is withheld.
        """
        self._metadata(sha256, filename)

    def metadata(self, sha256: str, filename: str) -> tuple[str, bytes]:
        """The digest and bytes of a wheel's metadata (PEP 658).

        Raises:
            RegistryError: as `require_file`, or there is none.
        """
        found = self._metadata(sha256, filename)
        if found is None:
            raise RegistryError("blob-not-found", f"{filename!r:.200}: has no metadata of its own")
        return found

    def _metadata(self, sha256: str, filename: str) -> tuple[str, bytes] | None:
        named = distribution_of(filename)
        if named is None or "\0" in filename:
            raise RegistryError("blob-not-found", f"{filename!r:.200}: no file of a distribution")
        self._read_older(named.project)
        query = _FILES.where(
            DistributionFile.sha256 == sha256, DistributionFile.filename == filename
        )
        why = "no published release contains this file"
        with self.database.read() as session:
            gate = Gate.of(session)
            for _, release, metadata in session.execute(query):
                standing = gate.standing(release.manifest_sha256, release.yanked, release.stored_at)
                if standing.refused is not None:
                    why = standing.refused
                elif not _is_offered(filename, metadata):
                    why = f"not offered: {metadata.refused if metadata else 'it is gone'}"
                elif metadata is None or metadata.data is None or metadata.data_sha256 is None:
                    return None
                else:
                    return metadata.data_sha256, metadata.data
        raise RegistryError("blob-not-found", f"{filename!r:.200}: {why}")

    def _read_older(self, name: str) -> None:
        """Reads wheels that were published before the registry read them."""
        query = (
            select(DistributionFile.sha256, DistributionFile.path, DistributionFile.size)
            .join(
                WheelMetadata, DistributionFile.sha256 == WheelMetadata.sha256, isouter=True
            )
            .where(
                DistributionFile.distribution == name,
                WheelMetadata.sha256.is_(None),
                DistributionFile.filename.endswith(".whl"),
            )
        )  # fmt: skip
        with self.database.read() as session:
            rows = session.execute(query).all()
        wheels = {
            digest: (file, size)
            for digest, path, size in rows
            if (file := distribution_of(path)) is not None
        }
        if not wheels:
            return
        found = self.distributions.read_unknown(wheels)
        with self.database.write() as session:
            add_metadata(session, found)
        LOGGER.info("read the metadata of %d older wheels of %s", len(found), name)


def _is_offered(filename: str, metadata: WheelMetadata | None) -> bool:
    """Whether the file is what its name says, as far as one looks: into wheels."""
    if metadata is None:
        return not filename.endswith(".whl")
    return metadata.refused is None


def _owner(session: Session, name: str) -> Component | None:
    return session.scalar(
        select(Component)
        .join(Distribution, Distribution.component_id == Component.id)
        .where(Distribution.name == name)
    )


def _file(
    component: str,
    row: DistributionFile,
    release: Release,
    metadata: WheelMetadata | None,
    yanked: str | None,
) -> IndexFile:
    return IndexFile(
        filename=row.filename,
        version=row.version,
        sha256=row.sha256,
        size=row.size,
        requires_python=None if metadata is None else metadata.requires_python,
        metadata_sha256=None if metadata is None else metadata.data_sha256,
        uploaded_at=release.published_at,
        yanked=yanked,
        release=f"{component}=={release.version}",
        manifest_sha256=release.manifest_sha256,
    )


def _add(files: dict[str, IndexFile], found: IndexFile) -> None:
    """Of several releases with one file the first is named, and a yank counts when all are."""
    known = files.get(found.filename)
    if known is None or (known.yanked is not None and found.yanked is None):
        files[found.filename] = found
