"""How many transfers a process carries at once, so that slow ones leave threads for the rest.

A thread is busy with the body of a blob for as long as the other side takes, and whoever wants to
harm the registry takes long. So at most three quarters of the threads move blobs, and at most half
of them in one direction: downloads leave room for publishing, uploads for installing, and all of
them together for everything that is answered at once. Who comes too late is told to come again;
waiting here would take the very thread that is to be saved.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from ..errors import RegistryError

Direction = Literal["download", "upload"]
SMALL_BYTES = 16 * 1024
"""A body of no more than this needs no slot on its way out: the kernel takes it at once."""


@dataclass(slots=True)
class Transfers:
    """The slots of one process with ``threads`` threads."""

    threads: int
    _taken: Counter[Direction] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def in_progress(self) -> int:
        """How many slots are taken."""
        with self._lock:
            return self._taken.total()

    def take(self, direction: Direction) -> Slot:
        """A slot, which the caller gives back.

        Raises:
            RegistryError: all of them are taken (``too-many-transfers``).
        """
        together, one_way = max(1, self.threads * 3 // 4), max(1, self.threads // 2)
        with self._lock:
            if self._taken.total() < together and self._taken[direction] < one_way:
                self._taken[direction] += 1
                return Slot(self, direction)
        raise RegistryError(
            "too-many-transfers",
            f"expected at most {one_way} {direction}s at once and {together} transfers, found more",
            "the same again in a moment; what was moved already is not lost",
        )

    def give_back(self, direction: Direction) -> None:
        with self._lock:
            self._taken[direction] -= 1


@dataclass(slots=True)
class Slot:
    """The right to move one blob. Giving it back a second time changes nothing."""

    transfers: Transfers
    direction: Direction
    _held: bool = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self.transfers.give_back(self.direction)


class SlottedFile:
    """``file``, which gives ``slot`` back when it is closed, or forgotten.

    The end of a download shows nowhere else: a web server that was handed the file sends it when
    the application has long returned, and whatever then happens, closes it.
    """

    def __init__(self, file: BinaryIO, slot: Slot) -> None:
        self._file = file
        self._slot = slot

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size)

    def fileno(self) -> int:
        return self._file.fileno()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            self._slot.give_back()

    def __del__(self) -> None:
        self.close()
