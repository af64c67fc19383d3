"""What an installer is shown of one name: its files, and what is so of them.

They are read from the database, or from copies of another index; a `Gate` says which releases may
be served.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.names import ComponentName

from ..db.models import Component, Distribution, DistributionFile, Release, WheelMetadata
from ..domain.upstream_pages import ACTIVE
from ..services.components import deprecation_of
from ..services.upstream_pins import Offer
from .serving import Gate, Standing, newest

FILES: Final = (
    select(DistributionFile, Release, WheelMetadata)
    .join(Release, DistributionFile.release_id == Release.id)
    .join(WheelMetadata, DistributionFile.sha256 == WheelMetadata.sha256, isouter=True)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """``release`` is the one that brought it, None of a copy of another index's file; ``yanked``
    None: at least one release of it is not yanked. ``metadata_sha256`` None: no metadata can be
    asked for (an sdist)."""

    filename: str
    version: str
    sha256: str
    size: int
    requires_python: str | None
    metadata_sha256: str | None
    uploaded_at: datetime
    yanked: str | None
    release: str | None = None
    manifest_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """``files`` by version and name; ``status`` as of PEP 792. ``component`` None: these are copies
    of another index's files, ``as_of`` what it said then, ``problem`` why not later, and ``until``
    when the clock alone will change them."""

    name: str
    component: str | None
    files: Sequence[IndexFile]
    status: str = ACTIVE
    status_reason: str | None = None
    as_of: datetime | None = None
    problem: str | None = None
    until: datetime | None = None

    @property
    def versions(self) -> list[str]:
        """Each version once, oldest first."""
        return list(dict.fromkeys(file.version for file in self.files))


def component_of(owner: Component) -> ComponentName:
    return ComponentName.parse(f"{owner.organisation}/{owner.name}")


def project_of(session: Session, gate: Gate, name: str, owner: Component) -> Project:
    """What may be served of a component under one of its names."""
    component = component_of(owner)
    files: dict[str, IndexFile] = {}
    refused: list[str] = []
    standings: dict[int, Standing] = {}
    releases: dict[int, Release] = {}
    query = FILES.where(DistributionFile.distribution == name).order_by(Release.id)
    for row, release, metadata in session.execute(query):
        if release.id not in standings:
            standings[release.id] = gate.judged(session, component, release)
            releases[release.id] = release
        standing = standings[release.id]
        if standing.refused is not None:
            refused.append(standing.refused)
        elif is_offered(row.filename, metadata):
            _add(files, _file(str(component), row, release, metadata, standing.yanked))
    status, reason = ACTIVE, None
    latest = newest((one.version, standings[number], one) for number, one in releases.items())
    if refused and not files:
        status, reason = "quarantined", refused[-1]
    elif latest is not None and (said := deprecation_of(latest)) is not None:
        status, reason = "deprecated", str(said)
    return Project(
        name=name, component=str(component), files=_in_order(files.values()),
        status=status, status_reason=reason,
    )  # fmt: skip


def project_of_copies(offer: Offer) -> Project:
    files = [
        IndexFile(
            filename=copy.filename, version=copy.version, sha256=copy.sha256, size=copy.size,
            requires_python=copy.requires_python, metadata_sha256=copy.metadata_sha256,
            uploaded_at=copy.uploaded_at, yanked=copy.yanked,
        )
        for copy in offer.files
    ]  # fmt: skip
    return Project(
        name=offer.name, component=None, files=files, status=offer.status,
        status_reason=offer.status_reason, as_of=offer.as_of, problem=offer.problem,
        until=offer.until,
    )  # fmt: skip


def _in_order(files: Iterable[IndexFile]) -> list[IndexFile]:
    return sorted(files, key=lambda one: (Version(one.version), one.filename))


def is_offered(filename: str, metadata: WheelMetadata | None) -> bool:
    """Whether the file is what its name says, as far as one looks: into wheels."""
    if metadata is None:
        return not filename.endswith(".whl")
    return metadata.refused is None


def owner_of(session: Session, name: str) -> Component | None:
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
