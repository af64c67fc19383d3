"""Files that survive a power cut, and the only place of this package that changes a disk.

The order, and why:

1. Write the bytes into a temporary file on the same file system, under a name no reader
   looks for. A crash here leaves garbage that `storage.sweep` removes.
2. Set the final mode, then fsync the *file*. Renaming first would let a power cut keep the
   new name and lose the bytes behind it: a right name with zeros in it.
3. Rename (or link) it to its final name. That is one atomic step of the file system, so a
   reader sees nothing or everything.
4. fsync the *folder*. Without it the name itself may be gone after a power cut, although the
   caller was told that the file is safe. A new folder needs its own parent to be synced too.

Rename or link? A rename is atomic everywhere and needs no hard links, but silently replaces
what is there. That is right where both files must hold the same bytes (blobs) and where
replacing is the purpose (`replace_durably`). Where the first must win (`write_file_durably`),
`link` is used, because it refuses an existing name in the same atomic step.

Everything here raises plain `OSError`. The functions named in `PRIMITIVES` are the system
calls; the tests break each of them, and kill a process between any two.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIMITIVES = (
    "create_file",
    "open_file",
    "open_to_write",
    "lock",
    "open_lock_file",
    "wait_for_lock",
    "write",
    "write_at",
    "copy_range",
    "set_mode",
    "fsync",
    "close",
    "rename",
    "link",
    "unlink",
    "make_folder",
)

READ_ONLY = 0o444
_COPY_BYTES = 1 << 20
# The two lie on different file systems, or this one cannot copy by itself.
_NO_COPY_RANGE = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)
_FOLDER_MODE = 0o755
_PRIVATE = 0o600  # nobody else reads bytes that were not verified
_MAX_KNOWN_FOLDERS = 4096


def create_file(path: Path) -> int:
    """A new empty file, open for writing. Raises FileExistsError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, _PRIVATE)


def open_file(path: Path) -> int:
    """An existing file or folder, open for reading; never through a symbolic link, and never
    waiting for the other end of a FIFO that someone left there."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def lock(fd: int) -> bool:
    """Takes the exclusive lock unless another process has it; freed by close and by death."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_lock_file(path: Path) -> int:
    """A file that is there only to be locked, made where it is missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, _PRIVATE)


def wait_for_lock(fd: int) -> None:
    """Takes the exclusive lock when it is free; freed by close and by death."""
    fcntl.flock(fd, fcntl.LOCK_EX)


def write(fd: int, view: memoryview) -> int:
    return os.write(fd, view)


def open_to_write(path: Path) -> int:
    """An existing file, open for writing at any place; never through a symbolic link."""
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def write_at(fd: int, view: memoryview, offset: int) -> None:
    """Writes all of `view` at `offset`."""
    while len(view):
        count = os.pwrite(fd, view, offset)
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[count:]
        offset += count


def copy_range(source: int, start: int, target: int, offset: int, length: int) -> int:
    """Copies `length` bytes between two open files; returns how many there were."""
    done = 0
    while done < length:
        try:
            count = os.copy_file_range(source, target, length - done, start + done, offset + done)
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            data = os.pread(source, min(_COPY_BYTES, length - done), start + done)
            write_at(target, memoryview(data), offset + done)
            count = len(data)
        if count == 0:
            break
        done += count
    return done


def set_mode(fd: int, mode: int) -> None:
    os.fchmod(fd, mode)


def fsync(fd: int) -> None:
    os.fsync(fd)


def close(fd: int) -> None:
    os.close(fd)


def rename(source: Path, target: Path) -> None:
    os.replace(source, target)


def link(source: Path, target: Path) -> None:
    os.link(source, target, follow_symlinks=False)


def unlink(path: Path) -> None:
    os.unlink(path)


def make_folder(path: Path) -> None:
    """A new folder of mode 0755 whatever the umask: a proxy under another account reads it."""
    os.mkdir(path)
    os.chmod(path, _FOLDER_MODE)


class TempFile:
    """A private file that ends either published, whole and on disk, or gone.

    A context manager: leaving it without a `replace` or `publish_new` removes the file. It is
    locked while it is written, so that a sweep can tell a slow writer from a dead one.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._durable = durable
        self._renamed = False
        self._path = folder / f"{os.urandom(16).hex()}.part"
        self._fd: int | None = None
        try:
            self._fd = create_file(self._path)
        except OSError:
            # A call may be done and yet be reported as failed; the name is ours either way.
            self._discard()
            raise
        # Where the file system has no locks, a sweep judges by age alone.
        with contextlib.suppress(OSError):
            lock(self._fd)

    def write(self, view: memoryview) -> None:
        """Appends all of `view`; a write may take only part of it, above all on a full disk."""
        assert self._fd is not None
        while len(view):
            count = write(self._fd, view)
            if count == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            view = view[count:]

    def replace(self, target: Path, mode: int = READ_ONLY) -> None:
        """Publishes under `target`, atomically replacing what was there."""
        self._seal(mode)
        rename(self._path, target)
        self._renamed = True
        self._sync_folder(target.parent)

    def publish_new(self, target: Path, mode: int = READ_ONLY) -> None:
        """Publishes under `target`; raises FileExistsError when the name is taken."""
        self._seal(mode)
        link(self._path, target)
        self._sync_folder(target.parent)

    def _seal(self, mode: int) -> None:
        assert self._fd is not None
        set_mode(self._fd, mode)
        if self._durable:
            fsync(self._fd)
        # Closed before it is published: network file systems report a full disk only here.
        self._close()

    def _sync_folder(self, folder: Path) -> None:
        if self._durable:
            fsync_dir(folder)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            close(fd)

    def __enter__(self) -> TempFile:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._renamed:
            self._discard()

    def _discard(self) -> None:
        # What goes wrong while cleaning up must not hide why there is something to clean up;
        # what stays behind is taken by the sweep.
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            unlink(self._path)


class Folders:
    """Creates folders at and below `root` so that their names are as durable as the files.

    Finding a folder proves nothing: another process may have made it a moment ago and not yet
    synced its parent. Therefore each process syncs the parent itself, once per folder.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._root = root
        self._durable = durable
        self._known: set[Path] = set()

    def ensure(self, folder: Path) -> None:
        """`folder`, which must be `root` or below it, exists and its name is on disk."""
        if folder in self._known:
            return
        if self._root not in folder.parents and folder.is_dir():
            # Above the root nothing is ours: such a parent may not even be readable.
            self._remember(folder)
            return
        self.ensure(folder.parent)
        with contextlib.suppress(FileExistsError):
            make_folder(folder)
        if self._durable:
            fsync_dir(folder.parent)
        self._remember(folder)

    def forget(self) -> None:
        """To be called after a failure: a folder may have been removed behind our back."""
        self._known.clear()

    def _remember(self, folder: Path) -> None:
        if len(self._known) >= _MAX_KNOWN_FOLDERS:
            self._known.clear()
        self._known.add(folder)


def fsync_dir(folder: Path) -> None:
    """Makes the names created in, renamed in or removed from `folder` so far durable."""
    with opened(folder) as fd:
        fsync(fd)


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Holds the lock of the lock file at `path`: one thread of one process at a time."""
    while True:
        fd = open_lock_file(path)
        try:
            wait_for_lock(fd)
            if not _is_still(fd, path):
                continue  # a sweep removed it while we waited, and others lock the next one
            yield
            return
        finally:
            close(fd)


def _is_still(fd: int, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = open_file(path)
    try:
        yield fd
    finally:
        close(fd)


def write_file_durably(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o644,
    temp_folder: Path | None = None,
    durable: bool = True,
) -> None:
    """Creates `path` with `data`; whoever comes first wins.

    `temp_folder` must be on the same file system; by default the file's own folder.

    Raises:
        FileExistsError: there is a file of that name, which stays as it was.
    """
    with TempFile(temp_folder or path.parent, durable=durable) as temp:
        temp.write(memoryview(data))
        temp.publish_new(path, mode)


def replace_durably(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o644,
    temp_folder: Path | None = None,
    durable: bool = True,
) -> None:
    """Creates or replaces `path`: a reader sees all of the old bytes or all of the new ones."""
    with TempFile(temp_folder or path.parent, durable=durable) as temp:
        temp.write(memoryview(data))
        temp.replace(path, mode)


def adopt_file(temp: Path, target: Path, *, durable: bool = True) -> None:
    """Publishes a complete regular file, made elsewhere on this file system, read-only."""
    with opened(temp) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        set_mode(fd, READ_ONLY)
        if durable:
            fsync(fd)
    rename(temp, target)
    if durable:
        fsync_dir(target.parent)


def remove_durably(path: Path, *, durable: bool = True) -> None:
    """Removes `path`, for good once this returns. Success when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        unlink(path)
    # Also when it is gone already: whoever removed it may have died before this step.
    if durable:
        with contextlib.suppress(FileNotFoundError):
            fsync_dir(path.parent)
