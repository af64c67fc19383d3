"""The stock TUF client fetches a release from our static plane, and refuses what it must."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import NAME, World, signed_release, tree
from deployed import front, machine
from log_builders import Log
from server_fixtures import Live, _fresh_registry, live
from static_server import StaticServer

from signing.keys import generate_key
from signing.role_edits import add_release, sign_snapshot, sign_timestamp
from signing.roles import role_version

__all__ = ["_fresh_registry", "front", "live", "machine"]
CLIENT = Path(__file__).with_name("stock_tuf_client.py")
MANIFEST = NAME.target("1.0.0", "manifest.json")


@pytest.fixture
def world() -> World:
    return World(now=datetime.now(UTC).replace(microsecond=0))


def run_client(
    world: World, url: str, target: str, tmp_path: Path
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "root.json").write_bytes(world.root)
    return run_stock(tmp_path, url, target)


def run_stock(tmp_path: Path, url: str, target: str) -> subprocess.CompletedProcess[str]:
    """The stock client, which trusts ``root.json``."""
    arguments = [str(tmp_path / "root.json"), url, target, str(tmp_path / "out")]
    return subprocess.run(
        [sys.executable, "-I", str(CLIENT), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_fetches_a_release_from_the_registry_itself(live: Live, tmp_path: Path) -> None:
    """Which compresses metadata for who accepts that."""
    fetch_from(live, tmp_path)


def test_fetches_a_release_through_nginx(front: Live, tmp_path: Path) -> None:
    fetch_from(front, tmp_path)


def fetch_from(live: Live, tmp_path: Path) -> None:
    built = live.world.release("stock")
    assert live.publish(built).status == 201
    root = live.request("GET", "/tuf/1.root.json").data
    (tmp_path / "root.json").write_bytes(root)
    target = built.manifest.component.target("1.0.0", "manifest.json")
    result = run_stock(tmp_path, live.server.url, target)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out").read_bytes() == built.manifest.raw


@pytest.mark.parametrize("file", ["manifest.json", "release.sigstore.json"])
def test_fetches_a_release(world: World, tmp_path: Path, file: str) -> None:
    release = world.publish(tree())
    with StaticServer(world.files()) as server:
        result = run_client(world, server.url, NAME.target("1.0.0", file), tmp_path)
    assert result.returncode == 0, result.stderr
    expected = release.manifest.raw if file == "manifest.json" else release.bundle
    assert (tmp_path / "out").read_bytes() == expected
    if file == "manifest.json":
        assert json.loads(result.stdout)["custom"] == {"kind": "model", "requires": {}}


def test_a_registry_with_a_status_host_is_followed(world: World, tmp_path: Path) -> None:
    """The stock client ignores the role where it does not need it, and verifies it where asked:
    nothing of that name is a target, and it says so after having loaded the role."""
    world = World(now=world.now, log=Log(), with_status=True)
    release = world.publish(tree())
    world.say_status(world.withheld(release))
    with StaticServer(world.files()) as server:
        result = run_client(world, server.url, MANIFEST, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "/tuf/2.status.json" not in server.paths()
        result = run_client(world, server.url, "status/seen", tmp_path)
        assert "no such target: status/seen" in result.stderr
        assert "/tuf/2.status.json" in server.paths()
        thief = world.sign_status(world.status(), world.snapshot_key)
        server.files["/tuf/3.status.json"] = thief
        world.set_role("status", thief)
        world.publish_metadata()
        server.files.update(world.files())
        result = run_client(world, server.url, "status/seen", tmp_path)
        assert "status was signed by 0/1 keys" in result.stderr


def test_refuses_a_role_signed_with_the_servers_keys(world: World, tmp_path: Path) -> None:
    """A thief of every online key re-signs the project's role; nobody listed that key."""
    world.publish(tree())
    thief = generate_key("p256")
    forged = signed_release({**tree(), "weights/model.safetensors": b"poison"}, thief)
    world.releases[str(forged.manifest)] = forged
    role = add_release(None, forged.manifest, forged.bundle, [thief], world.now)
    world.set_role(NAME.role, role)
    world.publish_metadata()
    with StaticServer(world.files()) as server:
        result = run_client(world, server.url, MANIFEST, tmp_path)
    assert result.returncode != 0
    assert "was signed by 0/1 keys" in result.stderr
    assert not (tmp_path / "out").exists()


def test_refuses_metadata_that_the_thief_of_no_key_wrote(world: World, tmp_path: Path) -> None:
    world.publish(tree())
    stranger = generate_key("ed25519")
    versions = {role: role_version(data) for role, data in world.roles.items()}
    snapshot = sign_snapshot(versions, 9, stranger, world.now)
    files = world.files()
    files["/tuf/9.snapshot.json"] = snapshot
    files["/tuf/timestamp.json"] = sign_timestamp(snapshot, 9, stranger, world.now)
    with StaticServer(files) as server:
        result = run_client(world, server.url, MANIFEST, tmp_path)
    assert result.returncode != 0
    assert "timestamp was signed by 0/1 keys" in result.stderr
