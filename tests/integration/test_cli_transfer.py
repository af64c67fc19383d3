"""Transfers: continued where they stopped, patient with a busy server, within their budgets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from builders import NAME, World, sha256, tree
from cli_fixtures import Forge, new_world
from forge_client import forge, pauses
from programs import loaded_by
from static_server import Answer, StaticServer
from waiting import PAUSE_SECONDS

from forge_cli.remote.http import retry_after
from signing.names import ComponentName

__all__ = ["forge", "pauses"]


BIG = os.urandom(3 << 20)
DIGEST = sha256(BIG)
BLOB = f"/blobs/{DIGEST}"
FILES = {**tree(), "weights/model.safetensors": BIG}


def ranged(*, ignore: bool = False, cut: int | None = None, shift: int = 0) -> Answer:
    """The blob with Range support; ``cut`` ends each answer after so many bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        header = handler.headers.get("Range")
        matches = handler.headers.get("If-Range") == f'"{DIGEST}"'
        start = 0
        if header and matches and not ignore:
            start = int(header.removeprefix("bytes=").rstrip("-")) + shift
        body = BIG[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(BIG) - 1}/{len(BIG)}")
        handler.end_headers()
        with suppress(OSError):
            handler.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            handler.close_connection = True

    return answer


def world_with_big() -> World:
    world = new_world()
    world.publish(FILES)
    return world


def part(forge: Forge) -> Path:
    return forge.home / "cache" / "partial" / f"{DIGEST}.part"


def leave_part(forge: Forge, data: bytes) -> None:
    part(forge).parent.mkdir(parents=True)
    part(forge).write_bytes(data)


def installed(forge: Forge) -> bytes:
    path = forge.place / "out" / "forge_components" / str(NAME) / "weights/model.safetensors"
    return path.read_bytes()


def ranges(server: StaticServer) -> list[str | None]:
    return [headers.get("Range") for _, path, headers in server.requests if path == BLOB]


def run_install(forge: Forge, answer: Answer) -> tuple[int, str, list[str | None]]:
    world = world_with_big()
    with StaticServer({**world.files(), BLOB: answer}) as server:
        forge.trust(server, world)
        ran = forge("install", str(NAME), "--into", "out")
        return ran.code, ran.err, ranges(server)


def test_what_is_in_place_is_seen_without_what_verifies_or_asks(forge: Forge) -> None:
    """It costs what Python and Click cost: nothing of TUF, of cryptography or of a network."""
    code, err, _ = run_install(forge, ranged())
    assert code == 0, err
    loaded = loaded_by("install", str(NAME), "--into", "out")
    assert not loaded & {"tuf", "securesystemslib", "cryptography", "urllib3", "ssl", "rich"}
    assert "packaging" in loaded  # so it did run


def test_what_another_process_left_is_continued(forge: Forge) -> None:
    leave_part(forge, BIG[: 1 << 20])
    code, err, asked = run_install(forge, ranged())
    assert code == 0, err
    assert asked == [f"bytes={1 << 20}-"]
    assert installed(forge) == BIG
    assert not part(forge).exists()


@pytest.mark.parametrize(
    "answer", [ranged(ignore=True), ranged(shift=7)], ids=["ignores Range", "sends another range"]
)
def test_a_server_that_does_ranges_wrong_still_works(
    forge: Forge, answer: Answer, pauses: list[float]
) -> None:
    leave_part(forge, BIG[: 1 << 20])
    code, err, _ = run_install(forge, answer)
    assert code == 0, err
    assert installed(forge) == BIG


@pytest.mark.parametrize(
    "left", [b"\0" * (1 << 20), BIG + b"more", b"\0" * len(BIG)], ids=["rotten", "longer", "whole"]
)
def test_a_rotten_part_costs_one_more_download_and_nothing_else(forge: Forge, left: bytes) -> None:
    leave_part(forge, left)
    code, err, asked = run_install(forge, ranged())
    assert code == 0, err
    assert asked[-1] is None
    assert installed(forge) == BIG


def test_a_line_that_keeps_breaking_is_continued_each_time(
    forge: Forge, pauses: list[float]
) -> None:
    code, err, asked = run_install(forge, ranged(cut=1 << 20))
    assert code == 0, err
    assert asked == [None, f"bytes={1 << 20}-", f"bytes={2 << 20}-"]
    assert installed(forge) == BIG


def busy(times: int, then: bytes, status: int, **headers: str) -> Answer:
    left = [times]
    lock = threading.Lock()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with lock:
            left[0] -= 1
            refuse = left[0] >= 0
        body = b"busy" if refuse else then
        handler.send_response(status if refuse else 200)
        if refuse:
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(forge: Forge, pauses: list[float], status: int) -> None:
    code, err, asked = run_install(forge, busy(2, BIG, status, Retry_After="7"))
    assert code == 0, err
    assert pauses == [7.0, 7.0]
    assert len(asked) == 3


def test_a_busy_server_without_advice_is_asked_less_and_less_often(
    forge: Forge, pauses: list[float]
) -> None:
    code, err, _ = run_install(forge, busy(3, BIG, 503))
    assert code == 0, err
    assert len(pauses) == 3
    assert pauses == sorted(pauses)


def test_patience_ends_with_a_clear_message(forge: Forge, pauses: list[float]) -> None:
    code, err, asked = run_install(forge, busy(99, BIG, 503))
    assert code == 8
    assert "503" in err
    assert len(asked) == 5
    assert forge.nothing_installed()


def test_nobody_waits_for_hours(forge: Forge, pauses: list[float]) -> None:
    code, err, _ = run_install(forge, busy(99, BIG, 429, Retry_After="86400"))
    assert code == 8
    assert "86400" in err
    assert pauses == []


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("9" * 400, 999999999.0),
    ],
)
def test_retry_after_in_every_form(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


# --- interruptions -------------------------------------------------------------------------


def child(forge: Forge, *args: str, preamble: str = "") -> list[str]:
    program = f"import sys; {preamble}\nfrom forge_cli.main import main; main()"
    return [sys.executable, "-c", program, *args]


def hanging(after: int, reached: threading.Event) -> Answer:
    """Sends ``after`` bytes and then nothing more, until the client goes away."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BIG)))
        handler.end_headers()
        handler.wfile.write(BIG[:after])
        handler.wfile.flush()
        reached.set()
        handler.connection.recv(1)
        handler.close_connection = True

    return answer


def test_ctrl_c_keeps_what_arrived_and_the_next_run_continues(forge: Forge) -> None:
    world = world_with_big()
    reached = threading.Event()
    with StaticServer({**world.files(), BLOB: hanging(2 << 20, reached)}) as server:
        forge.trust(server, world)
        # Ctrl-C is to end it, and not how long nothing has come by then; also where the tests run
        # in the background, to whose programs a shell says that they are to ignore it.
        patient = (
            "import signal, urllib3; urllib3.Timeout = lambda **_: None; "
            "signal.signal(signal.SIGINT, signal.default_int_handler)"
        )
        process = subprocess.Popen(
            child(forge, "install", str(NAME), "--into", "out", preamble=patient),
            stderr=subprocess.PIPE,
            text=True,
        )
        reached.wait()
        while not part(forge).exists() or part(forge).stat().st_size < 1 << 20:
            assert process.poll() is None
            time.sleep(PAUSE_SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert process.returncode == 130, err
        assert "continues" in err
        assert "Traceback" not in err
        assert forge.nothing_installed()
        kept = part(forge).stat().st_size
        server.files[BLOB] = ranged()
        server.requests.clear()
        forge.ok("install", str(NAME), "--into", "out")
        assert ranges(server) == [f"bytes={kept}-"]
    assert installed(forge) == BIG


def test_a_full_disk_is_told_and_the_next_run_continues(forge: Forge) -> None:
    world = world_with_big()
    limit = 1 << 20
    preamble = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    with StaticServer({**world.files(), BLOB: ranged()}) as server:
        forge.trust(server, world)
        done = subprocess.run(
            child(forge, "install", str(NAME), "--into", "out", preamble=preamble),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "no room left" in done.stderr
        assert "Traceback" not in done.stderr
        assert forge.nothing_installed()
        forge.ok("install", str(NAME), "--into", "out")
        assert ranges(server)[-1] == f"bytes={limit}-"
    assert installed(forge) == BIG


def test_two_processes_on_the_same_file_fetch_it_once(forge: Forge) -> None:
    world = world_with_big()
    with StaticServer({**world.files(), BLOB: ranged()}) as server:
        forge.trust(server, world)
        processes = [
            subprocess.Popen(
                child(forge, "install", str(NAME), "--into", into),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for into in ("one", "two", "three")
        ]
        for process in processes:
            _, err = process.communicate()
            assert process.returncode == 0, err
        assert len(ranges(server)) == 1


# --- budgets -------------------------------------------------------------------------------


def count(server: StaticServer, run: Callable[[], object]) -> tuple[int, int]:
    """How many requests for metadata and for blobs ``run`` makes."""
    server.requests.clear()
    run()
    paths = server.paths()
    blobs = [path for path in paths if path.startswith("/blobs/")]
    return len(paths) - len(blobs), len(blobs)


def test_requests_per_install_stay_within_their_budget(forge: Forge) -> None:
    world = new_world()
    second = ComponentName.parse("other-org/second")
    world.publish(tree())
    world.publish(tree(second))
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        cold = count(server, lambda: forge.ok("install", str(NAME), "--into", "a"))
        assert cold[0] <= 8 + 4
        warm = count(server, lambda: forge.ok("install", str(second), "--into", "b"))
        assert warm[0] <= 2 + 4
        known = count(server, lambda: forge.ok("install", str(NAME), "--into", "c"))
        assert known == (2, 0)
        locked = count(server, lambda: forge.ok("install", str(NAME), "--into", "a"))
        assert locked == (0, 0)
        for folder in ("a", "b"):
            assert count(server, lambda f=folder: forge.ok("sync", "--into", f)) == (0, 0)


def test_a_locked_and_cached_component_installs_into_a_clean_folder_without_the_network(
    forge: Forge,
) -> None:
    world = new_world()
    release = world.publish(tree())
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        forge.ok("install", str(NAME), "--into", "out")
    target = forge.place / "clean"
    target.mkdir()
    (target / "forge.lock").write_bytes((forge.place / "out" / "forge.lock").read_bytes())
    forge.ok("sync", "--into", "clean")  # the server is gone
    found = target / "forge_components" / str(NAME)
    assert {str(p.relative_to(found)) for p in found.rglob("*") if p.is_file()} == set(
        release.files
    )
    assert forge("verify", str(found)).code == 0


def test_other_commands_stay_within_their_budget(forge: Forge) -> None:
    world = new_world()
    world.publish(tree())
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        assert count(server, lambda: forge.ok("verify", str(NAME)))[0] <= 8 + 4
        assert count(server, lambda: forge.ok("verify", str(NAME))) == (2, 0)
        assert count(server, lambda: forge.ok("info", str(NAME))) == (2, 0)
        forge.ok("install", str(NAME), "--into", "out")
        folder = f"out/forge_components/{NAME}"
        assert count(server, lambda: forge.ok("verify", folder)) == (0, 0)
        assert count(server, lambda: forge.ok("list", "--into", "out")) == (0, 0)
        assert count(server, lambda: forge.ok("verify", folder, "--online"))[0] <= 2
