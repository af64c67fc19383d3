"""The unfinished file of a download, which one process at a time may write.

    <digest>.part                     held by a lock (flock), which ends with the process
    <digest>.<process>.<token>.part   where the file system has no locks: of that process alone

Nobody may write to a file that another one is about to take for finished. A lock sees to that.
Where there is none each process has a file of its own, which changes hands by its name: renaming
succeeds once. It is nobody's (``free``) after an orderly end. After a crash it is taken from its
process, where that is known to have ended; nothing is known of other machines and earlier boots, so
what these left stays until it is pruned.

The journal beside it has the same name and goes where the file goes; see `remote.partial`.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from .boot import is_running, this_process

_FREE: Final = "free"
_UNKNOWN_SECONDS: Final = 24 * 3600.0  # as long as a download may wait for its window


class Busy(Exception):  # not an error: somebody else fetches this very file
    """Another process has the file; it may be looked at again a little later."""


class Exclusive:
    """The unfinished file ``shared``, created if need be, or in its place one of this process's
    own; ``path`` and ``descriptor``, open for reading and writing, are those of the one it is.

    Raises:
        Busy: another process of this machine has it, or has just taken it away.
    """

    def __init__(self, shared: Path) -> None:
        self.path = shared
        self.descriptor = _open(shared)
        try:
            self._locked = _lock(self.descriptor)
            if not self._locked:
                self._take_own()
            elif not _is_at(self.descriptor, shared):
                raise Busy  # while it was another's it became a blob, or was removed
        except BaseException:
            os.close(self.descriptor)
            raise

    def _take_own(self) -> None:
        if not os.fstat(self.descriptor).st_size:  # else it was begun where there were locks
            self.path.unlink(missing_ok=True)
        self.path = _take(self.path)
        useless, self.descriptor = self.descriptor, _open(self.path)
        os.close(useless)

    def close(self) -> None:
        """Lets the file go; where it is still unfinished it stays for whoever continues."""
        if self.descriptor < 0:
            return
        empty = not os.fstat(self.descriptor).st_size
        os.close(self.descriptor)
        self.descriptor = -1
        if not self._locked:
            with suppress(OSError):
                self.path.unlink() if empty else self._set_free()

    def _set_free(self) -> None:
        free = self.path.with_name(_name(self.path, _FREE, _token(self.path)))
        with suppress(FileNotFoundError):
            os.rename(journal_of(self.path), journal_of(free))
        os.rename(self.path, free)  # the last: from now on it is another's


def digest_of(part: Path) -> str:
    """Of which blob ``part`` is the unfinished file."""
    return part.name.partition(".")[0]


def journal_of(part: Path) -> Path:
    return part.with_suffix(".journal")


def remove_unless_held(part: Path) -> bool:
    """Removes an unfinished file and its journal; False when a process is at it, or may be."""
    owner = _owner(part)
    try:
        if owner is None:
            with part.open("r+b") as file:  # NFS locks nothing that is open for reading alone
                _lock(file.fileno())
        elif _is_held(part, owner):
            return False
    except Busy:
        return False
    except FileNotFoundError:
        pass
    part.unlink(missing_ok=True)
    journal_of(part).unlink(missing_ok=True)
    return True


def _is_held(part: Path, owner: str) -> bool:
    if owner == _FREE:
        return False
    running = is_running(owner)
    if running is None:
        return time.time() - part.stat().st_mtime < _UNKNOWN_SECONDS
    return running


def _take(shared: Path) -> Path:
    """The path of a file of this process's own: what another one has left, or where nothing is."""
    for left in sorted(shared.parent.glob(f"{digest_of(shared)}.*.part")):
        owner = _owner(left)
        running = owner is not None and owner != _FREE and is_running(owner)
        if running:
            raise Busy
        if owner is None or running is None:
            continue
        own = shared.with_name(_name(left, this_process(), _token(left)))
        with suppress(FileNotFoundError):  # somebody else was quicker
            os.rename(left, own)
            with suppress(FileNotFoundError):
                os.rename(journal_of(left), journal_of(own))
            return own
    return shared.with_name(_name(shared, this_process(), os.urandom(4).hex()))


def _name(part: Path, owner: str, token: str) -> str:
    return f"{digest_of(part)}.{owner}.{token}.part"


def _owner(part: Path) -> str | None:
    """Whose file it is; None for the one that is held by a lock."""
    words = part.name.split(".")
    return words[1] if len(words) == 4 else None


def _token(part: Path) -> str:
    return part.name.split(".")[2]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int) -> bool:
    """Takes the lock, which ends with the descriptor; False where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy from None
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
