"""Schema changes through Alembic, driven from code: no ini file on anybody's disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect

from . import (  # noqa: F401  (their tables are part of the schema)
    hook_models,
    login_models,
    recall_models,
    upstream_models,
)
from .models import Base
from .revisions import newest_revision
from .url import DatabaseUrl

_SCRIPTS = Path(__file__).with_name("migrations")


def migrate(database: DatabaseUrl) -> tuple[str | None, str]:
    """Brings the schema to its newest form; returns ``(revision before, revision after)``.

    Raises:
        RegistryError: PostgreSQL lacks what search needs (``database-lacks-extension``).
    """
    with _connected(database) as connection:
        before = MigrationContext.configure(connection).get_current_revision()
        if database.file is None:
            from . import postgresql

            postgresql.require_trigrams(connection)
        config = _config()
        config.attributes["connection"] = connection
        config.attributes["target_metadata"] = Base.metadata
        command.upgrade(config, "head")
    return before, newest_revision()


def current_revision(database: DatabaseUrl) -> str | None:
    """The revision that the database is at; None when it has no schema yet."""
    with _connected(database) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_empty(database: DatabaseUrl) -> bool:
    """Whether there is no table in the database yet."""
    with _connected(database) as connection:
        return not inspect(connection).get_table_names()


def empty_again(database: DatabaseUrl) -> None:
    """Takes back what `migrate` made in a database that was empty before."""
    with _connected(database) as connection:
        found = MetaData()
        found.reflect(connection)
        found.drop_all(connection)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


@contextmanager
def _connected(database: DatabaseUrl) -> Iterator[Connection]:
    if database.file is not None:
        from . import sqlite

        engine = sqlite.engine_for_migration(database.file)
    else:
        from . import postgresql

        engine = postgresql.engine_for_migration(database)
        postgresql.require_reachable(database, engine)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
