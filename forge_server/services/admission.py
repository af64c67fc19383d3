"""What a registry does not take: files whose formats execute code when they are loaded.

Only the beginnings of files are read, and the directories of archives (`signing.formats`): this
stands in the way of every publish. What scanners find out later is shown, and refuses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.formats import Executable, executable, how_to_convert
from signing.manifest import FileEntry, Manifest
from signing.opcodes import Effort
from storage import BlobStore

from ..db.engine import Database
from ..db.models import Release, ReleaseFile, Scan
from ..errors import RegistryError
from ..scans.base import CLEAN, NOT_SCANNED
from ..scans.texts import Formats
from .leases import batches

_MAX_EFFORT: Final = 2_000_000  # opcodes, and so many more for each file
_EACH: Final = 100
_FIRST: Final = 65536  # bytes; most files need no second look
_SMALL: Final = 2**20  # and what is no larger comes at once
_MAX_KEPT: Final = 64  # blocks of _FIRST


class Waivers(Protocol):
    """Who may publish such a format nonetheless."""

    def allows(self, session: Session, manifest: Manifest, format_: str) -> bool:
        """Whether a waiver in force lets this release hold a file of the format."""
        ...


class NoWaivers:
    """Lets nobody."""

    def allows(self, session: Session, manifest: Manifest, format_: str) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Admission:
    """``allowed`` are the formats that the registry's settings let everybody publish."""

    database: Database
    blobs: BlobStore
    allowed: Collection[str] = ()
    waivers: Waivers = field(default_factory=NoWaivers)

    def require(self, manifest: Manifest) -> None:
        """Establishes that the files of a release, whose blobs are all here, may be published.

        Raises:
            RegistryError: one would be executed by what loads it (``unsafe-format``).
            BlobNotFoundError: one was deleted since somebody looked.
        """
        effort = Effort(_MAX_EFFORT + _EACH * len(manifest.files))
        for entry in self._unseen(manifest):
            found = self.look(entry, effort)
            if found is not None and not self._allowed(manifest, found.format):
                raise _refused(manifest, entry, found)

    def _unseen(self, manifest: Manifest) -> list[FileEntry]:
        """The files that are not known to be harmless. That another release has a file says
        nothing: a waiver may have let it in, or older settings."""
        files = {entry.sha256: entry for entry in manifest.files if entry.size > 1}
        if sum(entry.size for entry in files.values()) <= _FIRST:
            return list(files.values())  # sooner looked at than asked for
        with self.database.read() as session:
            for batch in batches(list(files)):
                for digest in _harmless(session, batch):
                    del files[digest]
        return list(files.values())

    def look(self, entry: FileEntry, effort: Effort | None = None) -> Executable | None:
        """What in the file would be executed."""
        return executable(_Reader(self.blobs, entry).read_at, entry.size, effort)

    def _allowed(self, manifest: Manifest, format_: str) -> bool:
        if format_ in self.allowed:
            return True
        with self.database.read() as session:
            return self.waivers.allows(session, manifest, format_)


def _harmless(session: Session, digests: Collection[str]) -> set[str]:
    """Those that the scanner of formats saw in a release in which it found nothing."""
    query = (
        select(ReleaseFile.sha256)
        .join(Release, Release.id == ReleaseFile.release_id)
        .join(Scan, Scan.manifest_sha256 == Release.manifest_sha256)
        .where(
            ReleaseFile.sha256.in_(digests),
            Scan.scanner == Formats.name,
            Scan.scanner_version == Formats.version,
            Scan.state.in_((CLEAN, NOT_SCANNED)),
        )
    )
    return set(session.scalars(query))


class _Reader:
    """Reads here and there in a blob with few requests to the store: archives are looked into
    member by member, and what lies together comes together."""

    def __init__(self, blobs: BlobStore, entry: FileEntry) -> None:
        self._blobs, self._digest, self._size = blobs, entry.sha256, entry.size
        self._block = _SMALL if entry.size <= _SMALL else _FIRST
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def read_at(self, start: int, count: int) -> bytes:
        count = min(count, self._size - start)  # offsets come out of the file and may be anything
        if start < 0 or count <= 0:
            return b""
        first = start - start % self._block
        if start + count > first + 2 * self._block:
            return self._read(start, count)
        data = b"".join(self._at(each) for each in range(first, start + count, self._block))
        return data[start - first : start - first + count]

    def _at(self, first: int) -> bytes:
        data = self._kept.pop(first, None)
        if data is None:
            data = self._read(first, min(self._block, self._size - first))
        self._kept[first] = data
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return data

    def _read(self, start: int, count: int) -> bytes:
        with self._blobs.open(self._digest, start) as file:
            return file.read(count)


def _refused(manifest: Manifest, entry: FileEntry, found: Executable) -> RegistryError:
    where = f" (in {found.where!r:.200})" if found.where else ""
    return RegistryError(
        "unsafe-format",
        f"{manifest}: {entry.path}{where}: expected a format that only holds data, found "
        f"{found.format}, which executes code when it is loaded",
        how_to_convert(found.format),
        path=entry.path,
        format=found.format,
    )
