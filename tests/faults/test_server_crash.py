"""kill -9 at every step of a publish, then a restart: nothing half-published, nothing lost.

A step is a system call of `storage.durable` (the only functions that change a disk) or a commit
of the database. A forked child publishes and kills itself just before step N, which is just after
step N-1; the parent then does what a restart does and looks at what is left. Which steps there are
says a publish that nobody kills.

On PostgreSQL the steps are those that make something visible: commits, renames and links. What is
between them is the same as on SQLite.
"""

from __future__ import annotations

import json
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
from thorough import kind_of_step, of_each_kind

from forge_server.app import create_app
from forge_server.operate.check import check_registry
from storage import durable

__all__ = ["_fresh_registry"]


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
        self.at, self.names = at, names
        self.kinds: list[str] = []  # of the steps that there were
        self.lock = threading.Lock()

    def wrap(self, owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:
            with self.lock:  # some steps are made by several threads at once
                self.kinds.append(kind_of_step(name))
                number = len(self.kinds)
            if number == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, step)

    def arm(self) -> None:
        for name in self.names:
            self.wrap(durable, name)
        self.wrap(SessionTransaction, "commit")


def survives(act: Callable[[], object]) -> bool:
    """Whether ``act``, in a child, lived to its end; killed it may be, fail it may not."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            act()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "it failed by itself"
    return os.WIFEXITED(ended)


def until_killed(killer: Killer, act: Callable[[], object], kinds: Path) -> bool:
    """Whether ``act``, in a child, lived to its end; then ``kinds`` has those of its steps."""

    def counted() -> None:
        act()
        kinds.write_text(json.dumps(killer.kinds))

    return survives(counted)


def kill_at_each_kind(
    walk: Callable[[int, Path], bool], folder: Path, least: int, ways: int = 1
) -> None:
    """``walk`` is killed at the step whose number it is given, and says whether it lived to the
    end; then it has written the kinds of its steps, at ``least`` so many, to the file."""
    kinds = folder / "kinds"
    assert walk(0, kinds), "killed by somebody else"
    steps = json.loads(kinds.read_text())
    assert len(steps) >= least, "hardly any step was counted: the test looks at nothing"
    chosen = of_each_kind(steps, ways=ways)
    killed = [at for at in chosen if not walk(at, kinds)]
    print(f"{len(killed)} kills at {len(chosen)} of {len(steps)} steps")
    # Threads may come to steps in another order, or the clock to some more: the walk whose steps
    # were counted may have more at its end than another, and then nobody is killed there.
    assert len(killed) >= 0.8 * len(chosen)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_kill_at_every_step(prepared: World, tmp_path: Path) -> None:
    on_sqlite = database_url(prepared.root) is None
    names = durable.PRIMITIVES if on_sqlite else ("rename", "link")

    def walk(at: int, kinds: Path) -> bool:
        place = tmp_path / str(at)
        place.mkdir()
        world = World(copy_registry(prepared.root, place), keys=dict(prepared.keys))
        world.token_of_sara = prepared.token_of_sara  # type: ignore[attr-defined]
        killer = Killer(at, names)

        def publish() -> None:
            client = Client(create_app(world.registry).test_client(), world.token_of_sara)  # type: ignore[attr-defined]
            built = world.release(version="1.1.0")
            killer.arm()
            client.publish(built)

        finished = until_killed(killer, publish, kinds)
        look_after_restart(world, at)
        drop_database(world.root)
        return finished

    kill_at_each_kind(walk, tmp_path, *((100, 6) if on_sqlite else (15, 2)))


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
