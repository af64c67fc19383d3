"""`LocalBlobStore`: blobs as files in a folder, which nginx can serve as they are.

    root/ab/abcdef…     one read-only file per blob; the folder is its first two digits
    root/tmp/….part     being written; see `sweep_temp`

Nothing is created before the first write, so that a read-only store can be read.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from . import durable as disk
from .base import BlobStat
from .checks import check_digest, check_size, check_start, is_digest
from .errors import BackendError, BlobNotFoundError, backend_error, reported_as
from .hashing import Readable, copy_verified
from .sweep import sweep_stale

# A name younger than this may have been published by someone who has not yet synced its
# folder. Only a margin: a put that takes longer between these two steps has other worries.
_UNSETTLED_SECONDS = 600
_REMEMBERED = 10_000


class LocalBlobStore:
    """A `BlobStore` in the folder `root`; see `storage.base` for the contract.

    `durable=False` leaves out every fsync: after a power cut a blob may be missing or damaged.
    That fits a client's cache, whose reader verifies what it takes out. A damaged blob of the
    wrong size is replaced by the next `put`.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._root = Path(os.path.abspath(root))
        self._durable = durable
        self._folders = disk.Folders(self._root, durable=durable)
        # {digest: inode and time of its change} of blobs whose folder was synced since: a new
        # release is asked for often, and its blobs need not be settled each time.
        self._settled: dict[str, tuple[int, int]] = {}

    @property
    def root(self) -> Path:
        return self._root

    @property
    def temp_dir(self) -> Path:
        """A folder on the same file system, created when missing, for files to `adopt`.

        Whoever writes there for long should hold a `flock` on the file: see `sweep_temp`.
        """
        folder = self._root / "tmp"
        with reported_as("create the temporary folder of the blob store"):
            self._folders.ensure(folder)
        return folder

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Does not check that it is there."""
        return self._root / check_digest(digest)[:2] / digest

    def missing(self, digests: Iterable[str]) -> set[str]:
        absent: set[str] = set()
        recent: dict[str, os.stat_result] = {}
        with reported_as("look for blobs"):
            for digest in set(digests):
                info = self._lookup(digest)
                if info is None:
                    absent.add(digest)
                elif self._is_unsettled(digest, info):
                    recent[digest] = info
            self._settle(recent)
        return absent

    def put(self, digest: str, stream: Readable, size: int) -> None:
        path = self.path(digest)
        check_size(size)
        action = f"store blob {digest}"
        with reported_as(action):
            if self._has(digest, size):
                return
        # A blob of another size falls through: either the caller is wrong, which the copy
        # finds out, or a power cut damaged it, and the rename below puts that right.
        with self._temp_file(action) as temp:

            def write(view: memoryview) -> None:
                with reported_as(action):
                    temp.write(view)

            copy_verified(stream, digest, size, write)
            with self._failing_as(action):
                self._folders.ensure(path.parent)
                # Rename, not link: both files hold the same bytes, so it does not matter who
                # wins, and a cache may lie on a file system without hard links.
                temp.replace(path)

    def adopt(self, temp: Path, digest: str) -> None:
        """Moves `temp` into the store instead of copying it.

        The caller has verified that its bytes are those of `digest`, lets nobody write to it
        any more, and has put it on the file system of the store (`temp_dir`). Success when the
        blob is there already; `temp` is gone in either case.
        """
        path = self.path(digest)
        with self._failing_as(f"adopt blob {digest}"):
            if self._has(digest, os.lstat(temp).st_size):
                disk.unlink(temp)
                return
            self._folders.ensure(path.parent)
            disk.adopt_file(temp, path, durable=self._durable)

    def open(self, digest: str, start: int = 0) -> BinaryIO:
        """A real file with a `fileno`, positioned at `start`, as sendfile needs it."""
        path = self.path(digest)
        check_start(start)
        try:
            fd = disk.open_file(path)
        except (FileNotFoundError, NotADirectoryError):
            raise BlobNotFoundError(digest) from None
        except OSError as error:
            raise backend_error(f"open blob {digest}", error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise BlobNotFoundError(digest)
            os.lseek(fd, min(start, os.fstat(fd).st_size), os.SEEK_SET)
            return open(fd, "rb")
        except BaseException:
            os.close(fd)
            raise

    def stat(self, digest: str) -> BlobStat:
        with reported_as(f"look for blob {digest}"):
            info = self._lookup(digest)
            if info is None:
                raise BlobNotFoundError(digest)
            if self._is_unsettled(digest, info):
                self._settle({digest: info})
        return BlobStat(size=info.st_size)

    def redirect_url(self, digest: str, ttl_seconds: int) -> str | None:
        check_digest(digest)
        return None

    def delete(self, digest: str) -> None:
        path = self.path(digest)
        with reported_as(f"delete blob {digest}"), suppress(NotADirectoryError):
            disk.remove_durably(path, durable=self._durable)

    def iter_digests(self) -> Iterator[str]:
        for prefix in (f"{number:02x}" for number in range(256)):
            with reported_as("list the blobs"):
                yield from self._digests_in(prefix)

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        """Removes what dead writers left in the temporary folder; returns how many files.

        Files that a living process writes, in this process or another, are locked and stay,
        however old they are. Where the file system has no locks only the age counts.
        """
        with reported_as("sweep the temporary folder of the blob store"):
            return sweep_stale(self._root / "tmp", older_than_seconds, now)

    def _lookup(self, digest: str) -> os.stat_result | None:
        # os.lstat on text, not Path: this runs 10^5 times in one call of `missing`.
        try:
            info = os.lstat(f"{self._root}/{check_digest(digest)[:2]}/{digest}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return info if stat.S_ISREG(info.st_mode) else None

    def _has(self, digest: str, size: int) -> bool:
        info = self._lookup(digest)
        if info is None or info.st_size != size:
            return False
        if self._is_unsettled(digest, info):
            self._settle({digest: info})
        return True

    def _settle(self, found: Mapping[str, os.stat_result]) -> None:
        """The names of these blobs, which were seen with these answers, outlive a power cut."""
        for prefix in {digest[:2] for digest in found}:
            disk.fsync_dir(self._root / prefix)
        if len(self._settled) + len(found) > _REMEMBERED:
            self._settled.clear()
        self._settled.update({digest: _version(info) for digest, info in found.items()})

    def _is_unsettled(self, digest: str, info: os.stat_result) -> bool:
        """Whether the name may still be lost in a power cut: another thread or process may be
        between its rename and the fsync of the folder. A rename sets ctime."""
        if not self._durable or abs(time.time() - info.st_ctime) >= _UNSETTLED_SECONDS:
            return False
        return self._settled.get(digest) != _version(info)

    def _temp_file(self, action: str) -> disk.TempFile:
        with self._failing_as(action):
            return disk.TempFile(self.temp_dir, durable=self._durable)

    @contextmanager
    def _failing_as(self, action: str) -> Iterator[None]:
        """`reported_as`, and after a failure no folder is taken for granted."""
        try:
            with reported_as(action):
                yield
        except BackendError:
            self._folders.forget()
            raise

    def _digests_in(self, prefix: str) -> list[str]:
        try:
            with os.scandir(self._root / prefix) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.name[:2] == prefix
                    and is_digest(entry.name)
                    and entry.is_file(follow_symlinks=False)
                )
        except (FileNotFoundError, NotADirectoryError):
            return []


def _version(info: os.stat_result) -> tuple[int, int]:
    return info.st_ino, info.st_ctime_ns
