"""A server that lost its lock between machines, or its last changes, signs nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from on_postgresql import _fresh_registry, stranger, terminate
from postgres import PostgresServer, name_of
from server_fixtures import Client, World, client, database_url, replica, sara, world
from sqlalchemy import select

from forge_server.app import create_app
from forge_server.db.models import LogCheckpoint
from forge_server.db.postgresql import PUBLISH_LOCK
from forge_server.operate.check import check_registry
from forge_server.services.log_files import size_of
from signing.roles import parse_signed
from storage import PublishedTree

__all__ = ["_fresh_registry", "client", "sara", "world"]


class TestLostLock:
    """A holder of the publishing lock that lost it (a frozen machine, a cut line) goes on where it
    was. What it is about to write was overtaken meanwhile."""

    @pytest.mark.parametrize("file", ["timestamp.json", "log/checkpoint"])
    @pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
    def test_nothing_goes_back(
        self,
        world: World,
        sara: Client,
        tmp_path: Path,
        file: str,
        noticed: bool,
    ) -> None:
        """``unnoticed``: it was frozen after it looked and before it wrote."""
        sara.publish(world.release(version="1.0.0"))
        other = replica(world, tmp_path / "second")
        quick = Client(create_app(other.registry).test_client(), sara.token)
        tree = world.registry.tree
        state: dict[str, int] = {}
        original = tree.swap_if if not noticed else tree.put_once

        def overtaken(path: str, data: bytes, *rest: Any) -> Any:
            if not state and path.startswith(file if not noticed else "log/tile"):
                state["overtaken"] = 1
                cut_lock(world)
                quick.publish(other.release(version="1.2.0"))
                state["stamp"] = stamp_version(tree)
                state["size"] = size_of(tree.read("log/checkpoint"))
            return original(path, data, *rest)

        name = "swap_if" if not noticed else "put_once"
        setattr(tree, name, overtaken)
        built = world.release(version="1.1.0")
        sara.put_blobs(built)
        answer = sara.post("/api/v1/releases", built.body())
        assert state["overtaken"]
        assert answer.get("code") in (None, "database-unavailable", "busy"), answer
        if noticed:
            assert answer["code"] == "database-unavailable"
        assert stamp_version(tree) >= state["stamp"]
        assert size_of(tree.read("log/checkpoint")) >= state["size"]
        setattr(tree, name, original)
        sara.post("/api/v1/releases", built.body(), expect=200)
        assert check_registry(world.registry, deep=True).problems == ()
        other.close()

    @pytest.mark.parametrize("before", ["targets/", "log/tile"])
    def test_who_lost_it_replaces_nothing_any_more(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch, before: str
    ) -> None:
        tree, gone_on = world.registry.tree, list[str]()
        original = tree.put_once

        def cut(path: str, data: bytes) -> None:
            if path.startswith(before) and not gone_on:
                gone_on.append("cut")
                cut_lock(world)
            original(path, data)

        built = world.release()
        sara.put_blobs(built)
        with monkeypatch.context() as patch:
            patch.setattr(tree, "put_once", cut)
            patch.setattr(tree, "swap_if", lambda path, *_: gone_on.append(path))
            sara.post("/api/v1/releases", built.body(), expect=503, code="database-unavailable")
        assert gone_on == ["cut"]
        sara.post("/api/v1/releases", built.body(), expect=200)
        assert check_registry(world.registry, deep=True).problems == ()

    def test_replicas_take_turns(self, world: World, sara: Client, tmp_path: Path) -> None:
        """While one publishes, the other waits, whatever folder it has."""
        other = replica(world, tmp_path / "second")
        with world.registry.publication.lock.held():
            waiting = threading.Thread(target=lambda: enter(other))
            waiting.start()
            with stranger(world) as connection:
                query = (
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                    f"AND objid = {PUBLISH_LOCK & 0xFFFFFFFF}"
                )
                while connection.execute(query).fetchone() != (1,):
                    assert waiting.is_alive()
        waiting.join()
        other.close()


def stamp_version(tree: PublishedTree) -> int:
    return parse_signed(tree.read("timestamp.json"), "timestamp", "timestamp").signed.version


def enter(world: World) -> None:
    with world.registry.publication.lock.held():
        pass


def cut_lock(world: World) -> None:
    """Ends the connection that holds the publishing lock."""
    with stranger(world) as connection:
        cut = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            f"AND granted AND objid = {PUBLISH_LOCK & 0xFFFFFFFF} "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchall()
        assert cut == [(True,)]
        query = f"SELECT 1 FROM pg_locks WHERE objid = {PUBLISH_LOCK & 0xFFFFFFFF} AND granted"
        while connection.execute(query).fetchone() is not None:
            pass


def test_a_standby_that_lacks_the_last_changes_signs_nothing(
    world: World, sara: Client, postgres_server: PostgresServer
) -> None:
    """It takes over while the server runs. Signing on would make a second history."""
    url = database_url(world.root) or ""
    world.registry.database.dispose()
    standby = postgres_server.create(url)
    sara.publish(world.release(version="1.0.0"))
    stamp = world.registry.tree.read("timestamp.json")
    seen = world.registry.tree.read("log/checkpoint")
    terminate(world, postgres_server)
    postgres_server.execute(f"ALTER DATABASE {name_of(url)} RENAME TO forge_primary")
    postgres_server.execute(f"ALTER DATABASE {name_of(standby)} RENAME TO {name_of(url)}")
    with world.registry.database.read() as session:
        before = session.scalars(select(LogCheckpoint.size)).all()
    built = world.release(version="2.0.0")
    sara.put_blobs(built)
    answer = sara.post("/api/v1/releases", built.body(), expect=503, code="read-only")
    assert "older than what the world has seen" in answer["detail"]
    assert "older than" in (world.registry.publication.read_only or "")
    with world.registry.database.read() as session:
        assert session.scalars(select(LogCheckpoint.size)).all() == before
    assert world.registry.tree.read("timestamp.json") == stamp
    assert world.registry.tree.read("log/checkpoint") == seen
    # The newest copy is brought back: the same server goes on.
    terminate(world, postgres_server)
    postgres_server.execute(f"DROP DATABASE {name_of(url)} WITH (FORCE)")
    postgres_server.execute(f"ALTER DATABASE forge_primary RENAME TO {name_of(url)}")
    sara.publish(world.release(version="2.0.0"))
    assert check_registry(world.registry, deep=True).problems == ()
