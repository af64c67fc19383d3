"""A registry on PostgreSQL alone, and connections to it that are none of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres import PostgresServer, name_of
from server_fixtures import World, database_url, new_database

from forge_server.operate.initialise import initialise


@pytest.fixture(scope="module")
def _fresh_registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """On PostgreSQL alone."""
    root = tmp_path_factory.mktemp("registry") / "reg"
    initialise(root, dev=True, database=new_database(request, "postgresql"))
    return root


def stranger(world: World) -> psycopg.Connection[Any]:
    """A connection to the registry's database that is not the registry's."""
    return psycopg.connect(database_url(world.root) or "", autocommit=True)


def terminate(world: World, server: PostgresServer) -> None:
    """Cuts every connection to the registry's database, and returns when they are gone: a backend
    that was only told to end may still answer the pool's question whether it lives."""
    name = name_of(database_url(world.root) or "")
    server.execute(
        f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname='{name}'"
    )
