"""An unfinished file has one process at a time, with locks and without."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forge_cli.boot import is_running, this_process
from forge_cli.exclusive import Busy, Exclusive, journal_of, remove_unless_held

# What holds the file until it is told to end, and says where it lies.
HOLDER = """
import errno, fcntl, os, sys
from pathlib import Path

def refuse(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

fcntl.flock = refuse
from forge_cli import boot
from forge_cli.exclusive import Exclusive, journal_of

if len(sys.argv) > 2:
    boot._BOOT = Path(sys.argv[2])
file = Exclusive(Path(sys.argv[1]))
os.write(file.descriptor, b"its bytes")
journal_of(file.path).write_bytes(b"its journal")
print(file.path, flush=True)
sys.stdin.read()
file.close()
"""


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP])
def _no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr("fcntl.flock", refuse)


@contextmanager
def another(path: Path, *boot: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has ``path``, of this boot or another, and where its file lies."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path, *boot],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def test_a_file_that_changed_its_name_before_its_lock_came_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had it took it for finished, between the opening and the lock."""
    path, lock = tmp_path / "x.part", fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if path.exists():
            path.rename(tmp_path / "blob")
        lock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", late)
        with pytest.raises(Busy):
            Exclusive(path)
    Exclusive(path).close()


@pytest.mark.usefixtures("_no_locks")
class TestWithoutLocks:
    def test_who_comes_second_waits_and_continues_when_the_first_was_killed(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "x.part"
        with another(path) as (process, its):
            with pytest.raises(Busy):
                Exclusive(path)
            assert not remove_unless_held(its)
            process.kill()
            process.wait()
            file = Exclusive(path)
            assert file.path.read_bytes() == b"its bytes"
            assert journal_of(file.path).read_bytes() == b"its journal"
            assert not its.exists()
            with pytest.raises(Busy):
                Exclusive(path)
            file.close()

    def test_what_an_orderly_end_leaves_is_continued_by_anybody(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x.part"
        with another(path) as (process, _):
            process.communicate()
        (tmp_path / "boot").write_text("another")
        monkeypatch.setattr("forge_cli.boot._BOOT", tmp_path / "boot")
        file = Exclusive(path)
        assert file.path.read_bytes() == b"its bytes"
        assert journal_of(file.path).read_bytes() == b"its journal"
        file.close()
        (left,) = tmp_path.glob("*.part")
        assert remove_unless_held(left)
        assert [found.name for found in tmp_path.iterdir()] == ["boot"]

    def test_another_machine_has_a_file_of_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "x.part"
        (tmp_path / "boot").write_text("another")
        with another(path, tmp_path / "boot") as (_, its):
            file = Exclusive(path)
            os.write(file.descriptor, b"ours")
            assert its.read_bytes() == b"its bytes"
            assert not remove_unless_held(its)
            os.utime(its, (time.time() - 90_000,) * 2)
            assert remove_unless_held(its)  # so long ago that nobody waits any more
            assert not its.exists()
            file.close()

    def test_what_was_begun_with_locks_is_left_to_those_who_have_them(self, tmp_path: Path) -> None:
        path = tmp_path / "x.part"
        path.write_bytes(b"with a lock")
        file = Exclusive(path)
        assert file.path != path
        assert path.read_bytes() == b"with a lock"
        file.close()

    def test_of_what_is_empty_nothing_stays(self, tmp_path: Path) -> None:
        file = Exclusive(tmp_path / "x.part")
        assert [found.name for found in tmp_path.iterdir()] == [file.path.name]
        file.close()
        assert list(tmp_path.iterdir()) == []


def test_a_process_is_known_by_more_than_its_number() -> None:
    space, number, started = this_process().split("-")
    assert is_running(this_process()) is True
    assert is_running(f"{space}-{number}-{int(started) + 1}") is False  # the number is used again
    assert is_running(f"{'0' * 16}-{number}-{started}") is None  # in another container
    assert is_running("free") is None


def test_a_process_that_nobody_has_taken_note_of_has_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from forge_cli.boot import this_process; print(this_process())"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_running(name) is False
    assert is_running(name) is False
