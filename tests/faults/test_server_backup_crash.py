"""kill -9 at every step of `forge-server backup` and `restore`: what is left is refused, or is
finished by the same command again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_fixtures import (
    ON_SQLITE,
    SERVERS,
    Client,
    World,
    _fresh_registry,
    copy_registry,
    database_url,
    drop_database,
)
from test_server_crash import Killer
from thorough import steps

from forge_server.app import create_app
from forge_server.errors import RegistryError
from forge_server.manage import cli
from forge_server.operate.backup import back_up, find_backup
from forge_server.operate.check import check_registry
from forge_server.operate.restore import Wishes, restore
from forge_server.wiring import utc_now

__all__ = ["_fresh_registry"]
# The steps are those of files. On PostgreSQL the whole database is one transaction, and a round
# takes a database of its own: a hundred of them would tell nothing new.
pytestmark = ON_SQLITE
MAX_STEPS = 200
STEPS = ("rename", "link", "unlink")  # and the commits: what makes something visible


@pytest.fixture(scope="module")
def prepared(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A registry with a release, closed."""
    world = World(copy_registry(_fresh_registry, tmp_path_factory.mktemp("prepared")))
    token = world.user("sara")
    world.organisation(token)
    Client(create_app(world.registry).test_client(), token).publish(world.release())
    world.close()
    return world


def until_killed(killer: Killer, act: Callable[[], object]) -> bool:
    """Whether ``act``, in a child, lived to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            killer.arm()
            act()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "it failed by itself"
    return os.WIFEXITED(ended)


def wishes(world: World, made: list[str]) -> Wishes:
    """With an empty database of the same kind, which is put into ``made``."""
    url = database_url(world.root)
    if url is not None and not made:
        made.append(SERVERS[-1].create())
    return Wishes(newest=True, database=made[0] if made else None)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_backup(prepared: World, tmp_path: Path) -> None:
    for at in steps(MAX_STEPS, every=2):
        target = tmp_path / f"target{at}"
        world = World(prepared.root, keys=prepared.keys)

        def act(world: World = world, target: Path = target) -> None:
            back_up(world.registry, target, with_keys=True, tell=print)

        finished = until_killed(Killer(at, STEPS), act)
        code = None
        try:
            find_backup(target, None)
        except RegistryError as error:
            code = error.code
        assert code in ((None,) if finished else (None, "backup-not-found")), at
        act()  # finishes, or is another one
        world.close()
        made: list[str] = []
        back = World(tmp_path / f"back{at}")
        restore(target, back.root, wishes(world, made), utc_now, print)
        assert check_registry(back.registry, deep=True).problems == (), at
        back.close()
        drop_database(back.root)
        if finished:
            assert at > 8, "hardly any step was counted: the test looks at nothing"
            return
    raise AssertionError(f"a backup of more than {MAX_STEPS} steps")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_restore(prepared: World, tmp_path: Path) -> None:
    world, target = World(prepared.root, keys=prepared.keys), tmp_path / "target"
    back_up(world.registry, target, with_keys=True, tell=print)
    world.close()
    for at in steps(MAX_STEPS, every=3):
        made: list[str] = []
        back = World(tmp_path / f"back{at}")
        asked = wishes(world, made)

        def act(back: World = back, asked: Wishes = asked) -> None:
            restore(target, back.root, asked, utc_now, print)

        finished = until_killed(Killer(at, STEPS), act)
        if not (back.root / "server.toml").exists():
            assert not finished
            result = CliRunner().invoke(cli, ["check", str(back.root)])
            assert result.exit_code == 1
            assert "expected a registry's data folder, found none" in result.stderr, at
            act()
        assert check_registry(back.registry, deep=True).problems == (), at
        back.close()
        drop_database(back.root)
        if finished:
            assert at > 20, "hardly any step was counted: the test looks at nothing"
            return
    raise AssertionError(f"a restore of more than {MAX_STEPS} steps")
