"""kill -9 at every step of `forge-server backup` and `restore`: what is left is refused, or is
finished by the same command again, and backups that were there stay whole.

On SQLite the steps are those of files, and the target is empty; on PostgreSQL those of files and
every statement that the database is asked, and the target holds a backup from before the last
release. Some are left out, more of them on PostgreSQL, where a round takes a database of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from server_fixtures import (
    SERVERS,
    Client,
    World,
    _fresh_registry,
    copy_registry,
    database_url,
    drop_database,
)
from sqlalchemy.engine.default import DefaultDialect
from test_server_crash import Killer, survives
from test_server_failing_steps import Failing
from thorough import steps

from forge_server.app import create_app
from forge_server.errors import RegistryError
from forge_server.manage import cli
from forge_server.operate.backup import back_up, find_backup
from forge_server.operate.check import check_registry
from forge_server.operate.restore import Wishes, restore
from forge_server.wiring import utc_now

__all__ = ["_fresh_registry"]
MAX_STEPS = 1000
STEPS = ("rename", "link", "unlink")  # and the commits: what makes something visible


@pytest.fixture(scope="module")
def prepared(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A registry with a release, closed; on PostgreSQL with two, and a backup of the first in
    ``target`` beside it."""
    world = World(copy_registry(_fresh_registry, tmp_path_factory.mktemp("prepared")))
    token = world.user("sara")
    world.organisation(token)
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(world.release())
    if not on_sqlite(world):
        back_up(world.registry, world.root.with_name("target"), with_keys=True, tell=print)
        client.publish(world.release(version="2.0.0", files={"more.bin": b"2" * 1000}))
    world.close()
    return world


def on_sqlite(world: World) -> bool:
    return database_url(world.root) is None


class Stopping(Killer):
    """Statements are steps as well, where they go to a server."""

    def __init__(self, at: int, world: World) -> None:
        super().__init__(at, STEPS)
        self.on_sqlite = on_sqlite(world)

    def arm(self) -> None:
        super().arm()
        if not self.on_sqlite:
            self.wrap(DefaultDialect, "do_execute")


def until_killed(killer: Killer, act: Callable[[], object]) -> bool:
    """Whether ``act``, in a child where ``killer`` is armed, lived to its end."""

    def armed() -> None:
        killer.arm()
        act()

    return survives(armed)


def wishes(world: World, made: list[str]) -> Wishes:
    """With an empty database of the same kind, which is put into ``made``."""
    url = database_url(world.root)
    if url is not None and not made:
        made.append(SERVERS[-1].create())
    return Wishes(newest=True, database=made[0] if made else None)


def whole_backup(target: Path) -> str | None:
    """The code of what `restore` would say."""
    try:
        find_backup(target, None)
    except RegistryError as error:
        return error.code
    return None


def require_restorable(target: Path, folder: Path, releases: int) -> None:
    """Brings the newest backup back into a SQLite file."""
    back = World(folder)
    restore(target, back.root, Wishes(newest=True), utc_now, print)
    report = check_registry(back.registry, deep=True)
    assert (report.problems, report.releases) == ((), releases), folder
    back.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_backup(prepared: World, tmp_path: Path) -> None:
    earlier, finished = prepared.root.with_name("target"), False
    for at in steps(MAX_STEPS, every=2 if on_sqlite(prepared) else 15):
        target = tmp_path / f"target{at}"
        if earlier.exists():
            shutil.copytree(earlier, target)
        world = World(prepared.root, keys=prepared.keys)

        def act(world: World = world, target: Path = target) -> None:
            back_up(world.registry, target, with_keys=True, tell=print)

        finished = until_killed(Stopping(at, prepared), act)
        code = whole_backup(target)
        if finished or earlier.exists():
            assert code is None, at
        assert code in (None, "backup-not-found"), at
        act()  # finishes, or is another one
        world.close()
        require_restorable(target, tmp_path / f"back{at}", 2 if earlier.exists() else 1)
        if finished:
            assert at > 8, "hardly any step was counted: the test looks at nothing"
            return
    raise AssertionError(f"a backup of more than {MAX_STEPS} steps")


# SQLAlchemy leaves a connection to the garbage collector when the first that it asks of it fails.
@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.parametrize("_fresh_registry", ["postgresql"], indirect=True)
def test_a_connection_that_is_lost(
    prepared: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says so in words, whatever was asked just then; the next one succeeds."""
    target, said = tmp_path / "target", 0
    shutil.copytree(prepared.root.with_name("target"), target)
    before = len(list((target / "backups").iterdir()))
    for at in steps(MAX_STEPS, every=15, first=5):
        broken = psycopg.OperationalError("server closed the connection unexpectedly")
        failing = Failing(at, done=False, names=(), broken=broken)
        with monkeypatch.context() as patch:
            failing._wrap(patch, DefaultDialect, "do_execute", broken)
            result = CliRunner().invoke(
                cli, ["backup", str(prepared.root), str(target), "--with-keys"]
            )
        assert whole_backup(target) is None, at
        if len(failing.kinds) < at:
            break
        said += 1
        assert result.exit_code == 1, (at, result.output)
        assert "database" in result.stderr, at
        assert "Traceback" not in result.output, at
    assert said > 3, "hardly any statement was counted: the test looks at nothing"
    assert len(list((target / "backups").iterdir())) == before + 1
    require_restorable(target, tmp_path / "back", 2)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_restore(prepared: World, tmp_path: Path) -> None:
    world, target = World(prepared.root, keys=prepared.keys), tmp_path / "target"
    back_up(world.registry, target, with_keys=True, tell=print)
    world.close()
    for at in steps(MAX_STEPS, every=3 if on_sqlite(prepared) else 25):
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
