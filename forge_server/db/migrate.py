"""Schema changes through Alembic, driven from code: no ini file on anybody's disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from .models import Base

_SCRIPTS = Path(__file__).with_name("migrations")


def migrate(database: Path) -> tuple[str | None, str]:
    """Brings the schema to its newest form; returns ``(revision before, revision after)``."""
    with _connected(database) as connection:
        before = MigrationContext.configure(connection).get_current_revision()
        config = _config()
        config.attributes["connection"] = connection
        config.attributes["target_metadata"] = Base.metadata
        command.upgrade(config, "head")
    return before, newest_revision()


def current_revision(database: Path) -> str | None:
    """The revision that the database is at; None when it has no schema yet."""
    with _connected(database) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """The revision that this version of the program needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


@contextmanager
def _connected(database: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite+pysqlite:///{database}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
