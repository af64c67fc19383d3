"""The whole database as one file that either kind of database reads back.

JSON, a line a row, gzipped: a line that names the schema, then for each table a line with its name
and columns and a line for each row, in the order in which rows may refer to each other; the last
line says how many rows there were, so that a file that was cut short is known as one. Bytes, times
and JSON columns are objects with one member (``b64``, ``t``, ``j``), everything else stands for
itself.

Everything is read in one transaction, which sees one moment on either database; what is written
meanwhile is not in the file.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import JSON, Table, func, insert, select, text
from sqlalchemy.orm import Session

from ..db.models import Base
from ..db.revisions import revision_of
from ..errors import RegistryError
from ..services.wanted import COLUMNS

FORMAT: Final = 1
# Of blobs that are not in a backup; they begin anew after it.
_LEFT_OUT: Final = frozenset(("blob_leases", "blob_damage"))
_AT_ONCE: Final = 500


def write_export(session: Session, out: BinaryIO) -> int:
    """Writes everything that ``session`` sees into ``out``; returns how many rows."""
    rows = 0
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=3, mtime=0) as file:
        file.write(_line({"format": FORMAT, "schema": revision_of(session)}))
        for table in _tables():
            columns = list(table.columns)
            file.write(_line({"table": table.name, "columns": [each.name for each in columns]}))
            is_json = [isinstance(each.type, JSON) for each in columns]
            query = select(table).order_by(*table.primary_key.columns)
            for row in session.execute(query, execution_options={"yield_per": _AT_ONCE}):
                values = [_encoded(*pair) for pair in zip(row, is_json, strict=True)]
                file.write(_line(values))
                rows += 1
        file.write(_line({"rows": rows}))
    return rows


def read_into(session: Session, path: Path) -> int:
    """Adds every row of the file at ``path`` to the empty tables that ``session`` writes to;
    returns how many.

    Raises:
        RegistryError: not such a file, or one that was cut short (``backup-damaged``).
    """
    tables = {table.name: table for table in _tables()}
    waiting: list[dict[str, Any]] = []
    table: Table | None = None
    columns: list[str] = []
    for line in _lines(path):
        if isinstance(line, list):
            waiting.append(dict(zip(columns, map(_decoded, line), strict=True)))
            if len(waiting) < _AT_ONCE:
                continue
        if waiting and table is not None:
            session.execute(insert(table), waiting)
            waiting = []
        if isinstance(line, dict) and "table" in line:
            table, columns = tables[line["table"]], line["columns"]
    _number_on(session)
    return last_line(path)


def last_line(path: Path) -> int:
    """How many rows the file says that it has; it was read to its end for that."""
    rows = found = 0
    for line in _lines(path):
        if isinstance(line, list):
            found += 1
        elif "rows" in line:
            rows = line["rows"]
    if rows != found:
        raise _damaged(path, f"{rows} rows", f"{found}")
    return rows


def wanted_in(path: Path) -> Iterator[str]:
    """Every digest that a release in the file refers to, at least once."""
    names = {column.key for column in COLUMNS}
    tables = {column.class_.__tablename__ for column in COLUMNS}
    at: list[int] = []
    for line in _lines(path):
        if isinstance(line, dict):
            taken = line["columns"] if line.get("table") in tables else []
            at = [number for number, name in enumerate(taken) if name in names]
        else:
            yield from (line[number] for number in at if line[number] is not None)


def schema_of(path: Path) -> str | None:
    """The revision of the schema that the file is of."""
    first = next(_lines(path), None)
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise _damaged(path, f"an export of format {FORMAT}", "another")
    schema: str | None = first.get("schema")
    return schema


def _tables() -> list[Table]:
    return [table for table in Base.metadata.sorted_tables if table.name not in _LEFT_OUT]


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _lines(path: Path) -> Iterator[Any]:
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                yield json.loads(line)
    except (EOFError, ValueError, gzip.BadGzipFile) as error:
        raise _damaged(path, "JSON lines", type(error).__name__) from error


def _damaged(path: Path, expected: str, found: str) -> RegistryError:
    return RegistryError(
        "backup-damaged", f"{path}: expected {expected}, found {found}", "take another backup"
    )


def _encoded(value: object, is_json: bool) -> object:
    if value is None:
        return None
    if is_json:
        return {"j": value}
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"t": value.isoformat()}
    return value


def _decoded(value: Any) -> object:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "b64":
        return base64.b64decode(inner)
    return datetime.fromisoformat(inner) if kind == "t" else inner


def _number_on(session: Session) -> None:
    """PostgreSQL numbers new rows from a counter of its own, which is told where to go on."""
    if session.get_bind().dialect.name != "postgresql":
        return
    for table in _tables():
        keys = list(table.primary_key.columns)
        if len(keys) != 1 or keys[0].autoincrement is False or keys[0].type.python_type is not int:
            continue
        name = session.scalar(
            text("SELECT pg_get_serial_sequence(:table, :column)"),
            {"table": table.name, "column": keys[0].name},
        )
        last = session.scalar(select(func.max(keys[0])))
        if name is not None and last is not None:
            session.execute(text("SELECT setval(:name, :last)"), {"name": name, "last": last})
