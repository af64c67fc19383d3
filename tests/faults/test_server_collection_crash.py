"""kill -9 at every step of `forge-server gc`, then an upload, a publish and another walk."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from server_fixtures import (
    Client,
    World,
    _fresh_registry,
    copy_registry,
    drop_database,
)
from test_server_crash import Killer, kill_at_each_kind, until_killed

from forge_server.app import create_app
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR

__all__ = ["_fresh_registry"]


@pytest.fixture(scope="module")
def prepared(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One release, and the files of another that was never published; closed."""
    world = World(copy_registry(_fresh_registry, tmp_path_factory.mktemp("prepared")))
    world.token_of_sara = token = world.user("sara")  # type: ignore[attr-defined]
    world.organisation(token)
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(world.release(version="1.0.0"))
    client.put_blobs(world.release(version="1.1.0", files={"weights.bin": b"2" * 1000}))
    world.close()
    return world


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("first", ["publish", "walk"])
def test_kill_at_every_step(prepared: World, tmp_path: Path, first: str) -> None:
    def walk(at: int, kinds: Path) -> bool:
        place = tmp_path / str(at)
        place.mkdir()
        world = World(copy_registry(prepared.root, place), keys=dict(prepared.keys))
        killer = Killer(at, ("unlink", "fsync"))

        def collect() -> None:
            collection = world.registry.collection
            killer.arm()
            collection.collect(OPERATOR, timedelta(0))

        finished = until_killed(killer, collect, kinds)
        look_after(world, prepared.token_of_sara, first)  # type: ignore[attr-defined]
        drop_database(world.root)
        return finished

    kill_at_each_kind(walk, tmp_path, 8)


def look_after(world: World, token: str, first: str) -> None:
    assert check_registry(world.registry, deep=True).problems == ()
    world.clock.ahead = timedelta(seconds=5)
    built = world.release(version="1.1.0", files={"weights.bin": b"2" * 1000})
    if first == "walk":
        world.registry.collection.collect(OPERATOR, timedelta(0))
        assert world.registry.blobs.missing(built.blobs()) == set(built.blobs())
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(built)
    world.clock.ahead = timedelta(seconds=10)
    world.registry.collection.collect(OPERATOR, timedelta(0))
    assert check_registry(world.registry, deep=True).problems == ()
    world.close()
