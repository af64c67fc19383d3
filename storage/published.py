"""`PublishedTree`: the static plane, a small tree of signed files that anyone may serve.

Most of its files never change once they have their name (`7.minds-lab.json`); a few are
replaced (`timestamp.json`). The two have a method each, because mixing them up is how a
registry would publish two different histories.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from . import durable as disk
from .at_once import several
from .checks import TEMP_SEGMENT, check_published_path
from .errors import (
    BackendError,
    PathNotFoundError,
    PublishedConflictError,
    backend_error,
    reported_as,
)
from .sweep import sweep_stale

_PUBLIC_FILE = 0o444
_SWAP_LOCK = "swap.lock"


@runtime_checkable
class PublishedTree(Protocol):
    """What each implementation MUST do.

    * `put_once` and `swap` return only when the bytes would survive a power cut; what was
      written before a call is on disk before anything the call writes, so "`timestamp.json`
      last" holds across a crash.
    * A reader sees a file as it was or as it is, never a part and never a gap.
    * A call that fails changed nothing, or did all of it; repeating it is always safe.
    * Paths are relative, of `[A-Za-z0-9._-]` segments joined by `/`; the first is not `.tmp`.
      Anything else is an `InvalidArgumentError` before anything is touched. A path is a file
      or a folder, never both: that is a `BackendError`.
    * "Not there" is `PathNotFoundError`, every other failure a `BackendError`.
    """

    def put_once(self, path: str, data: bytes) -> None:
        """Publishes a file that will never change. The same bytes again are a success.

        Raises:
            PublishedConflictError: (a `BackendError`, code "published-conflict") there are
                other bytes under that path; of several writers at once exactly one wins.
        """
        ...

    def swap(self, path: str, data: bytes) -> None:
        """Publishes a file, replacing the one before in one step."""
        ...

    def swap_if(self, path: str, data: bytes, seen: bytes | None) -> bool:
        """Publishes a file in place of the very bytes ``seen`` (None: of nothing).

        False, and nothing is changed, when something else is there by now. Comparing and
        replacing are one step for all processes that use the method on this tree, so of two
        writers that saw the same bytes one wins.
        """
        ...

    def read(self, path: str) -> bytes:
        """All of the file, which is expected to be small metadata."""
        ...

    def exists(self, path: str) -> bool: ...

    def open(self, path: str) -> BinaryIO:
        """The file as it is now, which the caller closes; a later `swap` does not disturb it.
        It need not have a ``fileno``."""
        ...

    def remove(self, path: str) -> None:
        """Takes a file away that nobody refers to any more; success when it is not there. Who reads
        it at this moment reads it to its end. A power cut may bring it back."""
        ...

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        """Removes what dead writers left behind, if anything; returns how many files."""
        ...


def put_together(tree: PublishedTree, files: Iterable[tuple[str, Callable[[], bytes]]]) -> None:
    """`put_once` for each ``(path, what reads it)``, several at a time and in no particular order;
    all are durable when this returns. When one fails, the others may or may not be there."""
    several(lambda file: tree.put_once(file[0], file[1]()), files)


class LocalPublishedTree:
    """A `PublishedTree` as read-only files below `root`, which nginx can serve as they are.

    Needs a file system with hard links. `root/.tmp` holds what is being written.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._root = Path(os.path.abspath(root))
        self._durable = durable
        self._folders = disk.Folders(self._root, durable=durable)

    def put_once(self, path: str, data: bytes) -> None:
        with self._publishing(path) as (target, temp_folder):
            if self._already_published(path, data):
                return
            try:
                disk.write_file_durably(
                    target,
                    data,
                    mode=_PUBLIC_FILE,
                    temp_folder=temp_folder,
                    durable=self._durable,
                )
            except FileExistsError:  # someone else was faster since we looked
                if not self._already_published(path, data):
                    raise

    def swap(self, path: str, data: bytes) -> None:
        with self._publishing(path) as (target, temp_folder):
            disk.replace_durably(
                target, data, mode=_PUBLIC_FILE, temp_folder=temp_folder, durable=self._durable
            )

    def swap_if(self, path: str, data: bytes, seen: bytes | None) -> bool:
        with (
            self._publishing(path) as (target, temp_folder),
            disk.exclusively(temp_folder / _SWAP_LOCK),
        ):
            try:
                found = self.read(path)
            except PathNotFoundError:
                found = None
            if found != seen:
                return False
            disk.replace_durably(
                target, data, mode=_PUBLIC_FILE, temp_folder=temp_folder, durable=self._durable
            )
            return True

    def read(self, path: str) -> bytes:
        with self.open(path) as file, reported_as(f"read {path}"):
            return file.read()

    def exists(self, path: str) -> bool:
        target = self._target(path)
        with reported_as(f"look for {path}"):
            try:
                return stat.S_ISREG(os.lstat(target).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def open(self, path: str) -> BinaryIO:
        target = self._target(path)
        try:
            fd = disk.open_file(target)
        except (FileNotFoundError, NotADirectoryError):
            raise PathNotFoundError(path) from None
        except OSError as error:
            raise backend_error(f"open {path}", error) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise PathNotFoundError(path)
        return open(fd, "rb")

    def remove(self, path: str) -> None:
        target = self._target(path)
        with reported_as(f"remove {path}"):
            try:
                # A folder would be an OSError of another kind than "not there".
                disk.unlink(target)
            except (FileNotFoundError, NotADirectoryError):
                return

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        """Removes what dead writers left behind; returns how many files. Live ones stay."""
        with reported_as("sweep the temporary folder of the published tree"):
            return sweep_stale(self._root / TEMP_SEGMENT, older_than_seconds, now)

    def _target(self, path: str) -> Path:
        return self._root / check_published_path(path)

    @contextmanager
    def _publishing(self, path: str) -> Iterator[tuple[Path, Path]]:
        """(where to publish, where to write before), both folders being there and durable."""
        target = self._target(path)
        temp_folder = self._root / TEMP_SEGMENT
        try:
            with reported_as(f"publish {path}"):
                self._folders.ensure(temp_folder)
                self._folders.ensure(target.parent)
                yield target, temp_folder
        except BackendError:
            self._folders.forget()
            raise

    def _already_published(self, path: str, data: bytes) -> bool:
        """True when these bytes are there for good, False when nothing is.

        Raises:
            PublishedConflictError: other bytes are there.
        """
        try:
            with self.open(path) as file:
                found = file.read(len(data) + 1)
        except PathNotFoundError:
            return False
        if found != data:
            raise PublishedConflictError(path)
        if self._durable:
            # The one who published it may not have synced the folder yet.
            disk.fsync_dir(self._target(path).parent)
        return True


class MemoryPublishedTree:
    """A `PublishedTree` that lasts as long as its process; for tests, safe for many threads."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._folders: set[str] = set()
        self._lock = threading.Lock()

    def put_once(self, path: str, data: bytes) -> None:
        check_published_path(path)
        with self._lock:
            if self._files.get(path, data) != data:
                raise PublishedConflictError(path)
            self._store(path, data)

    def swap(self, path: str, data: bytes) -> None:
        check_published_path(path)
        with self._lock:
            self._store(path, data)

    def swap_if(self, path: str, data: bytes, seen: bytes | None) -> bool:
        check_published_path(path)
        with self._lock:
            if self._files.get(path) != seen:
                return False
            self._store(path, data)
            return True

    def read(self, path: str) -> bytes:
        try:
            return self._files[check_published_path(path)]
        except KeyError:
            raise PathNotFoundError(path) from None

    def exists(self, path: str) -> bool:
        return check_published_path(path) in self._files

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def remove(self, path: str) -> None:
        check_published_path(path)
        with self._lock:
            if path in self._folders:
                raise BackendError(f"could not remove {path}: it is a folder", False)
            self._files.pop(path, None)

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        return 0

    def _store(self, path: str, data: bytes) -> None:
        segments = path.split("/")
        parents = {"/".join(segments[:count]) for count in range(1, len(segments))}
        if path in self._folders or not parents.isdisjoint(self._files):
            raise BackendError(
                f"could not publish {path}: a path is either a file or a folder", False
            )
        self._folders |= parents
        self._files[path] = bytes(data)
