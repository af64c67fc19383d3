"""A cache without locks: nobody writes into what another one takes for finished."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from builders import NAME, sha256, tree
from cli_fixtures import Forge, new_world
from forge_client import forge
from ranged_server import Blob, right
from static_server import StaticServer
from tensors import chunks_of, safetensors, tensors
from waiting import wait_until

__all__ = ["forge"]


PATH = "weights/model.safetensors"
DATA = safetensors(tensors(1, count=16))
LIST = chunks_of(DATA)
MIDDLE = LIST[len(LIST) // 2].start
# Does what a file system without them does, to real processes.
NO_LOCKS = """
import errno, fcntl, os
def refuse(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = refuse
"""
OTHER_MACHINE = """
import forge_cli.boot
forge_cli.boot.this_boot = lambda: "another"
"""


def no_lock(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.fixture(params=[True, False], ids=["in chunks", "in one piece"])
def listed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def install(into: str, preamble: str = NO_LOCKS) -> subprocess.Popen[str]:
    program = f"{preamble}\nfrom forge_cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "install", str(NAME), "--into", into],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def served(forge: Forge, blob: Blob, listed: bool) -> Iterator[None]:
    """``blob`` as the large file of a release; ``forge`` trusts it, and has one line."""
    world = new_world()
    world.publish({**tree(), PATH: DATA}, {PATH: LIST.raw} if listed else {})
    with StaticServer({**world.files(), blob.path: blob}) as server:
        forge.trust(server, world)
        forge.ok("config", "set", "parallel", "1")
        yield


def installed(forge: Forge, into: str) -> bytes:
    return (forge.place / into / "forge_components" / str(NAME) / PATH).read_bytes()


def test_two_processes_of_one_machine_fetch_it_once(forge: Forge, listed: bool) -> None:
    second: list[subprocess.Popen[str]] = []

    def start_another(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        """When the first one is at it."""
        if not second:
            second.append(install("two"))
        right(blob, handler, start, end)

    blob = Blob(DATA, always=start_another)
    with served(forge, blob, listed):
        first = install("out")
        _, err = first.communicate()
        assert first.returncode == 0, err
        _, err = second[0].communicate()
        assert second[0].returncode == 0, err
    assert installed(forge, "out") == installed(forge, "two") == DATA
    assert blob.sent == len(DATA)
    assert list((forge.home / "cache" / "partial").iterdir()) == []


def test_what_a_killed_process_had_is_not_fetched_again(forge: Forge, listed: bool) -> None:
    part, journal = (forge.home / "cache" / "partial").glob, ".journal" if listed else ".part"
    # So large is it when a third of the file is there: a line, and four bytes for each chunk.
    enough = 120 + 4 * len(LIST) // 3 if listed else len(DATA) // 3

    def kill_half_way(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        blob.head(handler, start, end)
        blob.body(handler, DATA[start:MIDDLE])
        wait_until(lambda: any(path.stat().st_size >= enough for path in part(f"*{journal}")))
        process.kill()

    blob = Blob(DATA, [kill_half_way])
    with served(forge, blob, listed):
        process = install("out")
        process.communicate()
        assert process.returncode == -9
        blob.sent = 0
        process = install("out")
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert installed(forge, "out") == DATA
    assert blob.sent <= len(DATA) - len(DATA) // 4
    assert list((forge.home / "cache" / "partial").iterdir()) == []


def test_bytes_that_another_machine_was_sent_wrong_never_get_into_a_blob(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """It is half way when ours begins, ours comes to its end, and then it is lied to and killed."""
    half_way, ours_is_done = threading.Event(), threading.Event()

    def lie(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        blob.head(handler, start, end)
        blob.body(handler, DATA[start:MIDDLE])
        half_way.set()
        ours_is_done.wait()
        blob.body(handler, bytes(end - MIDDLE))

    def kill(*_: object) -> None:
        """It asks again: what was wrong it has written, and looked at."""
        other.kill()
        raise ConnectionResetError

    blob = Blob(DATA, [lie])
    with served(forge, blob, listed):
        other = install("two", NO_LOCKS + OTHER_MACHINE)
        half_way.wait()
        with monkeypatch.context() as patch:
            patch.setattr("fcntl.flock", no_lock)
            forge.ok("install", str(NAME), "--into", "out")
        blob.always = kill
        ours_is_done.set()
        other.communicate()
    assert other.returncode == (-9 if listed else 3)
    assert installed(forge, "out") == DATA
    assert all(sha256(path.read_bytes()) == path.name for path in forge.cached())
