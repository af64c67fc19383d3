"""Every write of an upload in parts, of gc, scrub, backup, and of a quota's change refused, and
every write done but reported as failed; then a restart, and the same again.

The steps are those of `test_server_failing_steps`. What is said is a line for the operator or a
problem for the client, and never a traceback.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from server_fixtures import (
    ORG,
    Client,
    World,
    _fresh_registry,
    copy_registry,
    database_url,
    drop_database,
)
from test_server_failing_steps import HONEST, ON_POSTGRESQL, STEPS, Failing
from thorough import of_each_kind

from forge_server.app import create_app
from forge_server.manage import cli
from forge_server.operate.backup import find_backup
from forge_server.operate.check import check_registry
from forge_server.operate.restore import Wishes, restore
from forge_server.wiring import utc_now
from storage.local import LocalBlobStore

__all__ = ["_fresh_registry"]
WEIGHTS = b"w" * 1000  # of the release that is there
PARTS = (b"first" * 1000, b"second" * 1000)
DATA = b"".join(PARTS)


@pytest.fixture(scope="module")
def prepared(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str]:
    """One release, and the files of another that was never published; closed."""
    world = World(copy_registry(_fresh_registry, tmp_path_factory.mktemp("prepared")))
    token = world.user("sara")
    world.organisation(token)
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(world.release())
    client.put_blobs(world.release(version="1.1.0", files={"other.bin": b"2" * 1000}))
    world.close()
    return world, token


@dataclass
class Place:
    world: World
    token: str
    folder: Path
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.client = Client(create_app(self.world.reopen()).test_client(), self.token)


def run(*arguments: object) -> int:
    """The exit code of a command of the operator's, which may only fail in words."""
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    if result.exit_code:
        assert result.output.strip(), "it failed in silence"
    return result.exit_code


def honest(answer: Any) -> Any:
    if isinstance(answer, dict) and "code" in answer:
        assert answer["code"] in HONEST | {"busy", "parts-missing", "upload-not-found"}, answer
        assert "/srv" not in str(answer)
    return answer


def send_parts(place: Place) -> int:
    client, component = place.client, f"{ORG}/my-model"
    whole = {
        "component": component, "sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA),
    }  # fmt: skip
    segments = [[len(part)] for part in PARTS]
    begun = honest(client.post("/api/v1/uploads", {**whole, "segments": segments}))
    if "code" in begun or begun["state"] == "stored":
        return int("code" in begun)
    said = [begun]
    for number, part in enumerate(PARTS):
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        address = f"/api/v1/uploads/{begun['upload']}/parts/{number}?component={component}"
        headers = {"Content-Digest": f"sha-256=:{digest}:"}
        said.append(honest(client.call("PUT", address, data=part, headers=headers)))
    said.append(honest(client.post(f"/api/v1/uploads/{begun['upload']}/finish", whole)))
    return sum("code" in each for each in said if isinstance(each, dict))


def look_at_parts(place: Place) -> None:
    client = place.client
    client.publish(place.world.release(version="2.0.0", files={"model.safetensors": DATA}))
    with client.flask.get(f"/blobs/{hashlib.sha256(DATA).hexdigest()}") as answer:
        assert answer.data == DATA
    tmp = place.world.root / "blobs" / "tmp"
    assert [path for path in tmp.rglob("*") if path.is_file()] == [], "something was left behind"


def collect(place: Place) -> int:
    return run("gc", place.world.root, "--grace", "0")


def look_at_what_is_left(place: Place) -> None:
    collect(place)  # what was taken up just now
    assert len(list(place.world.registry.blobs.iter_digests())) == 4


def spoil(place: Place) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (place.folder / "source").mkdir()
    (place.folder / "source" / digest).write_bytes(WEIGHTS)
    path = place.world.root / "blobs" / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(b"X" * 1000)


def scrub(place: Place) -> int:
    return run("scrub", place.world.root, "--from", place.folder / "source")


def look_at_the_damage(place: Place) -> None:
    assert run("scrub", place.world.root) == 0


def back_up(place: Place) -> int:
    return run("backup", place.world.root, place.folder / "target")


def look_at_the_backup(place: Place) -> None:
    _, manifest = find_backup(place.folder / "target", None)
    assert (manifest.absent, manifest.releases) == ([], 1)
    store = LocalBlobStore(place.folder / "target" / "blobs")
    for digest in store.iter_digests():
        with store.open(digest) as file:
            assert hashlib.sha256(file.read()).hexdigest() == digest
    back = place.folder / "back"
    restore(place.folder / "target", back, Wishes(newest=True), utc_now, print)


def set_quota(place: Place) -> int:
    return run("quota", place.world.root, ORG, "--max-bytes", "5000", "--max-releases", "2")


def look_at_the_quota(place: Place) -> None:
    state = place.world.registry.quotas.of(ORG)
    assert (state.max_bytes, state.max_releases, state.used_releases) == (5000, 2, 1)
    client = place.client
    client.publish(place.world.release(version="1.2.0"))
    client.publish(place.world.release(version="1.3.0"), expect=None)
    assert place.world.registry.quotas.of(ORG).used_releases == 2


def nothing(_: Place) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """``act`` returns 0 when it did everything."""

    act: Callable[[Place], int]
    check: Callable[[Place], None]
    prepare: Callable[[Place], None] = nothing


JOBS = {
    "parts": Job(send_parts, look_at_parts),
    "gc": Job(collect, look_at_what_is_left),
    "scrub": Job(scrub, look_at_the_damage, spoil),
    "backup": Job(back_up, look_at_the_backup),
    "quota": Job(set_quota, look_at_the_quota),
}


@pytest.mark.parametrize("done", [False, True], ids=["refused", "done-but-reported-as-failed"])
@pytest.mark.parametrize("name", list(JOBS))
def test_every_step_fails_once(
    prepared: tuple[World, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    done: bool,
) -> None:  # fmt: skip
    source, token = prepared
    job = JOBS[name]
    names: tuple[str, ...] = (*STEPS, "unlink")
    broken: Exception = sqlite3.OperationalError("disk I/O error")
    if database_url(source.root) is not None:
        names = (*ON_POSTGRESQL, "unlink")
        broken = psycopg.OperationalError("server closed the connection unexpectedly")

    def walk(at: int) -> tuple[list[str], bool]:
        """Breaks the step ``at``; the kinds of the steps, and whether something failed."""
        folder = tmp_path / str(at)
        folder.mkdir()
        world = World(copy_registry(source.root, folder), keys=dict(source.keys))
        place = Place(world, token, folder)
        job.prepare(place)
        failing = Failing(at, done=done, names=names, broken=broken)
        with monkeypatch.context() as patch:
            failing.arm(patch)
            failed = job.act(place) != 0
        place.restart()
        assert job.act(place) == 0, f"step {at}"
        job.check(place)
        assert check_registry(world.registry, deep=True).problems == (), f"step {at}"
        world.close()
        drop_database(world.root)
        return failing.kinds, failed

    kinds, failed = walk(0)  # none
    assert not failed
    chosen = of_each_kind(kinds, way=done, ways=2)
    failures = sum(walk(at)[1] for at in chosen)
    print(f"{name}: {len(chosen)} of {len(kinds)} steps, {failures} failures")
    assert failures >= 1, "no step failed: the test looks at nothing"
