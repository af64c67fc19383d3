"""gc, scrub, backup and restore while the object store or the network fails, or they are killed.

Each is run once to see its requests. Then one request of each kind is broken, refused as well as
carried out (`make soak`: each single request, in every way); then all requests from one on, as when
the store goes away; then the process is killed before requests and commits. Afterwards the same
command again ends it, and nothing is lost, doomed for ever, or said to be damaged that is not.

After each of these steps the store holds the very objects that it should, which one request tells;
at the end of a walk everything is read.
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
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.httpsession import URLLib3Session
from ceph_node import CephNode
from s3_proxy import S3Proxy
from server_fixtures import Client, World, rows
from sqlalchemy import func, select
from stored_worlds import make_stored_world
from test_server_backup_crash import until_killed
from test_server_crash import Killer
from thorough import EVERY_STEP

import storage.s3
from forge_server.app import create_app
from forge_server.db.models import BlobLease
from forge_server.operate.backup import back_up, find_backup
from forge_server.operate.check import check_registry
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
    """A registry behind the proxy with one release. Its ``objects`` are those that are there now,
    ``expected`` those that were there before the test."""
    place = tmp_path_factory.mktemp("s3")
    made = make_stored_world(ceph, place, files={"big.bin": BIG}, s3_endpoint=proxy.url)
    # Whoever looks at a world here is handed nothing else.
    made.world.objects = partial(ceph.objects, made.bucket)  # type: ignore[attr-defined]
    yield made.world
    made.world.close()


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Every connection tries each request once: what boto3 would repeat is what shall fail."""
    original = storage.s3.connect

    def connect(options: S3Options) -> Any:
        return original(replace(options, attempts=1))

    monkeypatch.setattr(storage.s3, "connect", connect)
    world.close()
    world.expected = world.objects()  # type: ignore[attr-defined]


@dataclass
class Job:
    """``prepare`` returns what is to be done, again and again until it ends without an error; when
    it has ended, once more where it is ``repeatable``. ``check`` looks afterwards. Where a step may
    be anywhere, it is after every so manieth request."""

    prepare: Callable[[World, Path], Callable[[], object]]
    check: Callable[[World, Path], None]
    every: int
    repeatable: bool = True


_numbers = itertools.count()


def sound(world: Any) -> None:
    assert world.objects() == world.expected
    assert Scrub.of(world.registry, Pace(0)).damaged() == []


def whole(world: World) -> None:
    assert check_registry(world.registry, deep=True).problems == ()
    assert Scrub.of(world.registry, Pace(0)).damaged() == []


def prepare_gc(world: World, _: Path) -> Callable[[], object]:
    """Two blobs are to go, and one that was found by an earlier walk."""
    registry = world.registry
    for _ in range(2):
        data = b"stray %d" % next(_numbers)
        digest = hashlib.sha256(data).hexdigest()
        registry.blobs.put(digest, io.BytesIO(data), len(data))
        registry.incoming.leases.hold({digest: len(data)}, "minds-lab")
    world.clock.ahead += timedelta(seconds=10)
    return lambda: world.registry.collection.collect(OPERATOR, GRACE)


def check_gc(world: World, _: Path) -> None:
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


@dataclass(frozen=True)
class Kept:
    """A backup of the registry with what its tables held, and the objects of one that was restored
    from it in peace."""

    target: Path
    rows: dict[str, list[Any]]
    objects: dict[str, tuple[int, str]]


@pytest.fixture(scope="module")
def kept(
    ceph: CephNode, proxy: S3Proxy, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Kept:
    proxy.reset()
    place, bucket = tmp_path_factory.mktemp("kept"), ceph.new_bucket()
    back_up(world.registry, place / "target", with_keys=True, tell=print)
    held = rows(world)
    wishes = Wishes(newest=True, settings=ceph.settings(place, bucket))
    restore(place / "target", place / "back", wishes, utc_now, print)
    back = World(place / "back")
    whole(back)
    back.close()
    return Kept(place / "target", held, ceph.objects(bucket))


def restoring(ceph: CephNode, proxy: S3Proxy, kept: Kept) -> Job:
    """Into an empty bucket behind the proxy."""
    bucket = ""

    def prepare(world: World, place: Path) -> Callable[[], object]:
        nonlocal bucket
        bucket = ceph.new_bucket()
        settings = ceph.settings(place, bucket, s3_endpoint=proxy.url)
        wishes = Wishes(newest=True, settings=settings)
        return lambda: restore(kept.target, place / "back", wishes, utc_now, print)

    def check(_: World, place: Path) -> None:
        assert ceph.objects(bucket) == kept.objects
        back = World(place / "back")
        assert rows(back) == kept.rows
        back.close()

    return Job(prepare, check, every=17 if EVERY_STEP else 34, repeatable=False)


@pytest.fixture(params=[*JOBS, "restore"])
def job(request: pytest.FixtureRequest, ceph: CephNode, proxy: S3Proxy) -> Job:
    if request.param in JOBS:
        return JOBS[request.param]
    return restoring(ceph, proxy, request.getfixturevalue("kept"))


def rounds(job: Job, world: World, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Prepares again and again, in a folder of its own each time."""
    for number in itertools.count():
        place = tmp_path / str(number)
        place.mkdir()
        yield place, job.prepare(world, place)
        shutil.rmtree(place)


def kind_of(method: str, path: str) -> str:
    """What a request does, and to what: a blob, a published file that stays or one that is
    replaced, or a list."""
    name, _, query = path.partition("?")
    _, _, folder, *rest = [*name.split("/"), "", ""][:4]
    stays = any(letter.isdigit() for letter in "".join(rest))
    return f"{method} {folder} {'once' if stays else 'again'} {sorted(parse_qs(query))}"


def faults_of(kinds: list[str]) -> Iterator[tuple[str, int, str]]:
    """(kind, how manieth of it, fault): each kind refused, and broken when it was carried out."""
    for number, kind in enumerate(sorted(set(kinds))):
        if EVERY_STEP:
            yield from itertools.product([kind], range(kinds.count(kind)), FAULTS)
            continue
        reads = kind.startswith("GET")
        yield kind, 0, ("reset", "error-500")[number % 2]
        yield kind, 0, ("truncate", "alter")[number % 2] if reads else "done-reset"


def test_any_broken_request(job: Job, world: World, proxy: S3Proxy, tmp_path: Path) -> None:
    todo = rounds(job, world, tmp_path)
    for _ in range(2):  # the second time, when the registry has read what it reads but once
        place, act = next(todo)
        proxy.reset()
        act()
        kinds = [kind_of(*request) for request in proxy.seen]
        job.check(world, place)
    failed = 0
    for kind, at, fault in faults_of(kinds):
        place, act = next(todo)
        before, seen = failed, itertools.count()
        proxy.reset(
            lambda _, *request: fault if kind_of(*request) == kind and next(seen) == at else None  # noqa: B023
        )
        try:
            act()
        except BackendError:
            failed += 1
        # What is asked a second time may differ: several threads of it ask together.
        assert len(proxy.broken) == 1 or at > 0, (kind, proxy.seen)
        finish(job, world, proxy, place, act, again=failed > before)
    assert failed >= 2, "hardly anything failed: the test looks at nothing"
    whole(world)


def test_all_requests_from_one_on(job: Job, world: World, proxy: S3Proxy, tmp_path: Path) -> None:
    failed = 0
    for number, (place, act) in enumerate(rounds(job, world, tmp_path)):
        at = number * job.every
        proxy.reset(lambda n, *_: "reset" if n >= at else None)  # noqa: B023
        before = failed
        try:
            act()
        except BackendError:
            failed += 1
        over = len(proxy.seen) <= at
        finish(job, world, proxy, place, act, again=failed > before)
        if over:
            assert failed >= 2, "hardly anything failed: the test looks at nothing"
            whole(world)
            return


def finish(
    job: Job, world: World, proxy: S3Proxy, place: Path, act: Callable[[], object], *, again: bool
) -> None:
    """What ends a round when nothing is broken any more: the same ``again``, and a look."""
    proxy.reset()
    if job is JOBS["scrub"]:
        assert Scrub.of(world.registry, Pace(0)).damaged() == [], "a fault of the network"
    if again or job.repeatable:
        act()
    job.check(world, place)


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
            whole(world)
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
    world: World, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher who sends the blob again in between keeps it."""
    token = world.token("sara")
    client = Client(create_app(world.registry).test_client(), token)
    built = world.release(version="2.0.0", files={"weights.bin": os.urandom(1000)})
    client.put_blobs(built)
    world.clock.ahead += timedelta(seconds=10)
    proxy.reset(lambda _, method, __: "stall" if method == "DELETE" else None)
    with monkeypatch.context() as patch:
        proxy.no_patience(patch)
        with pytest.raises(BackendError, match="does not answer"):
            world.registry.collection.collect(OPERATOR, GRACE)
    proxy.reset()
    world.close()
    client = Client(create_app(world.registry).test_client(), token)
    client.publish(built)
    world.registry.collection.collect(OPERATOR, GRACE)
    whole(world)
