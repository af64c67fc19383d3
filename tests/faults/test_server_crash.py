"""kill -9 at every step of a publish, then a restart: nothing half-published, nothing lost.

A step is a system call of `storage.durable` (the only functions that change a disk) or a commit
of the database. A forked child publishes and kills itself just before step N, which is just after
step N-1; the parent then does what a restart does and looks at what is left. N goes up until the
publish ends by itself.

On PostgreSQL the steps are those that make something visible: commits, renames and links. What is
between them is the same as on SQLite.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import (
    Client,
    World,
    _fresh_registry,
    copy_registry,
    database_url,
    drop_database,
)
from sqlalchemy.orm.session import SessionTransaction
from thorough import steps

from forge_server.app import create_app
from forge_server.operate.check import check_registry
from storage import durable

__all__ = ["_fresh_registry"]
MAX_STEPS = 400


@pytest.fixture(scope="module")
def prepared(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A registry with an approved organisation and one release, closed."""
    world = World(copy_registry(_fresh_registry, tmp_path_factory.mktemp("prepared")))
    world.token_of_sara = token = world.user("sara")  # type: ignore[attr-defined]
    world.organisation(token)
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(world.release(version="1.0.0"))
    world.close()
    return world


class Killer:
    """Counts steps, and ends this very process with SIGKILL at one of them."""

    def __init__(self, at: int, names: Sequence[str]) -> None:
        self.at, self.names, self.count = at, names, 0
        self.lock = threading.Lock()

    def wrap(self, owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:
            with self.lock:  # some steps are made by several threads at once
                self.count += 1
                number = self.count
            if number == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, step)

    def arm(self) -> None:
        for name in self.names:
            self.wrap(durable, name)
        self.wrap(SessionTransaction, "commit")


def publish_until_killed(world: World, killer: Killer) -> bool:
    """Publishes 1.1.0 in a child; whether the child lived to the end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            client = Client(create_app(world.registry).test_client(), world.token_of_sara)  # type: ignore[attr-defined]
            built = world.release(version="1.1.0")
            killer.arm()
            client.publish(built)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "the publish failed by itself"
    return os.WIFEXITED(ended)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_kill_at_every_step(prepared: World, tmp_path: Path) -> None:
    on_sqlite = database_url(prepared.root) is None
    for at in steps(MAX_STEPS, every=3 if on_sqlite else 1, first=3 if on_sqlite else 1):
        place = tmp_path / str(at)
        place.mkdir()
        world = World(copy_registry(prepared.root, place), keys=dict(prepared.keys))
        world.token_of_sara = prepared.token_of_sara  # type: ignore[attr-defined]
        names = durable.PRIMITIVES if on_sqlite else ("rename", "link")
        finished = publish_until_killed(world, Killer(at, names))
        look_after_restart(world, at)
        drop_database(world.root)
        if finished:
            assert at > (100 if on_sqlite else 15), (
                "hardly any step was counted: the test looks at nothing"
            )
            return
    raise AssertionError(f"a publish of more than {MAX_STEPS} steps")


def look_after_restart(world: World, at: int) -> None:
    registry = world.reopen()
    registry.publication.materialise()  # what `forge-server run` does at its start
    report = check_registry(registry, deep=True)
    assert report.problems == (), f"step {at}"
    client = Client(create_app(registry).test_client(), world.token_of_sara)  # type: ignore[attr-defined]
    versions = [
        row["version"] for row in client.get("/api/v1/components/minds-lab/my-model")["versions"]
    ]
    assert "1.0.0" in versions
    if "1.1.0" not in versions:  # then the same publish goes through as if nothing had been
        client.publish(world.release(version="1.1.0"))
        assert check_registry(registry, deep=True).problems == ()
    world.close()
