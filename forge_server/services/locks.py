"""The lock that whoever writes the published tree holds: one at a time.

It spares everybody the work of the others, above all asking the witnesses. That nothing older is
ever written over something newer does not rest on it: a holder that was stopped for a while may
find out late that its lock is gone, so whatever is replaced is compared first (`forward`).
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..db.engine import Database

StillHeld = Callable[[], None]
"""Raises RegistryError when the lock was lost meanwhile: the holder must not go on."""


class Lock(Protocol):
    def held(self) -> AbstractContextManager[StillHeld]:
        """Waits for the lock and holds it; death of the holder frees it.

        Raises:
            RegistryError: someone else held it for too long (``busy``).
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderLock:
    """Between all threads and processes that work on one data folder: an exclusive ``flock`` on
    the file at ``path``. It cannot be lost."""

    path: Path
    _threads: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def held(self) -> Iterator[StillHeld]:
        with self._threads:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield lambda: None
            finally:
                os.close(handle)


@dataclass(frozen=True, slots=True)
class DatabaseLock:
    """Between all that work on one PostgreSQL database, whatever folders they have: an advisory
    lock of a transaction on a connection of its own. It is lost when that connection is."""

    database: Database
    number: int
    _threads: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def held(self) -> Iterator[StillHeld]:
        engine = self.database.locking
        assert engine is not None
        with self._threads, self.database.explained(), engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({self.number})")

            def still_held() -> None:
                with self.database.explained():
                    connection.exec_driver_sql("SELECT 1")

            yield still_held
