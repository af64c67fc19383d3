"""Two servers on one registry, publishers at both, and kill -9 of one server after the other.

On PostgreSQL each server has a data folder of its own; on SQLite they are two processes on one
folder. Watchers read the log's checkpoint and the timestamp all the while. Whatever was killed:
no history is seen twice, nothing goes back, and nothing that was promised is missing.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from publishers import SOME_PUBLISHERS, publish_while_killed
from server_fixtures import (
    LiveServer,
    World,
    _fresh_registry,
    database_url,
    replica,
    start_server,
    world,
)

__all__ = ["_fresh_registry", "world"]
KILLS = int(os.environ.get("FORGE_TEST_KILLS", "3"))


@dataclass
class Servers:
    """Two servers; a killed one is started again, on another port."""

    roots: list[Path]
    running: list[LiveServer] = field(default_factory=list)

    def __enter__(self) -> Servers:
        self.running.extend(start_server(root) for root in self.roots)
        return self

    def kill(self, at: int) -> None:
        self.running[at].kill()
        self.running[at] = start_server(self.roots[at])

    def __exit__(self, *_: object) -> None:
        for server in self.running:
            server.kill()


@pytest.fixture
def servers(world: World, tmp_path: Path) -> Servers:
    roots = [world.root, world.root]
    if database_url(world.root) is not None:
        roots[1] = replica(world, tmp_path / "second").root
    return Servers(roots)


def test_killed_at_random_moments(world: World, servers: Servers) -> None:
    dice = random.Random()
    seed = dice.randrange(10**9)
    dice.seed(seed)
    token = world.user("sara")
    world.organisation(token)
    with servers:
        publish_while_killed(
            world, servers, token, dice, kills=KILLS, seed=seed, publishers=SOME_PUBLISHERS
        )
