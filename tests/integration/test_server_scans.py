"""Scans of releases by the real scanners: each in its process, on both databases."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from click.testing import CliRunner
from hostile_models import MARKER, headed, tensor, torch_zip, zipped
from server_fixtures import (
    ON_SQLITE,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    set_settings,
    world,
)
from sqlalchemy import delete

from forge_server.app import create_app
from forge_server.db.models import Finding, ScanClaim, ScanRound
from forge_server.manage import cli
from forge_server.operate.worker import Worker
from forge_server.scans.base import Answer, FoundItem
from forge_server.scans.known import known
from forge_server.services.scans import Scans, findings_of
from storage import MemoryBlobStore

__all__ = ["_fresh_registry", "client", "sara", "world"]

GOOD = headed({"a": tensor()}, b"\0" * 8)
FILES = {
    "model.safetensors": GOOD,
    "bad.safetensors": headed({"a": tensor(), "b": tensor(4, 12)}, b"\0" * 12),
    "model.pt": torch_zip(),
    "weights.bin": b"\0\1\2" * 100,
    "notes.txt": b"key: AKIA" + b"A" * 16 + b"\n",
    "LICENSE": b"Apache License\nVersion 2.0, January 2004\n",
}
PATH = "/api/v1/components/minds-lab/my-model/1.0.0/scans"


def states(answer: Any) -> dict[str, str]:
    return {each["scanner"]: each["state"] for each in answer["scans"]}


def published(world: World, sara: Client, files: dict[str, bytes], settings: str = "") -> Client:
    set_settings(world.root, f'allow_code_formats = ["pickle"]\n{settings}')
    reopened = Client(create_app(world.reopen()).test_client(), sara.token)
    reopened.publish(world.release(files=files))
    return reopened


@ON_SQLITE
def test_what_the_scanners_say_is_shown(world: World, sara: Client) -> None:
    caller = published(world, sara, FILES)
    before = caller.get(PATH)
    assert set(states(before).values()) == {"not-scanned"}
    told: list[str] = []
    work = Worker(world.registry, told.append)
    work.scan_due(threading.Event())
    assert told[0].endswith("scanned minds-lab/my-model 1.0.0: findings")
    answer = Client(caller.flask).get(PATH)  # for anybody
    assert states(answer) == {
        "archives": "clean",
        "fickling": "findings",
        "formats": "findings",
        "gguf": "not-scanned",
        "keras": "not-scanned",
        "licence": "clean",
        "onnx": "not-scanned",
        "osv": "not-scanned",
        "picklescan": "findings",
        "safetensors": "findings",
        "secrets": "findings",
    }
    found = {(each["scanner"], each["path"]) for each in answer["findings"]}
    assert {("safetensors", "bad.safetensors"), ("picklescan", "model.pt")} <= found
    assert ("secrets", "notes.txt") in found
    assert "AKIA" not in json.dumps(answer)
    assert not MARKER.exists()
    told.clear()
    work.scan_due(threading.Event())
    assert told == []  # nothing is due any more


@ON_SQLITE
def test_unknown_is_never_clean(world: World, sara: Client) -> None:
    caller = published(world, sara, {"weights.bin": b"\0\1\2" * 100})
    registry = world.registry
    registry.scans.scan(registry.scans.due()[0])
    said = {each["scanner"]: each for each in caller.get(PATH)["scans"]}
    assert said["formats"]["state"] == "not-scanned"
    assert said["formats"]["detail"].startswith("weights.bin: ")
    assert said["safetensors"]["detail"] == "nothing of its kind in the release"


class _Says:
    """Scanners that answer what they are told."""

    def __init__(self, **states: Answer) -> None:
        self.states = states
        self.asked = 0

    def __call__(self, scanner: str, files: Sequence[Any], *_: Any) -> list[Answer]:
        self.asked += 1
        for each in files:
            os.close(each.descriptor)
        return [self.states.get(scanner, Answer(state="clean")) for _ in files]


def saying(world: World, **states: Answer) -> tuple[Scans, _Says]:
    ask = _Says(**states)
    return replace(world.registry.scans, ask=ask), ask


def test_findings_keep_their_age_and_are_gone_only_when_somebody_looked(
    world: World, sara: Client
) -> None:
    published(world, sara, {"notes.txt": b"a"})
    item = FoundItem(rule="key", severity="high", title="a key", path="notes.txt")
    scans, _ = saying(world, secrets=Answer(state="findings", items=[item]))
    (due,) = scans.due()
    scans.scan(due)
    world.clock.ahead = timedelta(days=1)
    scans.scan(due)
    with world.registry.database.read() as session:
        (first,) = findings_of(session, due.manifest_sha256)
    assert first.id == item.id_of("secrets")
    assert first.last_seen_at - first.first_seen_at >= timedelta(days=1)
    for state, gone in (("failed", False), ("not-scanned", False), ("clean", True)):
        scans, _ = saying(world, secrets=Answer(state=state))
        scans.scan(due)
        with world.registry.database.read() as session:
            assert (findings_of(session, due.manifest_sha256) == []) is gone, state
            (kept,) = findings_of(session, due.manifest_sha256, gone=True)
            assert kept.first_seen_at == first.first_seen_at
    with world.registry.database.write() as session:
        assert session.query(Finding).count() == 1


def test_one_worker_takes_a_release_and_a_dead_one_loses_it(world: World, sara: Client) -> None:
    published(world, sara, {"notes.txt": b"a"})
    scans, ask = saying(world)
    (due,) = scans.due()
    with world.registry.database.write() as session:
        session.add(
            ScanClaim(
                manifest_sha256=due.manifest_sha256,
                token="other",
                expires_at=world.clock() + timedelta(minutes=1),
            )
        )
    assert scans.due() == []
    assert scans.scan(due) is None
    assert ask.asked == 0
    world.clock.ahead = timedelta(minutes=2)
    assert scans.due() == [due]
    assert scans.scan(due) is not None


@ON_SQLITE
def test_another_version_or_old_data_make_an_answer_stale_and_the_release_due(
    world: World, sara: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    advisory = {
        "id": "PYSEC-1",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "Thing"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}
                ],
            }
        ],
    }
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv/PYSEC-1.json").write_text(json.dumps(advisory))
    metadata = b"Metadata-Version: 2.1\nName: thing\nVersion: 1.5\nRequires-Dist: other==1\n"
    wheel = zipped({"thing-1.5.dist-info/METADATA": metadata})
    caller = published(
        world,
        sara,
        {"thing-1.5-py3-none-any.whl": wheel, "forge.txt": b"words"},
        f'osv_snapshot = "{tmp_path}/osv"\n',
    )
    scans = world.registry.scans
    (due,) = scans.due()
    scans.scan(due)
    (finding,) = (each for each in caller.get(PATH)["findings"] if each["scanner"] == "osv")
    assert finding["id"].startswith("osv:PYSEC-1:")
    assert states(caller.get(PATH))["osv"] == "findings"
    world.clock.ahead = timedelta(days=40)
    assert states(caller.get(PATH))["osv"] == "stale"
    world.clock.ahead = timedelta()
    assert scans.due() == []
    monkeypatch.setattr(type(known()["secrets"]), "version", "2")
    assert scans.due() == [due]
    assert states(caller.get(PATH))["archives"] in ("clean", "findings")
    assert states(caller.get(PATH))["secrets"] == "stale"


@ON_SQLITE
def test_an_object_store_gives_copies_that_have_no_name(world: World, sara: Client) -> None:
    published(world, sara, {"model.safetensors": GOOD, "notes.txt": b"text"})
    registry = world.registry
    blobs = MemoryBlobStore()
    for digest in registry.blobs.iter_digests():
        with registry.blobs.open(digest) as file:
            blobs.put(digest, file, registry.blobs.stat(digest).size)
    scans = replace(registry.scans, blobs=blobs)
    said = scans.scan(scans.due()[0])
    assert said is not None
    assert {each.scanner: each.state for each in said}["safetensors"] == "clean"


class _Slow(MemoryBlobStore):
    """Remembers how many bytes each opened stream gave."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[int] = []

    def open(self, digest: str, start: int = 0) -> BinaryIO:
        stream = super().open(digest, start)
        number = len(self.given)
        self.given.append(0)
        read = stream.read

        def counted(count: int = -1) -> bytes:
            data = read(count)
            self.given[number] += len(data)
            return data

        stream.read = counted  # type: ignore[method-assign]
        return stream


@ON_SQLITE
def test_of_large_numbers_an_object_store_gives_the_ends_alone(world: World, sara: Client) -> None:
    size = 24 * 2**20
    model = headed({"a": tensor(0, size, (size // 4,))}, bytes(size))
    published(world, sara, {"model.safetensors": model})
    registry = world.registry
    blobs = _Slow()
    for digest in registry.blobs.iter_digests():
        with registry.blobs.open(digest) as file:
            blobs.put(digest, file, registry.blobs.stat(digest).size)
    scans = replace(registry.scans, blobs=blobs)
    said = scans.scan(scans.due()[0])
    assert said is not None
    assert {each.scanner: each.state for each in said}["formats"] == "clean"
    assert max(blobs.given) < size


def test_what_was_scanned_is_not_gone_through_again(
    world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker asks each minute, and there may be millions of releases."""
    publisher = published(world, sara, {"a.txt": b"a"})
    publisher.publish(world.release(version="1.1.0"))
    scans, _ = saying(world)
    for due in scans.due():
        scans.scan(due)
    assert scans.due() == []
    with world.registry.database.write() as session:
        session.execute(delete(ScanRound))
    assert scans.due() == [], "it looked at releases that it knew to be scanned"
    publisher.publish(world.release(version="1.2.0"))
    assert [due.version for due in scans.due()] == ["1.2.0"]
    monkeypatch.setattr(type(scans), "_round", lambda _: "with other scanners")
    assert len(scans.due()) == 3


def test_of_many_that_are_due_some_are_read_at_a_time(
    world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = published(world, sara, {"a.txt": b"a"})
    versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]
    for version in versions[1:]:
        publisher.publish(world.release(version=version))
    monkeypatch.setattr("forge_server.services.scans._PAGE", 2)
    scans = world.registry.scans
    for asked, later in ((scans.all_due, "1.4.0"), (scans.everything, "1.5.0")):
        found = []
        for due in asked():
            if not found:  # whoever had read all at once would not know of this one
                publisher.publish(world.release(version=later))
                versions.append(later)
            found.append(due.version)
        assert found == versions


def test_of_many_workers_one_takes_a_release(world: World, sara: Client) -> None:
    published(world, sara, {"notes.txt": b"text"})
    scans = world.registry.scans
    due, ready, taken = scans.due()[0], threading.Barrier(6), list[bool]()

    def take(token: str) -> None:
        ready.wait()
        taken.append(scans._claim(due, token))

    threads = [threading.Thread(target=take, args=(f"{number}",)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(taken) == [False] * 5 + [True]


@ON_SQLITE
def test_a_blob_that_is_gone_is_a_failure(world: World, sara: Client) -> None:
    published(world, sara, {"notes.txt": b"text"})
    scans = replace(world.registry.scans, blobs=MemoryBlobStore())
    said = scans.scan(scans.due()[0])
    assert said is not None
    assert "clean" not in {each.state for each in said}


@ON_SQLITE
def test_the_operator_scans_and_sees_the_states(world: World, sara: Client) -> None:
    published(world, sara, {"notes.txt": b"text"})
    world.close()
    ran = CliRunner().invoke(cli, ["scan", str(world.root)])
    assert ran.exit_code == 0, ran.output
    assert "minds-lab/my-model 1.0.0" in ran.stdout
    assert "secrets" in ran.stdout
    assert "1 release scanned" in ran.stderr
    again = CliRunner().invoke(cli, ["scan", str(world.root)])
    assert "0 releases scanned" in again.stderr
    named = CliRunner().invoke(cli, ["scan", str(world.root), "minds-lab/my-model==1.0.0"])
    assert "1 release scanned" in named.stderr
    missing = CliRunner().invoke(cli, ["scan", str(world.root), "minds-lab/other"])
    assert missing.exit_code == 1
    assert "nothing published" in missing.stderr
