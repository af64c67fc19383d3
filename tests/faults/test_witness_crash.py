"""kill -9 at every step of a cosigning, then a restart: what was said is never taken back.

A step is a system call of `storage.durable`, or handing the cosignature to the one who asked. A
forked child cosigns and kills itself just before step N; the parent then looks at the folder as a
restart does. What the child had already handed out is found in a file.
"""

from __future__ import annotations

import os
import random
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from log_builders import NamedKey
from witness_fixtures import FORK, GrowingLog, LiveWitness, make_witness, reopened

from forge_server.witness.errors import Refused
from forge_server.witness.service import Witness
from signing.tlog.witnessing import parse_cosignatures
from storage import durable

MAX_STEPS = 60


def counted(at: int) -> Callable[[], None]:
    """Kills this process at its ``at``-th call."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def cosign_until_killed(witness: Witness, body: bytes, at: int, said: Path) -> bool:
    """Cosigns in a child that dies at step ``at``; whether it lived to the end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            step = counted(at)
            for name in durable.PRIMITIVES:
                wrap(durable, name, step)
            answer = witness.add_checkpoint(body)
            step()  # between remembering and answering
            said.write_bytes(answer)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "cosigning failed by itself"
    return os.WIFEXITED(ended)


def wrap(owner: Any, name: str, step: Callable[[], None]) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def stepping(*arguments: Any, **options: Any) -> Any:
        step()
        return original(*arguments, **options)

    setattr(owner, name, stepping)


def seen_size(witness: Witness, log: GrowingLog) -> int:
    known = witness.folder.log(log.key.name)
    assert known is not None
    seen = known.seen()
    return seen.head.size if seen else 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("old", [0, 20], ids=["the first", "a later one"])
def test_kill_at_every_step(tmp_path: Path, old: int) -> None:
    log = GrowingLog(NamedKey("forge.example/log"))
    fork = GrowingLog(log.key, FORK)
    for at in range(1, MAX_STEPS):
        root, said = tmp_path / f"w{at}", tmp_path / f"said{at}"
        witness = make_witness(root, log)
        if old:
            witness.add_checkpoint(log.ask(0, old))
        finished = cosign_until_killed(witness, log.ask(old, 40), at, said)
        witness = reopened(root)  # which refuses a memory that was lost
        size = seen_size(witness, log)
        assert size in (old, 40), f"step {at}"
        if said.exists():
            assert size == 40, f"step {at}: said and not remembered"
            assert parse_cosignatures(said.read_bytes())
        if size == 40:  # remembered, even if nobody was told: a fork comes too late
            for body in (fork.ask(old, 40), fork.ask(40, 41)):
                with pytest.raises(Refused):
                    witness.add_checkpoint(body)
        assert witness.add_checkpoint(log.ask(size, 50))
        assert not list(root.glob("logs/*/*.part")), f"step {at}: left behind"
        if finished:
            assert at > 5, "hardly any step was counted: the test looks at nothing"
            return
    raise AssertionError(f"more than {MAX_STEPS} steps")


@pytest.mark.parametrize("primitive", ["write", "fsync", "rename", "set_mode", "close"])
@pytest.mark.parametrize("done", [False, True], ids=["refused", "done but reported as failed"])
def test_nothing_is_said_when_the_disk_fails(
    tmp_path: Path, primitive: str, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = GrowingLog(NamedKey("forge.example/log"))
    witness = make_witness(tmp_path / "w", log)
    witness.add_checkpoint(log.ask(0, 20))
    original = getattr(durable, primitive)

    def failing(*arguments: Any) -> Any:
        if done:
            original(*arguments)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(durable, primitive, failing)
        with pytest.raises(OSError, match="Input/output"):
            witness.add_checkpoint(log.ask(20, 40))
    witness = reopened(tmp_path / "w")
    size = seen_size(witness, log)
    assert size in (20, 40)
    assert witness.add_checkpoint(log.ask(size, 50))


def test_nothing_is_shown_that_is_not_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its name and the disk has not yet: whoever was shown it would know of a
    cosignature that a power cut makes the witness forget."""
    log = GrowingLog(NamedKey("forge.example/log"))
    witness = make_witness(tmp_path / "w", log)
    witness.add_checkpoint(log.ask(0, 20))
    with monkeypatch.context() as broken:
        original = durable.fsync

        def no_folders(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(5, "Input/output error")
            original(fd)

        # It fails after the rename, as a disk may.
        broken.setattr("forge_server.witness.memory.fsync_dir", lambda _: None)
        broken.setattr(durable, "fsync", no_folders)
        with pytest.raises(OSError, match="Input/output"):
            witness.add_checkpoint(log.ask(20, 40))
        broken.setattr("forge_server.witness.memory.fsync_dir", durable.fsync_dir)
        with pytest.raises(OSError, match="Input/output"):
            witness.latest(log.hash)
    shown = witness.latest(log.hash)
    assert shown is not None
    assert b"\n40\n" in shown


def post(port: int, body: bytes) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", "/add-checkpoint", body)
        with connection.getresponse() as answer:
            return answer.status, answer.read()


def test_kill_a_real_process_under_load(tmp_path: Path) -> None:
    """Four threads push the log forward while the witness is killed again and again; a size that
    was cosigned is never followed by a smaller one."""
    log = GrowingLog(NamedKey("forge.example/log"))
    root = tmp_path / "w"
    make_witness(root, log)
    with LiveWitness(root) as live:
        largest = 0
        for _ in range(5):
            told: list[int] = []
            threads = [
                threading.Thread(target=push, args=(live.port, log, largest, told))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            while len(told) < 8 and any(thread.is_alive() for thread in threads):
                time.sleep(0.002)
            live.kill()
            for thread in threads:
                thread.join()
            largest = max([largest, *told])
            live.start()
            status, body = post(live.port, log.ask(0, 300))
            assert status == 409
            assert int(body) >= largest, "a size was taken back"
            largest = int(body)
        assert post(live.port, GrowingLog(log.key, FORK).ask(largest, 300))[0] == 422
        assert post(live.port, log.ask(largest, 300))[0] == 200
    assert "Traceback" not in live.log.read_text()


def test_two_processes_on_one_folder_cosign_one_history(tmp_path: Path) -> None:
    """As while one takes over from the other; each is asked for another history at once."""
    root = tmp_path / "w"
    logs = [GrowingLog(NamedKey(f"log{number}.example")) for number in range(20)]
    make_witness(root, *logs)
    with LiveWitness(root) as one, LiveWitness(root) as other:
        for log in logs:
            answers: list[int] = []
            start = threading.Barrier(4)

            def ask(port: int, body: bytes, start: threading.Barrier = start) -> None:
                start.wait()
                answers.append(post(port, body)[0])  # noqa: B023

            threads = [
                threading.Thread(target=ask, args=(live.port, asked.ask(0, 20)))
                for live in (one, other)
                for asked in (log, GrowingLog(log.key, FORK))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(answers) == [200, 409, 409, 409]


def push(port: int, log: GrowingLog, old: int, told: list[int]) -> None:
    chance = random.Random(old)
    try:
        while old < 290:
            size = old + chance.randint(1, 3)
            status, body = post(port, log.ask(old, size))
            if status == 200:
                told.append(size)
                old = size
            else:
                assert status == 409
                old = max(old, int(body))
    except (OSError, HTTPException):
        return  # killed in the middle of an answer
