"""SQL that was written once is not written again for the next test.

SQLAlchemy keeps the text of each statement with the engine that it was first written for, and an
engine here lives as long as one test: writing all of them anew took half of the time of tests that
publish. So dialects that would write the same count as one here, and all engines share what they
keep. Whoever imports `server_fixtures` has it; processes that tests start do not.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_STATEMENTS: LRUCache[Any, Any] = LRUCache(5000)


def _equal(self: object, other: object) -> bool:
    return type(self) is type(other)  # all of ours are made with the same options


# What an engine sets at its start is dropped.
Engine._compiled_cache = property(lambda _: _STATEMENTS, lambda *_: None)  # type: ignore[assignment]
for _kind in (PGDialect_psycopg, SQLiteDialect_pysqlite):
    _kind.__eq__ = _equal  # type: ignore[method-assign]
    _kind.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
