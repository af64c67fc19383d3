"""A thief of the online keys shows a client the far future; the root takes the keys away.

Version 2^31-1 is more than the honest registry will ever reach, so the client would refuse it
for ever. After the root has replaced both online keys the client drops what the old ones signed
(TUF 1.0 §5.3.11) and goes on with the folder it has: ours, and the stock one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import NAME, World, tree
from cli_fixtures import Forge, new_world
from static_server import Answer, StaticServer
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient import Updater

from signing.ceremony_plans import Chain, KeySet, plan_next
from signing.ceremony_signing import add_signature, finish
from signing.keys import generate_key
from signing.role_edits import sign_snapshot, sign_timestamp
from signing.roles import role_version

FUTURE = 2**31 - 1
MANIFEST = NAME.target("1.0.0", "manifest.json")
Client = Callable[[], None]


@pytest.fixture
def world() -> World:
    made = new_world()
    made.publish(tree())
    return made


@pytest.fixture
def server(world: World) -> Iterator[StaticServer]:
    with StaticServer(world.files()) as running:
        yield running


def far_future(world: World) -> dict[str, Answer]:
    """What the thief serves: every version number at its end, signed by the stolen keys."""
    now = datetime.now(UTC)
    versions = {role: role_version(data) for role, data in world.roles.items()}
    served: dict[str, Answer] = dict(world.files())
    snapshot = sign_snapshot(
        {**versions, "targets": FUTURE, "registrar": FUTURE}, FUTURE, world.snapshot_key, now
    )
    served[f"/tuf/{FUTURE}.snapshot.json"] = snapshot
    served["/tuf/timestamp.json"] = sign_timestamp(snapshot, FUTURE, world.timestamp_key, now)
    return served


def rotate(world: World, *roles: str) -> None:
    """The root names fresh keys for ``roles``; the registry goes on counting where it was."""
    chain = Chain(
        roots=(world.root,), targets=world.roles["targets"], registrar=world.roles["registrar"]
    )
    fresh = {role: generate_key("ed25519") for role in roles}
    keys = {role: KeySet(keys=(key.public,), threshold=1) for role, key in fresh.items()}
    plan = plan_next(chain, world.now, keys=keys, dev=True)
    mark = world.fingerprint
    plan = add_signature(plan, world.authority.root_key, world.now, fingerprint=mark, dev=True)
    world.history["2.root.json"] = finish(plan, world.now, fingerprint=mark, dev=True)["root"]
    world.snapshot_key = fresh.get("snapshot", world.snapshot_key)
    world.timestamp_key = fresh.get("timestamp", world.timestamp_key)
    world.publish_metadata()


def stock(world: World, server: StaticServer, folder: Path) -> Client:
    """The stock client with a folder that it keeps."""
    folder.mkdir()

    def look() -> None:
        updater = Updater(str(folder), f"{server.url}/tuf/", bootstrap=world.root)
        updater.refresh()
        assert updater.get_targetinfo(MANIFEST) is not None

    return look


def test_the_stock_client_recovers(world: World, server: StaticServer, tmp_path: Path) -> None:
    look = stock(world, server, tmp_path / "stock")
    look()
    server.files.update(far_future(world))
    with pytest.raises(DownloadHTTPError):  # such a targets role the thief cannot make
        look()
    server.files = dict(world.files())
    with pytest.raises(BadVersionNumberError):
        look()
    rotate(world, "snapshot", "timestamp")
    server.files = dict(world.files())
    look()
    # What the thief signs from here on is nobody's.
    server.files.update(far_future(new_thief(world)))
    with pytest.raises(UnsignedMetadataError):
        look()


def new_thief(world: World) -> World:
    thief = new_world()
    thief.roles = world.roles
    return thief


def test_our_client_recovers(
    world: World,
    server: StaticServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forge = Forge(tmp_path, monkeypatch, capsys)
    forge.trust(server, world)
    forge.ok("info", str(NAME))
    server.files.update(far_future(world))
    assert forge("info", str(NAME)).code != 0
    server.files = dict(world.files())
    stuck = forge("info", str(NAME))
    assert stuck.code == 3, stuck.err
    rotate(world, "snapshot", "timestamp")
    server.files = dict(world.files())
    forge.ok("info", str(NAME))
    forge.ok("verify", f"{NAME}==1.0.0")


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_one_key_is_not_enough(
    world: World, server: StaticServer, tmp_path: Path, role: str
) -> None:
    """Why both are replaced: what the other one signed in the far future would still hold."""
    look = stock(world, server, tmp_path / "stock")
    server.files.update(far_future(world))
    with pytest.raises(DownloadHTTPError):  # such a targets role the thief cannot make
        look()
    rotate(world, role)
    server.files = dict(world.files())
    with pytest.raises(RepositoryError):
        look()
