"""`LocalAssembly`: parts are written to their place in one file, which then becomes the blob.

    root/uploads/<upload>/recipe      what the blob will be made of
    root/uploads/<upload>/data        the blob in the making; parts lie where they belong
    root/uploads/<upload>/<number>    an empty file: this part is in `data`, on disk and verified

So a blob of 70 GB is written once. What is copied from other blobs is copied by the kernel
(`copy_file_range`), without bytes on file systems that can share them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from . import durable as disk
from .assembly import Limits, Part, PartAddress, Segment, Watch, check_recipe
from .checks import check_digest, check_size
from .errors import (
    BlobMismatchError,
    InvalidArgumentError,
    PartsMissingError,
    UploadNotFoundError,
    backend_error,
    reported_as,
)
from .hashing import Readable, copy_verified
from .local import LocalBlobStore

_RECIPE = "recipe"
_DATA = "data"
_LOCK = "lock"


class LocalAssembly:
    """A `BlobAssembly` that ends in ``store``; see `storage.assembly` for the contract."""

    limits = Limits(min_bytes=1, max_bytes=2**43, max_segments=10_000)

    def __init__(self, store: LocalBlobStore) -> None:
        self._store = store
        self._root = store.root / "uploads"
        self._folders = disk.Folders(self._root)

    def begin(self, upload: str, digest: str, size: int, segments: Sequence[Segment]) -> None:
        folder = self._folder(upload)
        check_recipe(size, segments, self.limits)
        recipe = _to_json(check_digest(digest), size, segments)
        with reported_as("begin an upload"):
            try:
                if (folder / _RECIPE).read_bytes() != recipe:
                    raise InvalidArgumentError(
                        "recipe-malformed", f"upload {upload}: expected the recipe that it was "
                        "begun with, found another",
                    )  # fmt: skip
            except FileNotFoundError:
                self._folders.forget()
                self._folders.ensure(folder)
                disk.replace_durably(folder / _RECIPE, recipe)

    def put_part(self, upload: str, number: int, stream: Readable, size: int, sha256: str) -> None:
        check_digest(sha256)
        check_size(size)
        folder, (_, _, segments) = self._open(upload)
        start = _start_of(segments, number, size)
        marker = folder / str(number)
        action = f"store part {number}"
        with reported_as(action):
            if marker.exists():
                return
            with suppress(FileExistsError):
                disk.close(disk.create_file(folder / _DATA))
            fd = disk.open_to_write(folder / _DATA)
        try:
            offset = start

            def write(view: memoryview) -> None:
                nonlocal offset
                with reported_as(action):
                    disk.write_at(fd, view, offset)
                offset += len(view)

            copy_verified(stream, sha256, size, write)
            with reported_as(action):
                disk.fsync(fd)
        finally:
            disk.close(fd)
        with reported_as(action):
            # The bytes before the word that they are there, and both before the answer.
            with suppress(FileExistsError):
                disk.close(disk.create_file(marker))
            disk.fsync_dir(folder)

    def part_addresses(
        self, upload: str, parts: Sequence[Part], ttl_seconds: int
    ) -> list[PartAddress]:
        return []

    def recipe(self, upload: str) -> Sequence[Segment]:
        _, (_, _, segments) = self._open(upload)
        return segments

    def parts(self, upload: str) -> set[int]:
        folder, (_, _, segments) = self._open(upload)
        with reported_as("look for parts"):
            return {n for n in map(_number, os.listdir(folder)) if n is not None} & {
                n for n, segment in enumerate(segments) if segment.source is None
            }

    def assemble(self, upload: str, digest: str, size: int, watch: Watch | None = None) -> None:
        if not self._store.missing([check_digest(digest)]):
            self.abort(upload)
            return
        folder, recipe = self._open(upload)
        if recipe[:2] != (digest, size):
            raise InvalidArgumentError(
                "recipe-malformed",
                f"upload {upload}: expected blob {recipe[0]} of {recipe[1]} bytes, found {digest} "
                f"of {size}",
            )
        with self._alone(folder):
            if not self._store.missing([digest]):  # somebody was quicker
                self.abort(upload)
                return
            self._assemble(upload, folder, recipe, watch)

    def _assemble(
        self,
        upload: str,
        folder: Path,
        recipe: tuple[str, int, list[Segment]],
        watch: Watch | None,
    ) -> None:
        digest, size, segments = recipe
        sent = {number for number, segment in enumerate(segments) if segment.source is None}
        if missing := sent - self.parts(upload):
            raise PartsMissingError(upload, missing)
        data = folder / _DATA
        with reported_as("assemble a blob"):
            with suppress(FileExistsError):
                disk.close(disk.create_file(data))
            fd = disk.open_to_write(data)
        try:
            self._copy(fd, segments)
        finally:
            disk.close(fd)
        try:
            with data.open("rb", buffering=0) as file:
                copy_verified(file, digest, size, watch or (lambda view: None))
        except OSError as error:
            raise backend_error("read an assembled blob", error) from error
        except Exception:
            # Another blob, or not what the watcher wants: no repetition makes it right.
            self.abort(upload)
            raise
        self._store.adopt(data, digest)
        self.abort(upload)

    def _copy(self, fd: int, segments: Sequence[Segment]) -> None:
        at = 0
        for segment in segments:
            if segment.source is not None:
                with self._store.open(segment.source) as source, reported_as("copy a segment"):
                    count = disk.copy_range(source.fileno(), segment.start, fd, at, segment.length)
                if count < segment.length:
                    raise BlobMismatchError(
                        segment.source,
                        f"{segment.length} bytes from {segment.start} on",
                        f"{count} bytes",
                        code="length-mismatch",
                    )
            at += segment.length

    def abort(self, upload: str) -> None:
        folder = self._folder(upload)
        with reported_as("remove an upload"), suppress(FileNotFoundError):
            # The recipe first: what is half removed is no upload any more.
            disk.unlink(folder / _RECIPE)
        with reported_as("remove an upload"), suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def sweep(self, older_than_seconds: float, now: datetime) -> int:
        limit = now.timestamp() - older_than_seconds
        removed = 0
        with reported_as("sweep the uploads"):
            for folder in _folders_in(self._root):
                if _last_change(folder) < limit and not self._is_busy(folder):
                    self.abort(folder.name)
                    removed += 1
        return removed

    def _is_busy(self, folder: Path) -> bool:
        """Whether somebody assembles it at this moment."""
        try:
            with disk.opened(folder / _LOCK) as fd:
                return not disk.lock(fd)
        except OSError:
            return False

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """One assembler at a time; waits for another one."""
        with reported_as("lock an upload"):
            with suppress(FileExistsError):
                disk.close(disk.create_file(folder / _LOCK))
            fd = disk.open_file(folder / _LOCK)
        try:
            with suppress(OSError):  # no locks on this file system: they do the same, twice
                disk.wait_for_lock(fd)
            yield
        finally:
            disk.close(fd)

    def _folder(self, upload: str) -> Path:
        return self._root / check_digest(upload)

    def _open(self, upload: str) -> tuple[Path, tuple[str, int, list[Segment]]]:
        folder = self._folder(upload)
        with reported_as("open an upload"):
            try:
                return folder, _from_json((folder / _RECIPE).read_bytes())
            except FileNotFoundError:
                raise UploadNotFoundError(upload) from None


def _start_of(segments: Sequence[Segment], number: int, size: int) -> int:
    if not 0 <= number < len(segments) or segments[number].source is not None:
        raise InvalidArgumentError(
            "part-malformed", f"part {number}: expected a segment that is sent, found none"
        )
    if segments[number].length != size:
        raise InvalidArgumentError(
            "part-malformed",
            f"part {number}: expected {segments[number].length} bytes, found {size}",
        )
    return sum(segment.length for segment in segments[:number])


def _to_json(digest: str, size: int, segments: Sequence[Segment]) -> bytes:
    rows = [[each.length, each.source, each.start] for each in segments]
    return json.dumps([digest, size, rows]).encode()


def _from_json(data: bytes) -> tuple[str, int, list[Segment]]:
    digest, size, rows = json.loads(data)
    return digest, size, [Segment(length=a, source=b, start=c) for a, b, c in rows]


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() else None


def _folders_in(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return [Path(e) for e in entries if len(e.name) == 64 and e.is_dir()]
    except FileNotFoundError:
        return []


def _last_change(folder: Path) -> float:
    times = [0.0]
    for path in (folder, folder / _DATA):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)
