"""Small files written whole, and files that only their owner may read."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .errors import ForgeError

_MANY_FILES: Final = 64
_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE


def write_private(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write ``data`` to ``path`` in one step; a folder made on the way is 0700.

    The bytes reach the disk before the name does, so a power cut leaves the old file or the new.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def create_private(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Like `write_private`, but refuses to replace a file. Raises FileExistsError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_private(path: Path, *, code: str = "key-permissions") -> bytes:
    """The bytes of a secret. Raises ForgeError when anyone but its owner could have read it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        # Asked of the open file, not of the name: the answer is about the bytes we read.
        found = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if found & 0o077:
            raise ForgeError(
                code,
                f"{path}: expected a file only you can read (mode 0600), found mode {found:04o}",
                hint=f"chmod 600 {path}; if others use this machine, make a new one instead",
            )
        return file.read()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on ``path`` while the block runs, waiting for it if need be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A filesystem without locks is no reason to refuse: the writes are atomic anyway.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_all(paths: Sequence[Path]) -> None:
    """The bytes of ``paths``, all on one file system, are on the disk afterwards.

    One by one as long as they are few; of many small files each would cost a write of its own.
    """
    if len(paths) > _MANY_FILES and _sync_file_system(paths[0]):
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def begin_sync(descriptor: int) -> None:
    """The kernel begins to write the file to the disk, and nobody waits for it: `sync_all` finds
    less to do. Where that cannot be had (sync_file_range(2)), nothing happens."""
    import ctypes

    with suppress(AttributeError):
        begin = ctypes.CDLL(None).sync_file_range
        begin(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(_WRITE))


def _sync_file_system(path: Path) -> bool:
    """syncfs(2); False where there is none."""
    import ctypes

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return bool(ctypes.CDLL(None).syncfs(descriptor) == 0)
    except (AttributeError, OSError):
        return False
    finally:
        os.close(descriptor)
