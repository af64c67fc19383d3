"""`forge-server worker`: signs again what grows old, beside servers that leave it to it."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3
from click.testing import CliRunner
from server_fixtures import (
    World,
    _fresh_registry,
    set_settings,
    start_server,
    world,
)
from sqlalchemy import update

from forge_server.db.models import MetadataVersion
from forge_server.manage import cli
from forge_server.operate import serve
from forge_server.operate.check import check_registry
from forge_server.operate.worker import Worker
from forge_server.settings import DataFolder
from signing.keys import generate_key
from signing.roles import EXPIRY, parse_signed

__all__ = ["_fresh_registry", "world"]
BIN = Path(sys.executable).parent
DEPLOY = Path(__file__).parents[2] / "deploy"


def stamp_version(world: World) -> int:
    data = (world.root / "public" / "timestamp.json").read_bytes()
    return int(parse_signed(data, "timestamp.json", "timestamp").signed.version)


def age(world: World) -> None:
    """Makes the timestamp two hours old."""
    with world.registry.database.write() as session:
        old = world.clock() - timedelta(hours=2)
        session.execute(
            update(MetadataVersion)
            .where(MetadataVersion.role == "timestamp")
            .values(created_at=old)
        )
    world.close()


@contextmanager
def working(root: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A worker of its own process that looks every tenth of a second, and its output."""
    with subprocess.Popen(
        [str(BIN / "forge-server"), "worker", str(root), "--interval", "0.1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


class TestLines:
    def test_what_was_done_is_one_line(self, world: World) -> None:
        lines: list[str] = []
        work = Worker(world.registry, lines.append)
        assert work.once() is True
        assert lines == []
        world.clock.ahead = timedelta(minutes=61)
        assert work.once() is True
        assert [line.split("  ", 1)[1] for line in lines] == [
            "signed timestamp 2; published 1 role file"
        ]
        world.clock.ahead = EXPIRY["snapshot"] / 2 + timedelta(minutes=1)
        assert work.once() is True
        assert lines[1].endswith("  signed snapshot 2 and timestamp 3; published 2 role files")
        assert stamp_version(world) == 3
        assert check_registry(world.registry, deep=True).problems == ()

    def test_two_at_once_sign_once(self, world: World) -> None:
        world.clock.ahead = timedelta(minutes=61)
        other = World(world.root, clock=world.clock)
        lines: list[str] = []
        workers = [Worker(each.registry, lines.append) for each in (world, other)]
        threads = [threading.Thread(target=work.once) for work in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stamp_version(world) == 2
        assert sum("signed" in line for line in lines) == 1
        other.close()

    def test_it_publishes_what_a_crash_left(self, world: World) -> None:
        with world.registry.database.write() as session:
            session.execute(update(MetadataVersion).values(published_at=None))
        lines: list[str] = []
        Worker(world.registry, lines.append).once()
        assert "published 5 role files" in lines[0]

    def test_a_fault_is_said_once_and_gone_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines: list[str] = []
        work = Worker(world.registry, lines.append)

        def fail(_: object) -> None:
            raise RuntimeError("secret")

        with monkeypatch.context() as patch:
            patch.setattr(type(world.registry.publication), "sign_again", fail)
            assert [work.once(), work.once()] == [False, False]
        assert [work.once(), work.once()] == [True, True]
        assert [line.split("  ", 1)[1] for line in lines] == [
            "failed: a fault of the registry; trying again",
            "all is well again",
        ]

    def test_once(self, world: World) -> None:
        result = CliRunner().invoke(cli, ["worker", str(world.root), "--once"])
        assert (result.exit_code, result.stdout) == (0, "nothing to do\n")
        age(world)
        result = CliRunner().invoke(cli, ["worker", str(world.root), "--once"])
        assert result.exit_code == 0
        assert "signed timestamp 2; published 1 role file" in result.stdout
        (world.root / "keys" / "snapshot.pem").write_bytes(generate_key("ed25519").to_pem(None))
        result = CliRunner().invoke(cli, ["worker", str(world.root), "--once"])
        assert result.exit_code == 1
        assert "not those that the root lists" in result.stdout


class TestAlone:
    def test_the_server_leaves_it_to_the_worker(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_settings(world.root, "embedded_worker = false\n")
        age(world)
        assert serve.prepare(DataFolder(world.root)) is None
        assert stamp_version(world) == 1
        server = start_server(world.root)
        with working(world.root) as worker:
            assert "signed timestamp 2; published 1 role file" in line_of(worker)
            answer = urllib3.request("GET", f"{server.url}/tuf/timestamp.json")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait() == 0
            assert worker.stderr is not None
            assert "Traceback" not in worker.stderr.read()
        server.stop()
        signed = parse_signed(answer.data, "timestamp.json", "timestamp").signed
        assert signed.version == 2
        assert check_registry(world.registry, deep=True).problems == ()

    @pytest.mark.parametrize("embedded", [True, False])
    def test_the_setting_decides(
        self, world: World, monkeypatch: pytest.MonkeyPatch, embedded: bool
    ) -> None:
        set_settings(world.root, f"embedded_worker = {str(embedded).lower()}\n")
        world.close()
        started: list[object] = []
        monkeypatch.setattr(serve, "start_refreshing", started.append)
        monkeypatch.setattr(serve, "create_app", lambda registry, **_: registry)
        monkeypatch.setattr(serve, "start_logging", lambda form: None)
        loaded = []
        monkeypatch.setattr(serve, "serve_with", lambda load, **_: loaded.append(load()))
        serve.serve(
            DataFolder(world.root), listener=None, workers=1, threads=1, on_ready=print  # type: ignore[arg-type]
        )  # fmt: skip
        assert len(started) == embedded
        loaded[0].database.dispose()

    def test_other_keys_than_the_roots_are_waited_for(self, world: World) -> None:
        """It says so, goes on looking, and signs as soon as the right key is there."""
        path = world.root / "keys" / "timestamp.pem"
        right = path.read_bytes()
        age(world)
        path.write_bytes(generate_key("ed25519").to_pem(None))
        with working(world.root) as worker:
            line = line_of(worker)
            assert "read-only: its online keys are not those that the root lists" in line
            assert line.endswith("; waiting\n")
            whole = path.with_suffix(".part")
            whole.touch(0o600)
            whole.write_bytes(right)
            whole.rename(path)  # the worker may be about to read it
            assert "signed timestamp 2" in line_of(worker)  # the trouble was said once
            worker.terminate()
            assert worker.wait() == 0

    def test_stops_on_ctrl_c(self, world: World) -> None:
        world.close()
        with working(world.root) as worker:
            assert worker.stderr is not None
            assert "Ctrl-C stops it" in worker.stderr.readline()
            worker.send_signal(signal.SIGINT)
            assert worker.wait() == 0
            assert worker.stderr.read() == ""


@pytest.mark.parametrize("name", ["server", "worker"])
def test_the_service_files_start_what_there_is(world: World, name: str) -> None:
    """Their command lines, with the folder of this test, start a server and a worker."""
    (line,) = (
        line.removeprefix("ExecStart=")
        for line in (DEPLOY / f"forge-{name}.service").read_text().splitlines()
        if line.startswith("ExecStart=")
    )
    world.close()
    replaced = {
        "/opt/forge/bin/forge-server": str(BIN / "forge-server"),
        "/var/lib/forge/reg": str(world.root),
        **({"8080": "0"} if name == "server" else {}),
    }
    for old, new in replaced.items():
        assert old in line
        line = line.replace(old, new)
    with subprocess.Popen(
        shlex.split(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        expected = "National Software Forge on http" if name == "server" else "looking every 60"
        assert process.stdout.readline().startswith(expected)
        process.terminate()
        assert process.wait() == 0


def test_the_service_files_are_as_hardened_as_the_witness() -> None:
    """Every protection of the one unit stands in the others."""

    def protections(name: str) -> set[str]:
        lines = (DEPLOY / f"forge-{name}.service").read_text().splitlines()
        words = ("Protect", "Private", "Restrict", "NoNew", "Cap", "Lock", "System")
        return {line for line in lines if line.startswith(words) and "Start" not in line}

    assert len(protections("witness")) > 15
    assert protections("server") == protections("witness") == protections("worker")
