"""Two ways into the database: many readers, and one writer at a time.

On SQLite a transaction that begins as a reader and then writes fails when another one wrote
meanwhile, whatever the busy timeout says. So the writing factory takes the write lock at once
(``BEGIN IMMEDIATE``). Threads of one process queue on a lock of their own before that, which is
fairer and quicker than SQLite's polling; the busy timeout is for other processes.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from ..errors import RegistryError

BUSY_TIMEOUT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Database:
    """`read` and `write` are context managers around one transaction each."""

    reading: sessionmaker[Session]
    writing: sessionmaker[Session]
    _queue: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view of the database as it is now; writing in it fails."""
        with _busy_as_error(), self.reading() as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """The one writing transaction; commits at the end, rolls back on any exception.

        Raises:
            RegistryError: another process held the lock for too long (``busy``).
        """
        with self._queue, _busy_as_error(), self.writing() as session, session.begin():
            yield session

    def dispose(self) -> None:
        """Closes every connection; needed before a process forks."""
        for factory in (self.reading, self.writing):
            engine = factory.kw["bind"]
            assert isinstance(engine, Engine)
            engine.dispose()


@contextmanager
def _busy_as_error() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if "locked" in str(error.orig) or "busy" in str(error.orig):
            raise RegistryError("busy", "the database is in use; try again") from error
        raise


def open_database(path: Path) -> Database:
    """The SQLite database at ``path``, which is created when it is missing."""
    url = f"sqlite+pysqlite:///{path}"
    return Database(
        reading=_factory(url, begin="BEGIN", read_only=True),
        writing=_factory(url, begin="BEGIN IMMEDIATE", read_only=False),
    )


def _factory(url: str, *, begin: str, read_only: bool) -> sessionmaker[Session]:
    engine = create_engine(
        url, pool_size=8, max_overflow=256, connect_args={"check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver must not begin transactions by itself: it would begin the wrong kind.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: a receipt must still be true after a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _began(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return sessionmaker(engine, expire_on_commit=False)
