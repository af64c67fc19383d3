"""gc, scrub, backup and restore while the object store or the network fails, or they are killed.

Each is run once to count its requests. Then each single request is broken in every way; then all
requests from one on, as when the store goes away; then the process is killed before each request
and commit. Afterwards the same command again ends it, and nothing is lost, doomed for ever, or said
to be damaged that is not.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session
from ceph_node import CephNode
from s3_proxy import S3Proxy
from server_fixtures import Client, World
from sqlalchemy import func, select
from test_server_backup_crash import until_killed
from test_server_crash import Killer

import storage.s3
from forge_server.app import create_app
from forge_server.db.models import BlobLease
from forge_server.operate.backup import back_up, find_backup
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from forge_server.operate.restore import Wishes, restore
from forge_server.operate.scrub import Pace, Scrub
from forge_server.operate.sources import FolderSource
from forge_server.services.callers import OPERATOR
from forge_server.wiring import utc_now
from storage import BackendError
from storage.s3 import S3Options

GRACE = timedelta(0)
BIG = bytes(range(256)) * 4096 * 6  # 6 MiB: one answer that can break in its middle
FAULTS = ("reset", "error-500", "done-reset", "truncate", "alter")
STORE = "s3"


@pytest.fixture(scope="module")
def proxy(ceph: CephNode) -> Iterator[S3Proxy]:
    with S3Proxy(ceph.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def world(
    ceph: CephNode, proxy: S3Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A registry behind the proxy with one release."""
    place = tmp_path_factory.mktemp("s3")
    settings = ceph.settings(place, ceph.new_bucket(), s3_endpoint=proxy.url)
    initialise(place / "reg", dev=True, settings=settings)
    made = World(place / "reg")
    token = made.user("sara")
    made.organisation(token)
    Client(create_app(made.registry).test_client(), token).publish(
        made.release(files={"big.bin": BIG})
    )
    made.close()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch, world: World) -> Callable[[float], None]:
    """Every connection tries each request once: what boto3 would repeat is what shall fail. How
    many seconds it waits for an answer is small only where one never comes: a busy machine is no
    fault."""
    original = storage.s3.connect

    def wait(seconds: float) -> None:
        def connect(options: S3Options) -> Any:
            return original(replace(options, attempts=1, read_timeout_seconds=seconds))

        monkeypatch.setattr(storage.s3, "connect", connect)
        world.close()

    wait(60)
    return wait


@dataclass
class Job:
    """``prepare`` returns what is to be done, again and again until it ends without an error; when
    it has ended, once more where it is ``repeatable``. ``check`` looks afterwards. Of ``every`` so
    many requests one is broken, to save time."""

    prepare: Callable[[World, Path], Callable[[], object]]
    check: Callable[[World, Path], None]
    every: int
    repeatable: bool = True


_numbers = itertools.count()


def sound(world: World) -> None:
    assert check_registry(world.registry, deep=True).problems == ()
    assert Scrub.of(world.registry, Pace(0)).damaged() == []


def prepare_gc(world: World, _: Path) -> Callable[[], object]:
    """Two blobs are to go, and one that was found by an earlier walk."""
    registry = world.registry
    for _ in range(2):
        data = b"stray %d" % next(_numbers)
        digest = hashlib.sha256(data).hexdigest()
        registry.blobs.put(digest, io.BytesIO(data), len(data))
        registry.releases.leases.hold({digest: len(data)}, "minds-lab")
    world.clock.ahead += timedelta(seconds=10)
    return lambda: world.registry.collection.collect(OPERATOR, GRACE)


def check_gc(world: World, _: Path) -> None:
    assert len(list(world.registry.blobs.iter_digests())) == 4
    with world.registry.database.read() as session:
        assert session.scalar(select(func.count()).select_from(BlobLease)) == 0
    sound(world)


def prepare_scrub(world: World, _: Path) -> Callable[[], object]:
    return lambda: Scrub.of(world.registry, Pace(0)).walk(print)


def prepare_repair(world: World, place: Path) -> Callable[[], object]:
    """One blob is damaged and found; the source has it."""
    registry, digest = world.registry, hashlib.sha256(BIG).hexdigest()
    (place / digest).write_bytes(BIG)
    bucket: Any = registry.blobs
    key = f"{digest[:2]}/{digest}"
    bucket._bucket.put("spoil it", key, b"X")
    assert Scrub.of(registry, Pace(0)).walk(print).damaged == 1

    def act() -> None:
        work = Scrub.of(world.registry, Pace(0))
        work.repair(FolderSource(place, place), print)
        if work.damaged():
            raise BackendError("not repaired", True)

    return act


def prepare_backup(world: World, place: Path) -> Callable[[], object]:
    return lambda: back_up(world.registry, place / "target", with_keys=True, tell=print)


def check_backup(world: World, place: Path) -> None:
    _, manifest = find_backup(place / "target", None)
    assert manifest.absent == []
    back = World(place / "back")
    restore(place / "target", back.root, Wishes(newest=True), utc_now, print)
    assert check_registry(back.registry, deep=True).problems == ()
    back.close()


JOBS = {
    "gc": Job(prepare_gc, check_gc, every=2),
    "scrub": Job(prepare_scrub, lambda world, _: sound(world), every=3),
    "repair": Job(prepare_repair, lambda world, _: sound(world), every=2),
    "backup": Job(prepare_backup, check_backup, every=3),
}


def restoring(ceph: CephNode, proxy: S3Proxy) -> Job:
    """Into an empty bucket behind the proxy."""

    def prepare(world: World, place: Path) -> Callable[[], object]:
        back_up(world.registry, place / "target", with_keys=True, tell=print)
        settings = ceph.settings(place, ceph.new_bucket(), s3_endpoint=proxy.url)
        wishes = Wishes(newest=True, settings=settings)
        return lambda: restore(place / "target", place / "back", wishes, utc_now, print)

    def check(_: World, place: Path) -> None:
        back = World(place / "back")
        sound(back)
        back.close()

    return Job(prepare, check, every=17, repeatable=False)


@pytest.fixture(params=[*JOBS, "restore"])
def job(request: pytest.FixtureRequest, ceph: CephNode, proxy: S3Proxy) -> Job:
    return JOBS[request.param] if request.param in JOBS else restoring(ceph, proxy)


def rounds(job: Job, world: World, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Prepares again and again, in a folder of its own each time."""
    for number in itertools.count():
        place = tmp_path / str(number)
        place.mkdir()
        yield place, job.prepare(world, place)
        shutil.rmtree(place)


@pytest.mark.parametrize("lasting", [False, True], ids=["one request", "from there on"])
def test_any_broken_request(
    job: Job, world: World, proxy: S3Proxy, tmp_path: Path, lasting: bool
) -> None:
    failed = 0
    proxy.reset()
    for number, (place, act) in enumerate(rounds(job, world, tmp_path)):
        fault = "reset" if lasting else FAULTS[number % len(FAULTS)]
        at = (number if lasting else number // len(FAULTS)) * job.every
        proxy.reset(lambda n, *_: fault if n == at or (lasting and n > at) else None)  # noqa: B023
        before = failed
        try:
            act()
        except BackendError:
            failed += 1
        over = len(proxy.seen) <= at
        proxy.reset()
        if job is JOBS["scrub"]:
            assert Scrub.of(world.registry, Pace(0)).damaged() == [], "a fault of the network"
        if failed > before or job.repeatable:
            act()
        job.check(world, place)
        if over:
            assert failed >= 2, "hardly anything failed: the test looks at nothing"
            return


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_at_every_request_and_commit(
    job: Job, world: World, proxy: S3Proxy, tmp_path: Path
) -> None:
    proxy.reset()
    for number, (place, act) in enumerate(rounds(job, world, tmp_path)):
        world.close()
        killer = Killer(1 + number * job.every, ())

        class Sending:
            """What `Killer` wants to wrap besides the commits."""

            def arm(self, killer: Killer = killer) -> None:
                killer.wrap(URLLib3Session, "send")
                killer.arm()

        finished = until_killed(Sending(), act)
        if not finished or job.repeatable:
            act()
        job.check(world, place)
        if finished:
            assert number >= 2, "it was hardly ever killed: the test looks at nothing"
            return


def test_one_object_that_cannot_be_read(world: World, proxy: S3Proxy, tmp_path: Path) -> None:
    """That is said of it, and the walk goes on."""
    digest = hashlib.sha256(BIG).hexdigest()
    proxy.reset(lambda _, method, path: "error-500" if method == "GET" and digest in path else None)
    done = Scrub.of(world.registry, Pace(0)).walk(print)
    assert (done.blobs, done.damaged) == (4, 1)
    proxy.reset()
    lines: list[str] = []
    assert Scrub.of(world.registry, Pace(0)).walk(lines.append).damaged == 0
    assert lines == [f"blob {digest}: is right again"]


def test_a_deletion_that_was_done_and_never_answered(
    world: World, proxy: S3Proxy, patience: Callable[[float], None]
) -> None:
    """The publisher who sends the blob again in between keeps it."""
    token = world.token("sara")
    client = Client(create_app(world.registry).test_client(), token)
    built = world.release(version="2.0.0", files={"weights.bin": os.urandom(1000)})
    client.put_blobs(built)
    world.clock.ahead += timedelta(seconds=10)
    patience(2)
    proxy.reset(lambda _, method, __: "stall" if method == "DELETE" else None)
    with pytest.raises(BackendError, match="does not answer"):
        world.registry.collection.collect(OPERATOR, GRACE)
    proxy.reset()
    patience(60)
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(built)
    world.registry.collection.collect(OPERATOR, GRACE)
    sound(world)
