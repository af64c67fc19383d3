"""Which run of this machine it is: what an earlier one wrote may not have reached the disk.

A process that is killed loses nothing that it wrote; a power cut takes what the kernel still held.
Which of the two has happened, a later process knows by this. And which process it was that wrote,
and whether it is still at it, where the file system has no locks that would tell.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_PROC: Final = Path("/proc")
_PROCESS: Final = re.compile(r"([0-9a-f]{16})-([0-9]+)-([0-9]+)")


def this_boot() -> str:
    """A word that changes with each boot; where there is none, nothing is taken on trust."""
    return _read(_BOOT)


def boot_number(below: int) -> int:
    """A number from 1 on that is another one, most likely, after the next boot."""
    digest = hashlib.sha256(this_boot().encode()).digest()
    return int.from_bytes(digest[:8], "big") % (below - 1) + 1


def this_process() -> str:
    """A name, without a dot, that no other process has: of this machine or another, now or ever."""
    return f"{_numbering()}-{os.getpid()}-{_started(os.getpid())}"


def is_running(process: str) -> bool | None:
    """Whether the process of this name is still there; None where that cannot be told: it is of
    another machine, another container or an earlier boot, or no name at all."""
    match = _PROCESS.fullmatch(process)
    if match is None or match[1] != _numbering():
        return None
    return _started(int(match[2])) == int(match[3])


def _numbering() -> str:
    """Of those who see the same processes under the same numbers; a container has its own."""
    try:
        space = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{this_boot()} {space}".encode()).hexdigest()[:16]


def _started(number: int) -> int:
    """When process ``number`` began, in ticks since the boot, so that one that got its number
    later is told apart; 0 where there is none, or it has ended and nobody has taken note."""
    try:
        # proc_pid_stat(5): the name, in brackets, may be anything.
        fields = (_PROC / str(number) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


@cache
def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return os.urandom(16).hex()
