"""kill -9 at every step of `forge-server gc`, then an upload, a publish and another walk."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from server_fixtures import (
    Client,
    World,
    _fresh_registry,
    copy_registry,
    database_url,
    drop_database,
)
from test_server_crash import Killer

from forge_server.app import create_app
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR

__all__ = ["_fresh_registry"]
MAX_STEPS = 200


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


def collect_until_killed(world: World, killer: Killer) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            collection = world.registry.collection
            killer.arm()
            collection.collect(OPERATOR, timedelta(0))
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "the walk failed by itself"
    return os.WIFEXITED(ended)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("first", ["publish", "walk"])
def test_kill_at_every_step(prepared: World, tmp_path: Path, first: str) -> None:
    for at in range(1, MAX_STEPS):
        place = tmp_path / str(at)
        place.mkdir()
        world = World(copy_registry(prepared.root, place), keys=dict(prepared.keys))
        on_sqlite = database_url(world.root) is None
        finished = collect_until_killed(world, Killer(at, ("unlink", "fsync")))
        look_after(world, prepared.token_of_sara, first)  # type: ignore[attr-defined]
        drop_database(world.root)
        if finished:
            assert at > 8, "hardly any step was counted: the test looks at nothing"
            assert on_sqlite or database_url(prepared.root)
            return
    raise AssertionError(f"a walk of more than {MAX_STEPS} steps")


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
