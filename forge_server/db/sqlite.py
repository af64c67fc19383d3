"""SQLite: one file, write-ahead log, writers one after the other.

A transaction that begins as a reader and then writes fails when another one wrote meanwhile,
whatever the busy timeout says. So the writing factory takes the write lock at once
(``BEGIN IMMEDIATE``). The busy timeout is for other processes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ..errors import TABLE, RegistryError
from ..logs import LOGGER

BUSY_TIMEOUT_MS = 30_000
# SQLite's own words, which it says of a file and never names (sqlite3_errstr).
_OUT_OF_ORDER: Final = ("disk I/O error", "unable to open database", "readonly database")


def sessions(path: Path) -> tuple[sessionmaker[Session], sessionmaker[Session]]:
    """(reading, writing) factories for the file at ``path``."""
    return (
        _factory(path, begin="BEGIN", read_only=True),
        _factory(path, begin="BEGIN IMMEDIATE", read_only=False),
    )


def refusal_of(error: SQLAlchemyError) -> RegistryError | None:
    """``busy`` when another process held the lock for too long, ``disk-full``, or
    ``database-unavailable`` when the file cannot be read or written."""
    if not isinstance(error, OperationalError):
        return None
    words = str(error.orig)
    if "locked" in words or "busy" in words:
        return RegistryError("busy", "the database is in use; try again")
    if "is full" in words:
        LOGGER.error("database: %s", words)
        return RegistryError("disk-full", TABLE["disk-full"].help)
    if any(each in words for each in _OUT_OF_ORDER):
        LOGGER.error("database: %s", words)
        return RegistryError(
            "database-unavailable",
            f"the database cannot be read or written: {words}",
            "look at its disk and at the rights to its folder; then the same command again",
        )
    return None


def engine_for_migration(path: Path) -> Engine:
    """An engine as SQLAlchemy makes it, for changes of the schema."""
    return create_engine(URL.create("sqlite+pysqlite", database=str(path)))


def _factory(path: Path, *, begin: str, read_only: bool) -> sessionmaker[Session]:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        pool_size=8,
        max_overflow=256,
        connect_args={"check_same_thread": False},
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
