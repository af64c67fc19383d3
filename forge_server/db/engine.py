"""Two ways into the database: many readers, and one writer at a time.

The invariants of the registry (a version of a role comes into being once, checkpoints of the log
strictly grow) rest on this: a writing transaction sees everything that was committed before it,
and nobody else writes until it has ended. How SQLite and PostgreSQL are brought to promise that
stands in `db.sqlite` and `db.postgresql`. Threads of one process queue on a lock of their own
before that, which is fairer and cheaper than either database's waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, Row, Select, Table
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ..errors import RegistryError
from .later import attach
from .url import DatabaseUrl

Refusal = Callable[[SQLAlchemyError], RegistryError | None]
"""From a failure of the database to what is said of it; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Database:
    """`read` and `write` are context managers around one transaction each."""

    url: DatabaseUrl
    reading: sessionmaker[Session]
    writing: sessionmaker[Session]
    refusal: Refusal
    locking: Engine | None = None  # connections that hold a lock; None on SQLite
    _queue: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view of the database as it is now; writing in it fails.

        Raises:
            RegistryError: the database could not be reached (``database-unavailable``).
        """
        with self.explained(), self.reading() as session, session.begin():
            yield session

    def ask(self, question: Select[Any], values: Mapping[str, object]) -> Sequence[Row[Any]]:
        """The answer to one question as things are now. By itself it sees one moment without a
        transaction around it, which would take PostgreSQL two more round trips."""
        with self.explained(), self.reading() as session:
            if self.url.file is None:
                alone = {"isolation_level": "AUTOCOMMIT"}
                return session.connection(execution_options=alone).execute(question, values).all()
            return session.connection().execute(question, values).all()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """The one writing transaction; commits at the end, rolls back on any exception.

        Raises:
            RegistryError: another process wrote for too long (``busy``), or the database could
                not be reached (``database-unavailable``). When it was lost during the commit,
                nobody knows whether that was done: the same command again says so.
        """
        with self._queue, self.explained(), self.writing() as session, session.begin():
            yield session

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns failures of the database into refusals of ours, where they are known."""
        try:
            yield
        except SQLAlchemyError as error:
            refusal = self.refusal(error)
            if refusal is None:
                raise
            raise refusal from error

    def dispose(self) -> None:
        """Closes every connection; needed before a process forks."""
        for factory in (self.reading, self.writing):
            engine = factory.kw["bind"]
            assert isinstance(engine, Engine)
            engine.dispose()
        if self.locking is not None:
            self.locking.dispose()


def upsert(session: Session, table: Table) -> PostgresqlInsert | SqliteInsert:
    """An ``INSERT`` into ``table`` that may say what happens to rows that are there already."""
    if session.get_bind().dialect.name == "postgresql":
        return PostgresqlInsert(table)
    return SqliteInsert(table)


def open_database(url: DatabaseUrl) -> Database:
    """The database at ``url``; a SQLite file is created when it is missing.

    Raises:
        RegistryError: PostgreSQL cannot be reached, or its driver is not installed.
    """
    if url.file is not None:
        from . import sqlite

        reading, writing = sqlite.sessions(url.file)
        attach(writing)
        return Database(url, reading, writing, sqlite.refusal_of)
    from . import postgresql

    reading, writing = postgresql.sessions(url)
    attach(writing)
    locking = postgresql.engine_for_locks(url)
    return Database(url, reading, writing, postgresql.refusal_of, locking)
