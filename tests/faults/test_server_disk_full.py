"""The disk of the registry is full, on a file system that really is: what is refused is refused in
clear words, nothing is half there, and with room everything goes on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_fixtures import Live, World, _fresh_registry, copy_registry, drop_database, start_server

from forge_server.operate.check import check_registry

__all__ = ["_fresh_registry"]
SIZE = 24 << 20
KIB = 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB. Only root may make one, as in CI; elsewhere the test is skipped."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"a file system of its own is required in CI: {made.stderr}")
        pytest.skip(f"only root can mount a small file system: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def live(_fresh_registry: Path, small_disk: Path) -> Iterator[Live]:
    world = World(copy_registry(_fresh_registry, small_disk))
    token = world.user("sara")
    world.organisation(token)
    server = start_server(world.root)
    yield Live(world, server, token)
    server.kill()
    world.close()
    drop_database(world.root)


@contextlib.contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """All of the disk but ``left`` bytes is taken while it is entered."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(64 * KIB))
        size = file.tell()
    os.truncate(filler, max(0, size - left))
    try:
        yield
    finally:
        filler.unlink()


def publish(live: Live, version: str, data: bytes) -> tuple[int, list[str]]:
    """The status of a publish, and what was said in words when it was refused."""
    built = live.world.release(version=version, files={"weights.bin": data})
    live.world.close()
    for digest, body in built.blobs().items():
        path = f"/api/v1/blobs/{digest}?component={built.manifest.component}"
        answer = live.request("PUT", path, body=body)
        if answer.status not in (200, 201):
            break
    else:
        answer = live.request("POST", "/api/v1/releases", json=built.body())
    if answer.status in (200, 201):
        return answer.status, []
    problem = answer.json()
    return answer.status, [problem["code"], problem["title"]]


def put_in_vain(live: Live, size: int) -> dict[str, str]:
    """The headers of the refusal of a file that the disk does not hold."""
    body = os.urandom(size)
    path = f"/api/v1/blobs/{hashlib.sha256(body).hexdigest()}?component=minds-lab/my-model"
    answer = live.request("PUT", path, body=body)
    assert answer.status == 507, answer.data
    return {name.lower(): value for name, value in answer.headers.items()}


def left_over(live: Live) -> list[Path]:
    return [path for path in (live.world.root / "blobs" / "tmp").rglob("*") if path.is_file()]


def test_publishing_to_a_full_disk(live: Live, small_disk: Path) -> None:
    """With less and less room, so that it ends in every step of a publish."""
    assert publish(live, "1.0.0", b"first")[0] == 201
    statuses = []
    for number, left in enumerate([*range(0, 160, 16), 256, 4096]):
        with filled(small_disk, left * KIB):
            status, words = publish(live, f"2.{number}.0", os.urandom(20_000))
            if status != 201:
                assert (status, words) == (507, ["disk-full", "Disk full"]), left
            statuses.append(status)
            assert left_over(live) == [], left
            # Whoever only reads does not notice.
            assert live.request("GET", "/tuf/timestamp.json").status == 200
            assert live.request("GET", "/api/v1/components/minds-lab/my-model").status == 200
        status, words = publish(live, f"3.{number}.0", os.urandom(1000))
        assert status == 201, (left, words)
        assert check_registry(live.world.registry, deep=True).problems == (), left
        live.world.close()
    assert statuses[0] == 507
    assert statuses[-1] == 201
    print(
        f"{len(statuses)} fillings: {statuses.count(507)} refused, {statuses.count(201)} published"
    )


def test_a_file_that_does_not_fit(live: Live, small_disk: Path) -> None:
    with filled(small_disk, 4096 * KIB):
        assert publish(live, "1.0.0", os.urandom(8 << 20)) == (507, ["disk-full", "Disk full"])
        # Not read to its end: the connection is of no use, and the client is told.
        assert put_in_vain(live, 8 << 20)["connection"] == "close"
        assert left_over(live) == []
        assert publish(live, "1.0.1", b"small")[0] == 201
    assert publish(live, "1.0.2", os.urandom(8 << 20))[0] == 201
    assert check_registry(live.world.registry, deep=True).problems == ()
