"""Publishers that go on whatever happens to their servers, watchers of what the world sees, and the
proof afterwards that it was one history."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import urllib3
from server_fixtures import ORG, Built, Client, World, entry, forge_toml
from sqlalchemy import select
from thorough import EVERY_STEP
from waiting import PAUSE_SECONDS

from forge_server.app import create_app
from forge_server.db.models import LogCheckpoint, LogEntry
from forge_server.operate.check import check_registry
from forge_server.services.log import hash_reader
from signing.component import parse_forge_toml
from signing.manifest import build_manifest
from signing.oms import sign_bundle
from signing.role_edits import add_release
from signing.roles import parse_signed
from signing.tlog.checkpoint import open_checkpoint
from signing.tlog.entries import parse_entry
from signing.tlog.merkle import root_of

PUBLISHERS = 22
SOME_PUBLISHERS = PUBLISHERS if EVERY_STEP else 10
MAX_TRIES = 5000  # of one publish, over all restarts
MAX_MORE = 500  # releases, or seconds without one, after the last kill
ENOUGH_NOTES = 4  # checkpoints that the watchers must have seen


class Address(Protocol):
    @property
    def url(self) -> str: ...


class Served(Protocol):
    """The servers; of a killed one the address may change."""

    @property
    def running(self) -> Sequence[Address]: ...

    def kill(self, at: int) -> None:
        """kill -9, and a start."""


@dataclass
class Seen:
    """What the watchers saw: contents by version or size. All of them saw every file in order."""

    checkpoints: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    notes: set[bytes] = field(default_factory=set)
    timestamps: dict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    snapshots: dict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    wrong: list[str] = field(default_factory=list)
    looks: int = 0


def http() -> urllib3.PoolManager:
    return urllib3.PoolManager(maxsize=4, retries=False, timeout=60)


def get(pool: urllib3.PoolManager, url: str) -> bytes | None:
    """The bytes; None when the server was just killed."""
    try:
        answer = pool.request("GET", url)
    except (urllib3.exceptions.HTTPError, OSError):
        return None
    assert answer.status == 200, (url, answer.status, answer.data[:300])
    return answer.data


def watch(servers: Served, at: int, seen: Seen, ended: threading.Event) -> None:
    """Polls one of the servers until the end."""
    pool, version, size = http(), 0, 0
    while not ended.is_set():
        url = servers.running[at].url
        stamp = get(pool, f"{url}/tuf/timestamp.json")
        note = get(pool, f"{url}/log/checkpoint")  # afterwards: it must cover the timestamp
        if stamp is None or note is None:
            time.sleep(PAUSE_SECONDS)  # whoever starts again needs the processor
            continue
        signed: Any = parse_signed(stamp, "timestamp.json", "timestamp").signed
        snapshot = get(pool, f"{url}/tuf/{signed.snapshot_meta.version}.snapshot.json")
        covered = int(note.split(b"\n")[1])
        if signed.version < version or covered < size:
            seen.wrong.append(f"went back: {version} {size} -> {signed.version} {covered}")
        version, size = signed.version, covered
        index = signed.snapshot_meta.unrecognized_fields["log_index"]
        if index >= covered:
            seen.wrong.append(f"timestamp {version} needs leaf {index}, log has {covered}")
        seen.timestamps[version].add(stamp)
        seen.checkpoints[covered].add(note.partition(b"\n\n")[0].decode())
        seen.notes.add(note)
        if snapshot is not None:
            seen.snapshots[signed.snapshot_meta.version].add(snapshot)
        seen.looks += 1


def next_release(world: World, name: str, number: int, role: bytes) -> Built:
    """Release 1.``number`` of ``name`` on top of the publisher's own ``role``."""
    toml = forge_toml(name, f"1.{number}.0")
    content = {"forge.toml": toml, "weights.bin": f"{name} {number}".encode() * 50}
    manifest = build_manifest(
        parse_forge_toml(toml), [entry(path, data) for path, data in content.items()]
    )
    key = world.key(ORG)
    bundle = sign_bundle(manifest.files, str(manifest), key)
    updated = add_release(role, manifest, bundle, [key], world.clock())
    return Built(content, manifest, bundle, {manifest.component.role: updated})


@dataclass
class Publisher:
    """Publishes release after release until it is told to stop; ``promised`` are those that a
    server said to be published."""

    world: World
    servers: Served
    token: str
    name: str
    role: bytes
    dice: random.Random
    promised: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def work(self, ended: threading.Event, one_more: threading.Semaphore) -> None:
        pool, number = http(), 0
        while not ended.is_set() and not self.refused:
            number += 1
            built = next_release(self.world, self.name, number, self.role)
            for _ in range(MAX_TRIES):
                if self._sent(pool, built):
                    self.promised.append(str(built.manifest.version))
                    self.role = built.roles[built.manifest.component.role]
                    one_more.release()
                    break
                if self.refused:
                    return
                time.sleep(PAUSE_SECONDS)
            else:
                self.refused.append(f"{self.name} 1.{number}.0: never taken")

    def _sent(self, pool: urllib3.PoolManager, built: Built) -> bool:
        """Whether one of the servers said that the release is published."""
        url = self.dice.choice(self.servers.running).url
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            for digest, data in built.blobs().items():
                path = f"/api/v1/blobs/{digest}?component={built.manifest.component}"
                if pool.request("PUT", url + path, body=data, headers=headers).status >= 300:
                    return False
            answer = pool.request(
                "POST", f"{url}/api/v1/releases", json=built.body(), headers=headers
            )
        except (urllib3.exceptions.HTTPError, OSError):
            return False
        if answer.status not in (200, 201, 503):
            self.refused.append(f"{built.manifest}: {answer.status} {answer.data[:500]!r}")
        return answer.status in (200, 201)


def assert_one_history(world: World, seen: Seen, seed: str) -> None:
    assert seen.wrong == [], seed
    for kind in (seen.checkpoints, seen.timestamps, seen.snapshots):
        twice = {number: len(each) for number, each in kind.items() if len(each) > 1}
        assert twice == {}, seed
    assert len(seen.notes) >= ENOUGH_NOTES, "hardly anything was seen: the test looks at nothing"
    registry = world.reopen()
    registry.publication.materialise()  # what `forge-server run` does at its start
    assert check_registry(registry, deep=True).problems == (), seed
    keys = registry.log.keys.verifiers()
    with registry.database.read() as session:
        stored = dict(session.execute(select(LogCheckpoint.size, LogCheckpoint.note)).all())
        for note in seen.notes | set(stored.values()):
            checkpoint = open_checkpoint(note, keys, ()).checkpoint
            assert checkpoint.root == root_of(
                checkpoint.size, hash_reader(session, checkpoint.size)
            ), seed
        for size, texts in seen.checkpoints.items():
            assert {stored[size].partition(b"\n\n")[0].decode()} == texts, seed


def published_in_log(world: World) -> set[str]:
    """What the public log says was published: ``{"organisation/name==version"}``."""
    with world.registry.database.read() as session:
        entries = [parse_entry(data) for data in session.scalars(select(LogEntry.entry))]
    return {entry.subject for entry in entries if entry.act == "release.publish"}


def publish_while_killed(
    world: World,
    servers: Served,
    token: str,
    dice: random.Random,
    *,
    kills: int,
    seed: int,
    publishers: int = PUBLISHERS,
    between: range = range(1, 8),
    tell: Callable[[int], object] = lambda _: None,
) -> None:
    """Publishers at all servers, of which one after the other is killed at a moment that the
    progress of publishing decides; then the proof. From one kill to the next pass as many releases
    as the dice take from ``between``; ``tell`` hears of each kill.

    The caller closes ``servers`` afterwards; ``world`` is not open on the database meanwhile.
    """
    client = Client(create_app(world.registry).test_client(), token)
    names = [f"model-{number}" for number in range(publishers)]
    for name in names:
        client.publish(world.release(name, "1.0.0"))
    seen, ended, one_more = Seen(), threading.Event(), threading.Semaphore(0)
    people = [
        Publisher(
            world, servers, token, name, world.registry.roles.current(f"{ORG}.{name}"),
            random.Random(dice.random()),
        )
        for name in names
    ]  # fmt: skip
    world.close()  # from here on only the servers have it open
    count = len(servers.running)
    with ThreadPoolExecutor(publishers + count) as pool:
        working = [pool.submit(watch, servers, at, seen, ended) for at in range(count)]
        working += [pool.submit(each.work, ended, one_more) for each in people]
        try:
            for number in range(kills):
                for _ in range(dice.choice(between)):
                    while not one_more.acquire(timeout=1):
                        assert not any(each.refused for each in people)
                servers.kill(dice.randrange(count))
                tell(number + 1)
            # One transaction publishes for many: after few kills there may be few checkpoints yet.
            for _ in range(MAX_MORE):
                if len(seen.notes) >= ENOUGH_NOTES:
                    break
                one_more.acquire(timeout=1)
                assert not any(each.refused for each in people)
        finally:
            ended.set()
        for each in working:
            each.result()
    promised = {each.name: each.promised for each in people}
    assert [each.refused for each in people if each.refused] == [], f"seed {seed}"
    assert_one_history(world, seen, f"seed {seed}")
    logged = published_in_log(world)
    client = Client(create_app(world.registry).test_client(), token)
    for name, versions in promised.items():
        found = client.get(f"/api/v1/components/{ORG}/{name}")["versions"]
        assert {"1.0.0", *versions} <= {row["version"] for row in found}, f"seed {seed}"
        assert {f"{ORG}/{name}=={each}" for each in ("1.0.0", *versions)} <= logged, f"seed {seed}"
    releases = sum(map(len, promised.values()))
    print(f"{kills} kills, {releases} releases, {seen.looks} looks, {len(seen.notes)} checkpoints")
