"""What was compiled once is not compiled again for the next test: SQL, rules of addresses, pages.

SQLAlchemy keeps the text of each statement with the engine that it was first written for, and an
engine here lives as long as one test: writing all of them anew took half of the time of tests that
publish. So dialects that would write the same count as one here, and all engines share what they
keep.

An application is made for each test as well, of the same rules, whose parsing was most of the time
that it took; and the first page that links to a rule compiles what builds its address. A rule that
reads as an earlier one takes over what that one was compiled to. So does a template of a page.

Whoever imports `server_fixtures` has this; processes that tests start do not.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

from forge_server.rules import LateRule

_STATEMENTS: LRUCache[Any, Any] = LRUCache(5000)


def _equal(self: object, other: object) -> bool:
    return type(self) is type(other)  # all of ours are made with the same options


# What an engine sets at its start is dropped.
Engine._compiled_cache = property(lambda _: _STATEMENTS, lambda *_: None)  # type: ignore[assignment]
for _kind in (PGDialect_psycopg, SQLiteDialect_pysqlite):
    _kind.__eq__ = _equal  # type: ignore[method-assign]
    _kind.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]

_RULES: dict[Any, LateRule] = {}
_compile = LateRule.compile


def _compile_once(self: LateRule) -> None:
    assert self.map is not None
    key = (
        self.rule,
        self.subdomain,
        self.host,
        self.merge_slashes,
        tuple(sorted((self.defaults or {}).items())),
        tuple(self.map.converters.items()),
    )
    first = _RULES.setdefault(key, self)
    if first is self:
        _compile(self)
        return
    for name in ("arguments", "_parts", "_trace", "_converters"):
        setattr(self, name, getattr(first, name))
    for name in ("_build", "_build_unknown"):
        setattr(self, name, getattr(first, name).__func__.__get__(self))


LateRule.compile = _compile_once  # type: ignore[method-assign]  # the one place that all pass


class _Templates(BytecodeCache):
    """By the text of a template, in memory."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._kept[bucket.key, bucket.checksum] = bucket.code


Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": _Templates()}
