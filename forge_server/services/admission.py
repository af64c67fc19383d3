"""What a registry does not take: files whose formats execute code when they are loaded.

Only the beginnings of files are read, and the directories of archives (`signing.formats`): this
stands in the way of every publish. What scanners find out later is shown, and refuses nothing.
"""

from __future__ import annotations

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
        with self.blobs.open(entry.sha256) as file:
            head = file.read(_FIRST)

        def read_at(start: int, count: int) -> bytes:
            if start + count <= len(head) or len(head) == entry.size:
                return head[start : start + count]
            with self.blobs.open(entry.sha256, start) as file:
                return file.read(count)

        return executable(read_at, entry.size)

    def _allowed(self, manifest: Manifest, format_: str) -> bool:
        if format_ in self.allowed:
            return True
        with self.database.read() as session:
            return self.waivers.allows(session, manifest.component, str(manifest.version), format_)


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
