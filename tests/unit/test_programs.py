"""A program that was forked is, to itself and to whoever ran it, one that was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import Preloaded

PROBE = Path(__file__).parents[1] / "probe.py"
ENVIRONMENTS: list[dict[str, str]] = [
    {"LC_ALL": "C.UTF-8", "A": "first", "TZ": "Asia/Tokyo"},
    {"LC_ALL": "C.UTF-8", "A": "دفتر", "TZ": "Africa/Casablanca"},
]
# Whatever sets Python up otherwise is for real programs, and there is none for the probe.
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def probe() -> Iterator[Preloaded]:
    made = Preloaded("probe", "probe", ())
    yield made
    made.end()


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=["first", "second"])
def test_it_finds_what_a_started_one_finds(
    environment: dict[str, str], probe: Preloaded, tmp_path: Path
) -> None:
    found: list[Any] = []
    for program in ([probe.stub], [sys.executable, PROBE]):
        done = subprocess.run(
            [*program, "say", "two words", ""],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
            input="one\nدفتر", umask=0o027,
        )  # fmt: skip
        assert done.stderr == ""
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert found[0]["environment"] == environment


@pytest.mark.parametrize(
    "arguments",
    [("end", "0", "0"), ("end", "0", "7"), ("end", "a message"), ("die",), ("end",)],
    ids=["well", "with-a-number", "with-a-message", "killed", "failing"],
)
def test_it_ends_as_a_started_one(arguments: tuple[str, ...], probe: Preloaded) -> None:
    ends = [
        subprocess.run(
            [*program, *arguments], capture_output=True, text=True, check=False, env=PLAIN
        )
        for program in ([probe.stub], [sys.executable, PROBE])
    ]
    assert len({end.returncode for end in ends}) == 1
    # Of a failure the last line: the others are the places in the program.
    assert len({tuple(end.stderr.splitlines()[-1:]) for end in ends}) == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_it(how: int, probe: Preloaded) -> None:
    """Also SIGKILL, which nobody can pass on."""
    with subprocess.Popen(
        [probe.stub, "wait"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=PLAIN
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(how)
        assert process.stdout.read() == b""  # closed: nothing runs on with it
    assert process.returncode == -how


def test_the_stub_starts_what_must_be_real(tmp_path: Path) -> None:
    """Servers, and whatever sets Python up otherwise: there is nobody at the socket to ask."""
    made = Preloaded.stub_text("forge-server", tmp_path / "nobody")
    stub = tmp_path / "forge-server"
    stub.write_text(made)
    stub.chmod(0o755)
    for arguments, more in ((("run", "--help"), {}), (("--help",), {"PYTHONUTF8": "1"})):
        done = subprocess.run(
            [stub, *arguments], capture_output=True, check=False, env=PLAIN | more
        )
        assert done.returncode == 0
    done = subprocess.run([stub, "--help"], capture_output=True, check=False, env=PLAIN)
    assert done.returncode != 0
