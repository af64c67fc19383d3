"""gc, scrub, backup and restore of a registry whose files lie in an object store."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from ceph_node import CephNode
from server_fixtures import Client, World, client, rows, sara
from stored_worlds import StoredWorld, make_stored_world
from test_server_backup import run
from test_server_collection import publish_at_every_step, walk_at_every_step
from test_server_superseded import announce, fill_a_tile

from forge_server.app import create_app
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR

__all__ = ["client", "sara"]
BIG = bytes(range(256)) * 4096 * 9  # 9 MiB: two parts
DIGEST = hashlib.sha256(BIG).hexdigest()
KEY = f"blobs/{DIGEST[:2]}/{DIGEST}"


@pytest.fixture(scope="module")
def first(ceph: CephNode, tmp_path_factory: pytest.TempPathFactory) -> StoredWorld:
    """A registry with a release, one of whose files has two parts."""
    return make_stored_world(ceph, tmp_path_factory.mktemp("first"), files={"big.bin": BIG})


@pytest.fixture
def world(first: StoredWorld, bucket: str, tmp_path: Path) -> Iterator[World]:
    copied = first.copy(tmp_path, bucket)
    yield copied
    copied.close()


class TestCollection:
    def test_what_nobody_refers_to_goes(
        self, ceph: CephNode, bucket: str, world: World, sara: Client
    ) -> None:
        sent = world.release(version="2.0", files={"other.bin": BIG[:-1]})
        sara.put_blobs(sent)
        stray = hashlib.sha256(b"stray").hexdigest()
        world.registry.blobs.put(stray, io.BytesIO(b"stray"), 5)
        first = world.registry.collection.collect(OPERATOR)
        assert (first.looked, first.unreferenced, first.deleted) == (7, 3, 0)
        world.clock.ahead = timedelta(hours=49)
        done = world.registry.collection.collect(OPERATOR)
        assert (done.looked, done.deleted, done.waiting) == (7, 3, 0)
        listed = ceph.client().list_objects_v2(Bucket=bucket, Prefix="blobs/")["Contents"]
        assert len(listed) == 4
        assert KEY in {item["Key"] for item in listed}
        assert check_registry(world.registry, deep=True).problems == ()

    def test_publishing_at_every_step(self, world: World, sara: Client) -> None:
        publish_at_every_step(world, sara, sent_before=True, every=3)

    def test_a_walk_at_every_step_of_publishing(self, world: World, sara: Client) -> None:
        walk_at_every_step(world, sara, every=3)


def test_a_whole_gc_removes_what_was_superseded(
    ceph: CephNode, bucket: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a command of its own; what it counts is what is gone from the bucket, and nothing else."""
    monkeypatch.setattr("forge_server.services.publication._KEPT_SNAPSHOTS", 2)
    monkeypatch.setattr("forge_server.services.superseded._BEFORE", 2)
    announce(world, 8)
    fill_a_tile(world)
    assert world.registry.superseded.remove() == 0, "nothing is old enough"
    world.close()
    monkeypatch.setattr("forge_server.services.superseded.GRACE", timedelta(0))
    before = set(ceph.objects(bucket))
    foreseen = run("gc", world.root, "--dry-run").stdout.splitlines()[-1]
    assert set(ceph.objects(bucket)) == before
    said = run("gc", world.root).stdout.splitlines()[-1]
    gone = before - set(ceph.objects(bucket))
    assert said == f"superseded published files: {len(gone)} deleted"
    assert foreseen == f"superseded published files: {len(gone)} would be deleted"
    kinds = (
        r"tuf/\d+\.snapshot\.json", r"tuf/log/leaf/\d+\.snapshot",
        r"tuf/log/tile/0/000\.p/\d+", r"tuf/log/tile/entries/000\.p/\d+",
    )  # fmt: skip
    found = [{key for key in gone if re.fullmatch(kind, key)} for kind in kinds]
    assert set().union(*found) == gone
    assert all(len(keys) > 4 for keys in found), found
    run("check", world.root, "--deep")
    assert "superseded published files: 0 deleted" in run("gc", world.root).stdout


class TestScrub:
    @pytest.mark.parametrize(
        "data", [BIG[:-1] + b"!", b"", BIG[:99]], ids=["other bytes", "nothing", "shorter"]
    )
    def test_damage_is_found_and_repaired(
        self, ceph: CephNode, bucket: str, world: World, tmp_path: Path, data: bytes
    ) -> None:
        ceph.client().put_object(Bucket=bucket, Key=KEY, Body=data)
        assert f"blob {DIGEST}: " in run("scrub", world.root, code=1).stdout
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / DIGEST).write_bytes(BIG)
        done = run("scrub", world.root, "--from", tmp_path / "copy")
        assert f"blob {DIGEST}: repaired" in done.stdout
        run("check", world.root, "--deep")
        assert "4 blobs read" in run("scrub", world.root).stderr

    def test_what_is_gone_altogether(self, ceph: CephNode, bucket: str, world: World) -> None:
        ceph.client().delete_object(Bucket=bucket, Key=KEY)
        done = run("scrub", world.root, code=1)
        assert f"blob {DIGEST}: part of a release, but not in the store" in done.stdout


class TestBackup:
    def test_into_a_folder_and_back_into_a_store(
        self, ceph: CephNode, world: World, sara: Client, tmp_path: Path
    ) -> None:
        target, place = tmp_path / "target", tmp_path / "place"
        assert "4 blobs copied" in run("backup", world.root, target, "--with-keys").stderr
        sara.publish(world.release(version="1.1.0"))
        assert "4 blobs copied" in run("backup", world.root, target, "--with-keys").stderr
        place.mkdir()
        settings = ceph.settings(place, ceph.new_bucket())
        back = World(place / "back", clock=world.clock, keys=world.keys)
        done = run("restore", target, back.root, "--settings", settings, "--newest")
        assert "READ-ONLY" not in done.stderr
        run("check", back.root, "--deep")
        assert rows(back) == rows(world)
        assert list((back.root / "blobs").iterdir()) == []
        for path in ("timestamp.json", "1.root.json", "log/checkpoint"):
            assert back.registry.tree.read(path) == world.registry.tree.read(path)
        again = Client(create_app(back.registry).test_client(), sara.token)
        again.publish(back.release(version="2.0.0"))
        assert check_registry(back.registry, deep=True).problems == ()
        back.close()

    def test_back_into_folders(self, world: World, tmp_path: Path) -> None:
        """Without settings a rehearsal touches nothing of the store."""
        run("backup", world.root, tmp_path / "target", "--with-keys")
        back = World(tmp_path / "back", clock=world.clock, keys=world.keys)
        run("restore", tmp_path / "target", back.root, "--newest")
        world.close()
        (world.root / "server.toml").unlink()
        run("check", back.root, "--deep")
        assert (back.root / "blobs" / DIGEST[:2] / DIGEST).read_bytes() == BIG
        back.close()

    def test_a_blob_that_the_store_has_damaged_is_left_out_and_named(
        self, ceph: CephNode, bucket: str, world: World, tmp_path: Path
    ) -> None:
        ceph.client().put_object(Bucket=bucket, Key=KEY, Body=BIG[:-1] + b"!")
        done = run("backup", world.root, tmp_path / "target", code=1)
        assert f"not in the backup: blob {DIGEST}: " in done.stdout
        assert "3 blobs copied" in done.stderr
        ceph.client().put_object(Bucket=bucket, Key=KEY, Body=BIG)
        run("backup", world.root, tmp_path / "target")
