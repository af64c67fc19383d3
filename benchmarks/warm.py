"""Memory that has been used before, so that what is measured does not pay for the first use.

The host of a virtual machine may take back what is free and give it anew, page by page, when it is
next written (the kernel's free page reporting). That took 2 s a GiB where it was seen: as much as
all the work of moving a GiB, and whoever came first paid. `UsedMemory` leaves little free: pages
then come from the page cache, where they were in use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

HELP: Final = "let no memory be free, where the host of a virtual machine takes back what is"
_LEFT_BYTES: Final = 512 << 20  # the kernel keeps some free in any case
_BLOCK_BYTES: Final = 4 << 20
_REPORTING: Final = Path("/sys/module/page_reporting")


def free_bytes() -> int:
    """Memory that nothing uses, not even the page cache."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo says nothing of free memory")


class UsedMemory:
    """Fills the page cache from a file in ``folder`` that consists of one hole: nothing of it is
    on the disk, and the kernel gives its pages up as soon as somebody else wants them.

    Nothing is done where no host takes memory back.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "hole"
        self._size = 0

    def refill(self) -> None:
        """Little is free afterwards."""
        if not _REPORTING.exists():
            return
        buffer = bytearray(_BLOCK_BYTES)
        with self._path.open("a+b", buffering=0) as file:
            while (wanted := free_bytes() - _LEFT_BYTES) > _LEFT_BYTES:
                before = self._size
                self._size += wanted
                file.truncate(self._size)
                file.seek(before)
                while file.readinto(buffer):
                    pass
                if free_bytes() - _LEFT_BYTES > wanted // 2:
                    return  # a file system that keeps no pages of a hole
