"""What a registry does not take: files whose formats execute code when they are loaded.

Only the beginnings of files are read, and the directories of archives (`signing.formats`): this
stands in the way of every publish. What scanners find out later is shown, and refuses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy.orm import Session

from signing.formats import Executable, executable, how_to_convert
from signing.manifest import FileEntry, Manifest
from signing.names import ComponentName
from storage import BlobStore

from ..db.engine import Database
from ..errors import RegistryError
from .leases import batches, referred

_FIRST: Final = 65536  # bytes; most files need no second look
_SMALL: Final = 2**20  # and what is no larger comes at once
_MAX_KEPT: Final = 64  # blocks of _FIRST


class Waivers(Protocol):
    """Who may publish such a format nonetheless."""

    def allows(
        self, session: Session, component: ComponentName, version: str, format_: str
    ) -> bool:
        """Whether a waiver in force lets this version hold a file of the format."""
        ...


class NoWaivers:
    """Lets nobody."""

    def allows(
        self, session: Session, component: ComponentName, version: str, format_: str
    ) -> bool:
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
        for entry in self._unseen(manifest):
            found = self.look(entry)
            if found is not None and not self._allowed(manifest, found.format):
                raise _refused(manifest, entry, found)

    def _unseen(self, manifest: Manifest) -> list[FileEntry]:
        """The files that no published release has: what is there already was let in before."""
        files = {entry.sha256: entry for entry in manifest.files if entry.size > 1}
        with self.database.read() as session:
            for batch in batches(list(files)):
                for digest in referred(session, batch):
                    del files[digest]
        return list(files.values())

    def look(self, entry: FileEntry) -> Executable | None:
        """What in the file would be executed."""
        return executable(_Reader(self.blobs, entry).read_at, entry.size)

    def _allowed(self, manifest: Manifest, format_: str) -> bool:
        if format_ in self.allowed:
            return True
        with self.database.read() as session:
            return self.waivers.allows(session, manifest.component, str(manifest.version), format_)


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
