"""`forge-server scrub`: finds what a disk has spoiled, and puts it right from anywhere."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from operators import run
from server_fixtures import (
    Built,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    set_settings,
    world,
)

from forge_server.operate.check import check_registry
from forge_server.operate.scrub import Pace, Scrub, last_scrub
from forge_server.operate.sources import parse_source
from forge_server.operate.worker import Worker
from forge_server.services.callers import OPERATOR

__all__ = ["_fresh_registry", "client", "sara", "world"]


@pytest.fixture
def built(world: World, sara: Client) -> Built:
    """A published release whose weights are 1,000 bytes."""
    built = world.release()
    sara.publish(built)
    return built


def weights(built: Built) -> str:
    return next(each for each, data in built.blobs().items() if len(data) == 1000)


def spoil(world: World, digest: str, data: bytes = b"X" * 1000) -> Path:
    path = world.root / "blobs" / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(data)
    return path


class TestFinding:
    def test_all_is_well(self, world: World, built: Built) -> None:
        assert "4 blobs read" in run("scrub", world.root).stderr

    @pytest.mark.parametrize("data", [b"X" * 1000, b"", b"w" * 999])
    def test_damage_is_found_and_stays_known(self, world: World, built: Built, data: bytes) -> None:
        digest = weights(built)
        path = spoil(world, digest, data)
        done = run("scrub", world.root, code=1)
        assert f"blob {digest}: damaged, its bytes hash to" in done.stdout
        assert "--from URL_OR_FOLDER" in done.stderr
        run("scrub", world.root, code=1)
        if len(data) == 1000:
            assert "damaged blobs: 1 (forge-server scrub" in run("check", world.root).stderr
        path.write_bytes(b"w" * 1000)  # somebody put it right by hand
        assert "is right again" in run("scrub", world.root).stdout
        assert "damaged blobs" not in run("check", world.root).stderr

    def test_what_is_gone_altogether(self, world: World, built: Built) -> None:
        digest = weights(built)
        shutil.rmtree(world.root / "blobs" / digest[:2])
        assert (
            f"blob {digest}: part of a release, but not" in run("scrub", world.root, code=1).stdout
        )

    def test_it_goes_on_where_it_was(self, world: World, built: Built) -> None:
        work = Scrub.of(world.registry, Pace(0))
        digests = list(world.registry.blobs.iter_digests())
        read: list[str] = []

        def stop_at_the_third(digest: str) -> tuple[str | None, int]:
            if digest == digests[2]:
                raise KeyboardInterrupt
            read.append(digest)
            return "damaged", 1  # so that the place is remembered at once

        object.__setattr__(work, "pace", Pace(0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Scrub, "_look", lambda _, digest: stop_at_the_third(digest))
            with pytest.raises(KeyboardInterrupt):
                work.walk(print)
        assert read == [digests[0], digests[0], digests[1], digests[1]], "each is read again"
        again: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Scrub, "_look", lambda _, digest: (again.append(digest), (None, 1))[1])
            assert work.walk(print).blobs == 4
        assert again == digests[2:]
        with world.registry.database.read() as session:
            state = last_scrub(session)
        assert state is not None
        assert state.finished_at is not None
        assert state.damaged == 2


class TestRepairing:
    def test_from_a_folder(self, world: World, built: Built, tmp_path: Path) -> None:
        digest = weights(built)
        other = tmp_path / "other"
        shutil.copytree(world.root / "blobs", other)
        spoil(world, digest)
        done = run("scrub", world.root, "--from", other)
        assert f"blob {digest}: repaired from {other}" in done.stdout
        assert check_registry(world.registry, deep=True).problems == ()
        run("scrub", world.root)

    def test_what_lies_flat_in_a_folder(self, world: World, built: Built, tmp_path: Path) -> None:
        digest = weights(built)
        (tmp_path / "flat").mkdir()
        (tmp_path / "flat" / digest).write_bytes(b"w" * 1000)
        (world.root / "blobs" / digest[:2] / digest).unlink()
        run("scrub", world.root, "--from", tmp_path / "flat")
        assert check_registry(world.registry, deep=True).problems == ()

    def test_a_source_is_believed_nothing(self, world: World, built: Built, tmp_path: Path) -> None:
        digest = weights(built)
        (tmp_path / "wrong").mkdir()
        (tmp_path / "wrong" / digest).write_bytes(b"x" * 1000)
        path = spoil(world, digest)
        done = run("scrub", world.root, "--from", tmp_path / "wrong", code=1)
        assert "gave other bytes" in done.stdout
        assert path.read_bytes() == b"X" * 1000  # what is left of it is not thrown away
        assert list((world.root / "locks").iterdir()) != [digest]

    def test_from_a_mirror(self, world: World, built: Built) -> None:
        digest = weights(built)
        spoil(world, digest)
        with serving({f"/blobs/{digest}": b"w" * 1000}) as url:
            done = run("scrub", world.root, "--from", url)
        assert f"repaired from {url}" in done.stdout
        assert check_registry(world.registry, deep=True).problems == ()

    def test_a_mirror_without_it_or_out_of_order(self, world: World, built: Built) -> None:
        digest = weights(built)
        spoil(world, digest)
        with serving({}) as url:
            assert "not repaired (damaged" in run("scrub", world.root, "--from", url, code=1).stdout
        with serving({f"/blobs/{digest}": b"w" * 10}) as url:
            assert "gave other bytes" in run("scrub", world.root, "--from", url, code=1).stdout
        with serving({f"/blobs/{digest}": None}) as url:
            assert "status 500" in run("scrub", world.root, "--from", url, code=1).stdout
        done = run("scrub", world.root, "--from", url, code=1)  # nobody listens any more
        assert "Traceback" not in done.stderr
        assert "NewConnection" in done.stdout or "not repaired" in done.stdout

    @pytest.mark.parametrize("text", ["nowhere", "ftp://x/y", "http://"])
    def test_no_source(self, world: World, text: str) -> None:
        assert "--from: expected" in run("scrub", world.root, "--from", text, code=1).stderr


@contextmanager
def serving(files: dict[str, bytes | None]) -> Iterator[str]:
    """A mirror on the loopback; what is None there fails."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path, b"")
            self.send_response(500 if data is None else 200 if self.path in files else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TestPace:
    def test_no_faster_than_asked_for(self) -> None:
        time = [100.0]
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            time[0] += seconds

        pace = Pace(1000, clock=lambda: time[0], sleep=sleep)
        for _ in range(5):
            pace.spend(500)
        assert time[0] == pytest.approx(102.5)
        time[0] += 60  # a pause is not made up for
        pace.spend(1000)
        assert slept[-1] == pytest.approx(1.0)

    def test_as_fast_as_can_be(self) -> None:
        Pace(0, sleep=lambda _: pytest.fail("it slept")).spend(10**12)

    def test_the_command_keeps_to_it(self, world: World, built: Built) -> None:
        assert "4 blobs read" in run("scrub", world.root, "--max-rate", "20M").stderr
        run("scrub", world.root, "--max-rate", "fast", code=2)


class TestWorker:
    def test_it_reads_where_the_settings_say_so(self, world: World, built: Built) -> None:
        set_settings(world.root, "scrub_bytes_per_second = 10_000_000\n")
        digest = weights(built)
        spoil(world, digest)
        registry = world.reopen()
        stop, found = threading.Event(), threading.Event()
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            if digest in line:
                found.set()

        worker = threading.Thread(target=Worker(registry, say).run, args=(0.05, stop))
        worker.start()
        found.wait()
        stop.set()
        worker.join()
        for thread in threading.enumerate():
            if thread.name == "scrub":
                thread.join()
        assert any(f"blob {digest}: damaged" in line for line in lines)


def test_stats(world: World, sara: Client) -> None:
    sara.publish(world.release(files={"weights.bin": b"w" * 1000}))
    sara.publish(world.release(version="1.1.0", files={"weights.bin": b"w" * 1000}))
    sara.publish(world.release("other", files={"weights.bin": b"o" * 500}))
    found = json.loads(run("stats", world.root, "--json").stdout)
    assert (found["organisations"], found["components"], found["releases"], found["files"]) == (
        1, 2, 3, 6,
    )  # fmt: skip
    assert found["logical_bytes"] - found["deduplicated_bytes"] == 1000
    assert found["stored_bytes"] == found["deduplicated_bytes"]
    assert found["unreferenced_blobs"] is None
    assert found["by_organisation"] == [
        {"name": "minds-lab", "components": 2, "releases": 3, "bytes": found["logical_bytes"]}
    ]
    assert [row["releases"] for row in found["by_month"]] == [3]
    sara.put_blobs(world.release(version="2.0.0", files={"weights.bin": b"n" * 700}))
    world.registry.collection.collect(OPERATOR)
    found = json.loads(run("stats", world.root, "--json").stdout)
    assert found["unreferenced_blobs"] == 2
    assert found["stored_bytes"] > found["deduplicated_bytes"] + 700
    out = run("stats", world.root).stdout
    assert "releases       3, 6 files, 2.9 kB" in out
    assert "unreferenced   2 blobs" in out
    assert parse_source(str(world.root), world.root).name == str(world.root)
