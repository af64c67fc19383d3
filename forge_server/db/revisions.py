"""Which form of the schema a database has, and which one this program needs; without Alembic,
which takes long to import and is needed only where a schema changes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

_VERSIONS = Path(__file__).with_name("migrations") / "versions"


def revision_of(session: Session) -> str | None:
    """The revision that the database of ``session`` is at; None when it has no schema yet."""
    connection = session.connection()
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


@cache
def newest_revision() -> str:
    """The revision that this version of the program needs: the last step's, which its file names
    as in ``v0016_webhooks.py``."""
    return max(path.name[1:5] for path in _VERSIONS.glob("v????_*.py"))
