"""One of the two releases, and how its bytes are had."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from signing.chunks import ChunkList
from signing.component import FILE_NAME, parse_forge_toml
from signing.digests import sha256_hex
from signing.encoding import canonical_json
from signing.manifest import FileEntry, Manifest

from ..tree import observe

HEAD_BYTES: Final = 64


class Reader(Protocol):
    """One file, read at any place."""

    def need(self, ranges: Sequence[tuple[int, int]]) -> None:
        """These ``(start, stop)`` will be read: they may be fetched together."""

    def read(self, start: int, size: int) -> bytes:
        """Exactly ``size`` bytes; less only at the end of the file."""


class Bytes(Protocol):
    """Where the files of a side are."""

    def ready(self, entries: Sequence[FileEntry]) -> None:
        """These will be read whole: they may be fetched together."""

    def whole(self, entry: FileEntry) -> bytes:
        """All of a file that the caller knows to be small."""

    def chunks(self, entry: FileEntry) -> ChunkList | None:
        """The signed chunk list, where there is one and it saves reading."""

    def open(self, entry: FileEntry) -> Any:
        """A context manager that gives a `Reader`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """``manifest_sha256`` is None for a folder, which nobody signed. ``metadata`` is what
    `ComponentSpec.metadata` gives; empty for a folder without ``forge.toml``."""

    component: str | None
    version: str | None
    manifest_sha256: str | None
    kind: str | None
    metadata: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    bytes: Bytes

    @classmethod
    def of_release(cls, manifest: Manifest, source: Bytes) -> Side:
        return cls(
            component=str(manifest.component),
            version=str(manifest.version),
            manifest_sha256=manifest.digest,
            kind=manifest.kind,
            metadata=manifest.metadata,
            files=manifest.by_path,
            bytes=source,
        )

    @classmethod
    def of_folder(cls, folder: Path) -> Side:
        """What lies in ``folder``, hashed.

        Raises:
            VerificationError: something that is not a regular file.
            ForgeError: ``not-found``.
            MalformedError: its ``forge.toml`` does not hold.
        """
        files = observe(folder)
        spec = None
        if FILE_NAME in files:
            spec = parse_forge_toml((folder / FILE_NAME).read_bytes(), str(folder / FILE_NAME))
        return cls(
            component=None if spec is None else str(spec.component),
            version=None if spec is None else str(spec.version),
            manifest_sha256=None,
            kind=None if spec is None else spec.kind,
            metadata={} if spec is None else spec.metadata(),
            files=files,
            bytes=FolderBytes(folder),
        )

    @classmethod
    def nothing(cls) -> Side:
        """What stands before a first release."""
        return cls(
            component=None,
            version=None,
            manifest_sha256=None,
            kind=None,
            metadata={},
            files={},
            bytes=FolderBytes(Path()),
        )

    def to_json(self) -> dict[str, Any]:
        """What identifies the side in the document: no path of this machine."""
        listing = [[each.path, each.sha256] for _, each in sorted(self.files.items())]
        return {
            "component": self.component,
            "version": self.version,
            "manifest_sha256": self.manifest_sha256,
            "files_sha256": sha256_hex(canonical_json(listing)),
        }


@dataclass(frozen=True, slots=True)
class FolderBytes:
    """Files of a folder on this machine. Reading them costs less than cutting them."""

    folder: Path

    def ready(self, entries: Sequence[FileEntry]) -> None:
        pass

    def whole(self, entry: FileEntry) -> bytes:
        with (self.folder / entry.path).open("rb") as file:
            return file.read(entry.size)

    def chunks(self, entry: FileEntry) -> ChunkList | None:
        return None

    @contextmanager
    def open(self, entry: FileEntry) -> Iterator[Reader]:
        with FileReader.open(self.folder / entry.path) as reader:
            yield reader


@dataclass(frozen=True, slots=True)
class FileReader:
    """A `Reader` of a file that is here."""

    descriptor: int

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[FileReader]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield cls(descriptor)
        finally:
            os.close(descriptor)

    def need(self, ranges: Sequence[tuple[int, int]]) -> None:
        pass

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, start)


@dataclass(slots=True)
class Stream:
    """A `Reader` read front to back, for parsers that want a file."""

    reader: Reader
    at: int = 0

    def read(self, size: int, /) -> bytes:
        data = self.reader.read(self.at, size)
        self.at += len(data)
        return data
