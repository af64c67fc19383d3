"""Which run of this machine it is: what an earlier one wrote may not have reached the disk.

A process that is killed loses nothing that it wrote; a power cut takes what the kernel still held.
Which of the two has happened, a later process knows by this.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def this_boot() -> str:
    """A word that changes with each boot; where there is none, nothing is taken on trust."""
    return _read(_BOOT)


def boot_number(below: int) -> int:
    """A number from 1 on that is another one, most likely, after the next boot."""
    digest = hashlib.sha256(this_boot().encode()).digest()
    return int.from_bytes(digest[:8], "big") % (below - 1) + 1


@cache
def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return os.urandom(16).hex()
