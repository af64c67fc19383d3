"""Uploads to a real registry through a line that counts and breaks: nothing twice or lost."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_registry import LiveRegistry
from tcp_proxy import Line
from tensors import replaced, safetensors, tensors

MIB = 1 << 20
ROUNDS = 12


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    with LiveRegistry(tmp_path_factory.mktemp("uploads")) as live:
        live.register("minds-lab")
        yield live


@pytest.fixture
def line(registry: LiveRegistry) -> Iterator[Line]:
    """The registry behind a line; `forge` goes through it."""
    with Line(registry.port) as between:
        registry.forge(
            "login",
            between.url,
            "--fingerprint",
            registry.fingerprint,
            "--token-file",
            "sara.token",
        )
        registry.environment["FORGE_URL"] = between.url
        between.reset()
        yield between
        del registry.environment["FORGE_URL"]


def component(registry: LiveRegistry, name: str, data: bytes, version: str = "1.0.0") -> Path:
    folder = registry.place / name
    if not folder.exists():
        registry.new_component("minds-lab", name)
    lines = (folder / "forge.toml").read_text().splitlines()
    changed = [f'version = "{version}"' if ln.startswith("version") else ln for ln in lines]
    (folder / "forge.toml").write_text("\n".join(changed) + "\n")
    (folder / "model.safetensors").write_bytes(data)
    return folder


def installed(registry: LiveRegistry, name: str, into: str) -> bytes:
    registry.forge("install", f"minds-lab/{name}", "--into", into)
    return (
        registry.place / into / "forge_components/minds-lab" / name / "model.safetensors"
    ).read_bytes()


def checked(registry: LiveRegistry) -> None:
    registry.forge_server("check", str(registry.data), "--deep")


VALUES = tensors(1, count=40)
OLD = safetensors(VALUES)
CHANGED = replaced(VALUES, [f"layer.{n}" for n in (3, 11, 22, 33)])
CASES = {
    "tenth": (safetensors(CHANGED), 0.11),
    "header": (safetensors(VALUES, "x" * 777), 0.02),
    "both": (safetensors({"front": random.Random(3).randbytes(100_000)} | CHANGED, "y" * 99), 0.12),
}


@pytest.mark.parametrize("case", CASES)
def test_a_new_version_moves_what_changed_in_both_directions(
    registry: LiveRegistry, line: Line, case: str
) -> None:
    new, share = CASES[case]
    name = f"delta-{case}"
    registry.forge("publish", str(component(registry, name, OLD)))
    assert installed(registry, name, f"out-{case}") == OLD
    line.reset()
    registry.forge("publish", str(component(registry, name, new, "1.1.0")))
    # The rest is metadata: roles, manifest, bundle, the chunk list.
    assert line.up <= share * len(new) + 150_000
    line.reset()
    registry.forge("install", f"minds-lab/{name}", "--into", f"out-{case}", "--upgrade")
    assert line.down <= share * len(new) + 300_000
    assert installed(registry, name, f"out-{case}") == new
    checked(registry)


def test_a_file_that_grew_over_a_power_of_two_is_cut_as_its_old_version_was(
    registry: LiveRegistry, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With averages that change at 21 MB instead of 4 GiB, in the child that publishes."""
    preamble = "import forge_cli.chunking as c; c._AIM = 330; c._SMALLEST = 16 << 10"
    new = safetensors({**VALUES, "more": random.Random(9).randbytes(2 * MIB)})
    folder = component(registry, "grown", OLD)
    assert child(registry, preamble, "publish", str(folder)).wait() == 0
    line.reset()
    component(registry, "grown", new, "1.1.0")
    assert child(registry, preamble, "publish", str(folder)).wait() == 0
    assert line.up <= 0.15 * len(new) + 150_000
    assert installed(registry, "grown", "out-grown") == new


def child(registry: LiveRegistry, preamble: str, *args: str) -> subprocess.Popen[bytes]:
    program = f"{preamble}\nfrom forge_cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        env=registry.environment,
        cwd=registry.place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


# Parts of half a MiB from 1 MiB on, so that a small file has many.
SMALL_PARTS = (
    "import forge_cli.remote.upload as u, forge_cli.recipes as r; "
    "u._PARTS_FROM_BYTES = 1 << 20; r._PART_BYTES = 1 << 19"
)


def test_a_line_that_breaks_costs_a_part_each_time(registry: LiveRegistry, line: Line) -> None:
    data = random.Random(20).randbytes(12 * MIB)
    folder = component(registry, "breaking", data)
    line.cuts = [3 * MIB, 2 * MIB, 2 * MIB, 1 * MIB]
    assert child(registry, SMALL_PARTS, "publish", str(folder)).wait() == 0
    assert line.cuts == []
    # Two parts are under way at a time.
    assert line.up <= len(data) + 4 * 2 * (MIB // 2) + 300_000
    assert installed(registry, "breaking", "out-breaking") == data


def test_one_request_that_breaks_is_continued_in_parts(registry: LiveRegistry, line: Line) -> None:
    data = random.Random(21).randbytes(24 * MIB)
    folder = component(registry, "once", data)
    line.cuts = [20 * MIB]
    registry.forge("publish", str(folder))
    assert installed(registry, "once", "out-once") == data


def test_who_is_cut_off_is_told_that_nothing_is_lost(registry: LiveRegistry, line: Line) -> None:
    data = random.Random(27).randbytes(24 * MIB)
    folder = component(registry, "cut-off", data)

    def leave(count: int) -> None:
        if line.up + count >= 12 * MIB:
            line.__exit__(None, None, None)  # nobody listens there any more

    line.moved = leave
    done = registry.forge_with(registry.environment, "publish", str(folder))
    assert done.returncode == 8, done.stderr
    assert "connection refused" in done.stderr
    assert "what was sent is kept: the same command again continues there" in done.stderr
    registry.environment["FORGE_URL"] = registry.url
    registry.forge("publish", str(folder))
    assert installed(registry, "cut-off", "out-cut-off") == data


def test_kill_9_at_random_bytes_and_again_until_it_is_there(
    registry: LiveRegistry, line: Line
) -> None:
    """A publisher who is killed again and again sends each part once, and what was under way."""
    data = random.Random(22).randbytes(16 * MIB)
    folder = component(registry, "killed", data)
    chance, killed, sent = random.Random(23), 0, 0
    for _ in range(ROUNDS):
        line.reset()
        limit = chance.randrange(1, 3 * MIB)
        process = child(registry, SMALL_PARTS, "publish", str(folder))

        def kill(
            count: int, process: subprocess.Popen[bytes] = process, limit: int = limit
        ) -> None:
            if line.up + count >= limit:
                process.kill()

        line.moved = kill
        code = process.wait()
        line.moved = lambda count: None
        sent += line.up
        if code == 0:
            break
        assert code == -9
        killed += 1
    line.reset()
    registry.forge("publish", str(folder))
    sent += line.up
    assert killed > 3
    assert installed(registry, "killed", "out-killed") == data
    # Per kill: two parts under way, their neighbours in the sockets, and metadata.
    assert sent <= len(data) + killed * (2 * MIB + 300_000) + 300_000
    checked(registry)


def test_the_parts_survive_a_restart_of_the_server(registry: LiveRegistry, line: Line) -> None:
    data = random.Random(24).randbytes(16 * MIB)
    folder = component(registry, "restarted", data)
    process = child(registry, SMALL_PARTS, "publish", str(folder))

    def kill(count: int) -> None:
        if line.up + count >= 8 * MIB:
            process.kill()

    line.moved = kill
    assert process.wait() == -9
    line.moved = lambda count: None
    registry.server.kill()
    registry.server.wait()
    registry.start()
    line.port = registry.port
    line.reset()
    assert child(registry, SMALL_PARTS, "publish", str(folder)).wait() == 0
    assert line.up <= 10 * MIB
    registry.environment["FORGE_HOME"] = str(registry.place / "home")
    assert installed(registry, "restarted", "out-restarted") == data
    assert not list((registry.data / "blobs" / "uploads").glob("*/data"))


def test_a_slow_rate_is_kept_to(registry: LiveRegistry, line: Line) -> None:
    """No limit of time is tested, only that it is not quicker than the rate allows."""
    import time

    data = os.urandom(2 * MIB)
    folder = component(registry, "paced", data)
    began = time.monotonic()
    registry.forge("publish", str(folder), "--max-rate", "1M")
    assert time.monotonic() - began >= 1.5
    registry.forge("cache", "prune", "--all")
    began = time.monotonic()
    registry.forge("install", "minds-lab/paced", "--into", "out-paced", "--max-rate", "1M")
    assert time.monotonic() - began >= 1.5


def test_large_files_travel_before_the_release_is_offered(
    registry: LiveRegistry, line: Line
) -> None:
    """The manifest is made only when the registry has the file."""
    folder = component(registry, "early", random.Random(31).randbytes(9 * MIB))
    seen = registry.log.stat().st_size
    preamble = f"""
import pathlib, time
import forge_cli.flows.pack as pack
make, log = pack.build_manifest, pathlib.Path({str(registry.log)!r})
def slowly(*args):
    for _ in range(1200):
        if log.read_bytes()[{seen}:].count(b"PUT /api/v1/blobs") == 2:
            break
        time.sleep(0.1)
    return make(*args)
pack.build_manifest = slowly
"""
    assert child(registry, preamble, "publish", str(folder)).wait() == 0
    assert asked(registry, seen) == ["PUT", "PUT", "POST"]
    assert line.up <= 9 * MIB + 150_000


def asked(registry: LiveRegistry, since: int) -> list[str]:
    """What of files and offers the registry has written down."""
    log = registry.log.read_bytes()[since:].decode()
    return re.findall(r"([A-Z]+) /api/v1/(?:blobs/|releases)", log)


@pytest.mark.parametrize("why", ["dry run", "other content", "no key"])
def test_what_can_be_refused_without_the_files_is_refused_before_one_travels(
    registry: LiveRegistry, line: Line, why: str
) -> None:
    name = "refused-" + why.replace(" ", "-")
    folder = component(registry, name, random.Random(32).randbytes(9 * MIB))
    more = ["--dry-run"] if why == "dry run" else []
    if why == "other content":
        registry.forge("publish", str(folder))
        (folder / "more.bin").write_bytes(random.Random(33).randbytes(9 * MIB))
    elif why == "no key":
        registry.forge("key", "new", "another", "--insecure-unencrypted")
        registry.forge("publish", str(component(registry, name, b"small", "0.9.0")))
        component(registry, name, random.Random(32).randbytes(9 * MIB))
        more = ["--key", "another"]
    line.reset()
    seen = registry.log.stat().st_size
    # Time for what is hashed to travel, if it may.
    preamble = (
        "import time, forge_cli.flows.pack as p; make = p.build_manifest; "
        "p.build_manifest = lambda *args: (time.sleep(2), make(*args))[1]"
    )
    code = child(registry, preamble, "publish", str(folder), *more).wait()
    assert (code == 0) == (why == "dry run")
    assert "PUT" not in asked(registry, seen)
    assert line.up < 300_000
