"""A published tree and a store of blobs that make up what `made_up` says, when they are asked."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select

from forge_server.db.models import MetadataVersion
from forge_server.wiring import Registry
from storage import BlobNotFoundError, BlobStat, BlobStore, PathNotFoundError, PublishedTree

from .made_up import FILE_BYTES, Pattern


@dataclass
class MadeUpTree:
    """The published files: those that are there, else what a release's or a role's would be."""

    real: PublishedTree
    pattern: Pattern
    registry: Registry

    def read(self, path: str) -> bytes:
        try:
            return self.real.read(path)
        except PathNotFoundError:
            data = self._made_up(path)
        if data is None:
            raise PathNotFoundError(path)
        return data

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def _made_up(self, path: str) -> bytes | None:
        parts = path.split("/")
        if parts[0] == "targets" and len(parts) == 5:
            number = self.pattern.versions.index(parts[3])
            kind = self.pattern.manifest if "manifest" in parts[4] else self.pattern.bundle
            return kind(parts[1].encode(), parts[2].encode(), number)
        place = path.startswith("log/")
        role = path.rpartition("/")[2].partition(".")[2].removesuffix(".json")
        with self.registry.database.read() as session:
            query = select(MetadataVersion.data, MetadataVersion.log_index)
            row = session.execute(query.where(MetadataVersion.role == role).limit(1)).one_or_none()
        if row is None:
            return None
        return f"{row.log_index}\n".encode() if place else row.data


@dataclass
class MadeUpBlobs:
    """The blobs that are there, all that the lines of ``digests`` name, in ascending order, and
    ``garbage``, sorted too, of which some may have been deleted."""

    real: BlobStore
    digests: Path
    garbage: Sequence[str] = ()
    _deleted: set[str] = field(default_factory=set)

    def stat(self, digest: str) -> BlobStat:
        try:
            return self.real.stat(digest)
        except BlobNotFoundError:
            return BlobStat(size=FILE_BYTES)

    def missing(self, digests: Iterable[str]) -> set[str]:
        return self._deleted.intersection(digests)

    def iter_digests(self) -> Iterator[str]:
        for digest in merge(self._referred(), self.garbage):
            if digest not in self._deleted:
                yield digest

    def _referred(self) -> Iterator[str]:
        with self.digests.open() as file:
            for line in file:
                yield line.rstrip("\n")

    def delete(self, digest: str) -> None:
        self._deleted.add(digest)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)
