"""The names of Python distributions: each belongs to the component that published it first.

Installers know a wheel by its distribution's name alone, so one name with two publishers would be
a way in. The name is taken in the very transaction that publishes the release, and all tables here
repeat what releases and their wheels say: a crash leaves a release with its names or neither, and
`forge-server check` can tell whether they agree.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import BinaryIO

from sqlalchemy import insert, or_, select
from sqlalchemy.orm import Session

from signing.digests import sha256_hex
from signing.manifest import FileEntry, Manifest
from storage import BlobNotFoundError, BlobStore

from ..db.engine import Database
from ..db.models import (
    Component,
    Distribution,
    DistributionFile,
    Release,
    ReleaseFile,
    WheelMetadata,
)
from ..db.upstream_models import UpstreamProject
from ..domain.wheels import Distribution as Named
from ..domain.wheels import WheelRefusedError, distribution_of, read_metadata
from ..errors import RegistryError
from .components import find_component

_KIND = "library"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelRead:
    """A row of ``wheel_metadata`` to be: ``data`` is None where ``refused`` says why."""

    sha256: str
    data: bytes | None = None
    data_sha256: str | None = None
    requires_python: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Distributions:
    database: Database
    blobs: BlobStore

    def require_free(self, session: Session, manifest: Manifest) -> None:
        """Raises RegistryError (``distribution-taken``) where a wheel or sdist bears a name of
        another component, or the name of another file that is published."""
        named = files_of(manifest)
        if not named:
            return
        component = find_component(session, manifest.component)
        own = None if component is None else component.id
        for name, (organisation, project, owner) in _owners(session, named).items():
            if owner != own:
                raise RegistryError(
                    "distribution-taken",
                    f"{manifest}: expected distributions of its own, found {name}, which belongs "
                    f"to {organisation}/{project}",
                    "give the distribution another name, or require that component",
                    distribution=name,
                    component=f"{organisation}/{project}",
                )
        self._require_not_let_through(session, manifest, {file.project for _, file in named})
        _require_same_bytes(session, manifest, named)

    def _require_not_let_through(
        self, session: Session, manifest: Manifest, names: set[str]
    ) -> None:
        """A name means the same to every installer, whoever publishes what: what the operator lets
        through from another index is not given to a component here behind their back."""
        query = select(UpstreamProject.name).where(UpstreamProject.name.in_(names))
        for name in sorted(session.scalars(query)):
            raise RegistryError(
                "distribution-taken",
                f"{manifest}: expected distributions of its own, found {name}, which this registry "
                "serves from another index",
                "give the distribution another name, or ask the operator: forge-server upstream "
                f"remove DIR {name}",
                distribution=name,
            )

    def read(self, manifest: Manifest) -> list[WheelRead]:
        """What the wheels of ``manifest``, which are in the store, say of themselves; those that
        are known already left out."""
        wheels = {entry.sha256: (entry, file) for entry, file in files_of(manifest)}
        return self.read_unknown(
            {
                digest: (file, entry.size)
                for digest, (entry, file) in wheels.items()
                if file.is_wheel
            }
        )

    def read_unknown(self, wheels: Mapping[str, tuple[Named, int]]) -> list[WheelRead]:
        """Rows for those of ``{digest: (wheel, size in bytes)}`` that have none yet."""
        if not wheels:
            return []
        with self.database.read() as session:
            known = set(
                session.scalars(
                    select(WheelMetadata.sha256).where(WheelMetadata.sha256.in_(wheels))
                )
            )
        rows = (
            self.read_wheel(digest, wheel, size)
            for digest, (wheel, size) in wheels.items()
            if digest not in known
        )
        return [row for row in rows if row is not None]

    def record(
        self,
        session: Session,
        release: Release,
        manifest: Manifest,
        wheels: Iterable[WheelRead],
    ) -> None:
        """Takes the names and lists the files of a release, in the transaction that publishes it.

        Raises:
            RegistryError: as `require_free`.
        """
        named = files_of(manifest)
        if not named:
            return
        self.require_free(session, manifest)
        names = {file.project for _, file in named}
        for name in sorted(names - _owners(session, named).keys()):
            session.add(Distribution(name=name, component_id=release.component_id))
        session.flush()
        session.execute(insert(DistributionFile), [_file(release.id, *each) for each in named])
        add_metadata(session, wheels)

    def lacking(self, session: Session) -> Iterator[tuple[str, dict[str, object]]]:
        """What releases say and the tables do not: the release, and the row as it must be. A name
        that belongs to another component is none of it: that one published it first."""
        owners = {row.name: row.component_id for row in session.scalars(select(Distribution))}
        listed = {
            (row.release_id, row.path): (row.distribution, row.sha256)
            for row in session.scalars(select(DistributionFile))
        }
        query = (
            select(Release, Component, ReleaseFile)
            .join(Component, Release.component_id == Component.id)
            .join(ReleaseFile, ReleaseFile.release_id == Release.id)
            .where(
                Release.kind == _KIND,
                or_(ReleaseFile.path.endswith(".whl"), ReleaseFile.path.endswith(".tar.gz")),
            )
            .order_by(Release.id, ReleaseFile.path)
        )
        for release, component, file in session.execute(query):
            named = distribution_of(file.path)
            if named is None or owners.setdefault(named.project, component.id) != component.id:
                continue
            if listed.get((release.id, file.path)) != (named.project, file.sha256):
                entry = FileEntry(file.path, file.size, file.sha256)
                subject = f"{component.organisation}/{component.name}=={release.version}"
                yield subject, _file(release.id, entry, named)

    def rebuild(self) -> int:
        """Takes names and lists files that releases have and the tables do not; how many files."""
        with self.database.write() as session:
            rows = [row for _, row in self.lacking(session)]
            for row in rows:
                name = str(row["distribution"])
                if session.get(Distribution, name) is None:
                    release = session.get_one(Release, row["release_id"])
                    session.add(Distribution(name=name, component_id=release.component_id))
                    session.flush()
                session.merge(DistributionFile(**row))
        return len(rows)

    def read_wheel(self, digest: str, wheel: Named, size: int) -> WheelRead | None:
        """What there is to keep about a wheel; None where its bytes are gone (taken down)."""
        try:
            with _seekable(self.blobs, digest, size) as file:
                found = read_metadata(file, size, wheel)
        except BlobNotFoundError:
            return None
        except WheelRefusedError as error:
            return WheelRead(sha256=digest, refused=str(error))
        return WheelRead(
            sha256=digest,
            data=found.data,
            data_sha256=sha256_hex(found.data),
            requires_python=found.requires_python,
        )


def files_of(manifest: Manifest) -> list[tuple[FileEntry, Named]]:
    """The wheels and sdists of a library; of any other kind none counts as one."""
    if manifest.kind != _KIND:
        return []
    found = ((entry, distribution_of(entry.path)) for entry in manifest.files)
    return [(entry, file) for entry, file in found if file is not None]


def add_metadata(session: Session, wheels: Iterable[WheelRead]) -> None:
    """Adds the rows that are not there; of two, one is as good as the other."""
    for row in wheels:
        if session.get(WheelMetadata, row.sha256) is None:
            session.add(WheelMetadata(**asdict(row)))


def _file(release_id: int, entry: FileEntry, file: Named) -> dict[str, object]:
    return {
        "release_id": release_id,
        "path": entry.path,
        "distribution": file.project,
        "filename": file.filename,
        "version": file.version,
        "sha256": entry.sha256,
        "size": entry.size,
    }


def _owners(
    session: Session, named: Iterable[tuple[FileEntry, Named]]
) -> dict[str, tuple[str, str, int]]:
    """``{distribution: (organisation, name, id of its component)}`` of those that are taken."""
    names = {file.project for _, file in named}
    rows = session.execute(
        select(Distribution.name, Component.organisation, Component.name, Component.id)
        .join(Component, Distribution.component_id == Component.id)
        .where(Distribution.name.in_(names))
    )
    return {name: (organisation, project, number) for name, organisation, project, number in rows}


def _require_same_bytes(
    session: Session, manifest: Manifest, named: Iterable[tuple[FileEntry, Named]]
) -> None:
    """One file name has the same bytes in every release: locks hold it by its digest."""
    digests: dict[str, str] = {}
    for entry, file in named:
        if digests.setdefault(file.filename, entry.sha256) != entry.sha256:
            raise _changed(manifest, file.filename, "this very release")
    rows = session.execute(
        select(DistributionFile.filename, DistributionFile.sha256, Release.version)
        .join(Release, DistributionFile.release_id == Release.id)
        .where(
            DistributionFile.distribution.in_({file.project for _, file in named}),
            DistributionFile.filename.in_(digests),
        )
    )
    for filename, sha256, version in rows:
        if digests[filename] != sha256:
            raise _changed(manifest, filename, f"release {version}")


def _changed(manifest: Manifest, filename: str, where: str) -> RegistryError:
    return RegistryError(
        "distribution-taken",
        f"{manifest}: {filename}: expected the bytes that {where} has under this name, "
        "found others",
        "raise the version of the distribution and build it again",
    )


class _Blob(io.RawIOBase):
    """A blob that can seek, also where the store only gives streams."""

    def __init__(self, blobs: BlobStore, digest: str, size: int) -> None:
        self._blobs, self._digest, self._size = blobs, digest, size
        self._at = 0
        self._stream: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        target = max(0, start + offset)
        if target != self._at:
            self._end()
        self._at = target
        return target

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        if self._at >= self._size:
            return 0
        if self._stream is None:
            self._stream = self._blobs.open(self._digest, self._at)
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        self._end()
        super().close()


def _seekable(blobs: BlobStore, digest: str, size: int) -> BinaryIO:
    return io.BufferedReader(_Blob(blobs, digest, size), 64 * 1024)
