"""Published files that nobody can ask for any more go; what anybody may ask for stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_fixtures import Client, World, copy_world, while_needed
from status_hosts import Host

from forge_server.app import create_app
from forge_server.manage import cli
from forge_server.operate.backup import back_up
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from forge_server.operate.restore import Wishes, restore
from forge_server.operate.worker import Worker
from forge_server.services.log import append_act, log_size
from forge_server.wiring import utc_now
from signing.digests import sha256_hex
from signing.status import SnapshotSeen
from signing.tlog.tiles import WIDTH
from storage import BackendError, PublishedTree

LATER = timedelta(hours=73)
MANY = 20  # snapshots of those that the world was shown go
FEW = 5  # in the database, and before them


def announce(world: World, times: int) -> None:
    registry = world.registry
    for _ in range(times):
        with registry.database.write() as session:
            registry.publication.announce(session)
        registry.publication.materialise()


def fill_a_tile(world: World) -> None:
    """Appends to the log until its first tile is full."""
    registry = world.registry
    with registry.database.write() as session:
        for _ in range(WIDTH - log_size(session) % WIDTH):
            append_act(session, "blobs.collect", None, None, world.clock())
    registry.publication.materialise()


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """To publish less often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forge_server.services.publication._KEPT_SNAPSHOTS", FEW)
        patch.setattr("forge_server.services.superseded._BEFORE", FEW)
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A registry whose status host saw an early snapshot, and that published often since; closed,
    with the time of its first note over."""
    world = World(tmp_path_factory.mktemp("superseded") / "reg")
    initialise(world.root, dev=True, with_status=True)
    token = world.user("sara")
    world.organisation(token)
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(world.release())
    Host(world, client).say()
    announce(world, MANY + FEW)
    fill_a_tile(world)
    assert world.registry.superseded.remove() == 0, "nothing is old enough"
    world.close()
    return world


@pytest.fixture
def world(prepared: World, tmp_path: Path) -> Iterator[World]:
    yield from while_needed(copy_world(prepared, tmp_path))


def files(world: World, pattern: str) -> set[str]:
    public = world.root / "public"
    return {str(path.relative_to(public)) for path in public.glob(pattern)}


def snapshots(world: World) -> set[int]:
    return {int(name.partition(".")[0]) for name in files(world, "*.snapshot.json")}


def head(world: World) -> int:
    return int(json.loads(world.registry.roles.current("snapshot"))["signed"]["version"])


def named_by_status(world: World) -> int:
    signed = json.loads(world.registry.roles.current("status"))["signed"]
    return int(signed["forge"]["snapshot"]["version"])


def test_what_nobody_can_ask_for_goes(world: World) -> None:
    others = files(world, "*.json") - files(world, "*.snapshot.json") | files(world, "targets/**/*")
    tiles, newest = files(world, "log/tile/**/*"), head(world)
    world.clock.ahead = LATER
    removed = world.registry.superseded.remove()
    assert removed > 2 * MANY
    left = snapshots(world)
    # The last are in the database; as many before them stay for who is just asking.
    assert left == {named_by_status(world), *range(newest - 2 * FEW, newest + 1)}
    assert files(world, "log/leaf/*.snapshot") == {f"log/leaf/{each}.snapshot" for each in left}
    assert {name for name in tiles if ".p/" in name} - files(world, "log/tile/**/*") == {
        name for name in tiles if ".p/" in name and "/1/" not in name and "/000.p/" in name
    }
    assert {name for name in tiles if ".p/" not in name} <= files(world, "log/tile/**/*")
    assert others <= files(world, "*.json") | files(world, "targets/**/*")
    assert check_registry(world.registry, deep=True).problems == ()
    assert world.registry.superseded.remove() == 0


def test_what_is_younger_stays(world: World) -> None:
    before = snapshots(world)
    world.clock.ahead = timedelta(hours=71)
    assert world.registry.superseded.remove() == 0
    assert snapshots(world) == before


def test_what_came_after_the_note_waits_for_its_own(world: World) -> None:
    newest = head(world)
    announce(world, 2 * FEW + 2)
    world.clock.ahead = LATER
    world.registry.superseded.remove()
    assert min(snapshots(world) - {named_by_status(world)}) == newest, "the snapshot of the note"


def test_what_the_published_timestamp_names_stays(world: World) -> None:
    """Also where the published files are older than the database, as after a disk's return."""
    path = world.root / "public" / "timestamp.json"
    shown, newest = path.read_bytes(), head(world)
    announce(world, 2 * FEW + 2)
    world.clock.ahead = LATER
    world.registry.superseded.remove()  # and notes the newest
    world.registry.tree.swap("timestamp.json", shown)
    world.clock.ahead = LATER * 2
    world.registry.superseded.remove()
    assert newest in snapshots(world)
    world.registry.tree.swap("timestamp.json", b"torn")
    assert world.registry.superseded.remove() == 0, "nobody knows what clients are shown"


def test_what_the_status_host_names_goes_when_it_names_another(world: World) -> None:
    old = named_by_status(world)
    world.clock.ahead = LATER
    world.registry.superseded.remove()
    assert old in snapshots(world)
    Host(world, Client(create_app(world.registry).test_client())).say()  # in a snapshot of its own
    assert world.registry.superseded.remove() == 4
    assert old not in snapshots(world)
    assert named_by_status(world) in snapshots(world)


def test_no_word_is_taken_of_a_snapshot_that_is_about_to_go(world: World) -> None:
    """It is there still, but a removal that has begun would not know that it is named."""
    host = Host(world, Client(create_app(world.registry).test_client()))
    version = head(world) - 2 * FEW - 1
    data = world.registry.tree.read(f"{version}.snapshot.json")
    seen = SnapshotSeen(version=version, sha256=sha256_hex(data))
    world.clock.ahead = timedelta(hours=71, minutes=30)
    answer = host.send(host.sign(replace(host.status(), snapshot=seen)), expect=422)
    assert answer["check"] == "status-contradicts"
    assert f"expected version {head(world)} or newer, found {version}" in answer["detail"]
    world.clock.ahead = timedelta(hours=70)
    host.send(host.sign(replace(host.status(), snapshot=seen)), expect=200)


@dataclass
class Failing:
    """A tree that fails after it has removed ``times`` files, or before it removes the last."""

    real: PublishedTree
    times: int
    done: bool
    removed: list[str] = field(default_factory=list)

    def remove(self, path: str) -> None:
        last = len(self.removed) + 1 == self.times
        if not last or self.done:
            self.real.remove(path)
            self.removed.append(path)
        if last:
            raise BackendError(f"could not remove {path}", True)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


@pytest.mark.parametrize("done", [False, True], ids=["refused", "done-but-reported-as-failed"])
def test_what_failed_is_gone_on_with(
    world: World, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge_server.services.superseded._AT_ONCE", 5)
    superseded, newest = world.registry.superseded, head(world)
    world.clock.ahead = LATER
    broken = Failing(superseded.tree, 33, done)
    with pytest.raises(BackendError):
        replace(superseded, tree=broken).remove()  # type: ignore[arg-type]
    again = Failing(superseded.tree, -1, done)
    replace(superseded, tree=again).remove()  # type: ignore[arg-type]
    assert snapshots(world) == {named_by_status(world), *range(newest - 2 * FEW, newest + 1)}
    assert len(set(again.removed) & set(broken.removed)) <= 10, "it did not go on where it was"
    assert check_registry(world.registry, deep=True).problems == ()


def test_in_small_steps_by_the_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge_server.operate.worker._SUPERSEDED_AT_ONCE", 7)
    before = snapshots(world)
    world.clock.ahead = LATER
    worker = Worker(world.registry, print)
    assert worker.once()
    assert len(before - snapshots(world)) == 7
    worker.once()
    assert len(before - snapshots(world)) == 14


def test_by_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshots(world)
    world.close()
    monkeypatch.setattr("forge_server.services.superseded.GRACE", timedelta(0))
    said = CliRunner().invoke(cli, ["gc", str(world.root), "--dry-run"]).stdout.splitlines()[-1]
    count = int(said.removeprefix("superseded published files: ").removesuffix(" would be deleted"))
    assert count > 2 * MANY
    assert snapshots(world) == before
    said = CliRunner().invoke(cli, ["gc", str(world.root)]).stdout
    assert said.splitlines()[-1] == f"superseded published files: {count} deleted"
    assert len(before - snapshots(world)) >= MANY - FEW


def test_what_the_status_host_names_is_in_a_backup(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nobody who is new could install from what is restored until the host speaks again."""
    monkeypatch.setattr("forge_server.operate.backup._SNAPSHOTS", 5)
    back_up(world.registry, tmp_path / "target", with_keys=True, tell=print)
    restore(tmp_path / "target", tmp_path / "back", Wishes(newest=True), utc_now, print)
    back = World(tmp_path / "back")
    assert named_by_status(back) in snapshots(back)
    assert check_registry(back.registry, deep=True).problems == ()
    back.close()
