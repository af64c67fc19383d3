"""What stays true of a store when the disk, the kernel or the process fails.

All system calls that change a disk go through `storage.durable.PRIMITIVES`. Each scenario
below is run once to count its calls; then each single call is broken in every way: refused,
done but reported as failed, the process killed before it or in the middle of it.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from storage_scenarios import (
    DATA,
    DIGEST,
    MIB,
    TOLERATED,
    Around,
    Break,
    Primitive,
    Scenario,
    around_primitives,
    check_blob,
    check_swap,
    new_store,
    new_tree,
    no_waiting_for_the_disk,
    prepare_swap,
    put,
    put_once,
    scenario,
    swap,
)

import storage
from storage import BackendError, BlobMismatchError, StorageError, durable

__all__ = ["no_waiting_for_the_disk", "scenario"]


def count_calls(scenario: Scenario, root: Path) -> int:
    names: list[str] = []

    def around(name: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        names.append(name)
        return real(*args)

    root.mkdir()
    prepared = scenario.prepare(root)
    with around_primitives(around):
        scenario.act(prepared, root)
    scenario.check(root, True)
    return len(names)


def left_over(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*.part")]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("number", "done"),
    [(errno.ENOSPC, False), (errno.EACCES, False), (errno.EIO, False), (errno.EIO, True)],
    ids=["disk-full", "permission", "refused", "done-but-reported-as-failed"],
)
def test_any_failed_call_is_one_clear_error_and_leaves_nothing_partial(
    scenario: Scenario, tmp_path: Path, number: int, done: bool
) -> None:
    for step in range(count_calls(scenario, tmp_path / "dry")):
        root = tmp_path / str(step)
        root.mkdir()
        prepared = scenario.prepare(root)
        descriptors = open_descriptors()
        fault = Break(step, number, done=done)
        success = False
        with around_primitives(fault):
            try:
                scenario.act(prepared, root)
                success = True
            except BackendError as error:
                assert_clear(error, number, root)
        assert not success or fault.broken in {*TOLERATED, "unlink", ""}, fault.broken
        scenario.check(root, success)
        if fault.broken != "unlink":
            assert left_over(root) == []
        if fault.broken != "close" or done:
            assert open_descriptors() == descriptors, fault.broken
        scenario.act(prepared, root)  # the same call again, with the same store, now works
        scenario.check(root, True)


def assert_clear(error: BackendError, number: int, root: Path) -> None:
    shown = f"{error} {error.hint}"
    assert str(root) not in shown
    assert "/secret" not in shown
    assert "could not" in error.message
    if number == errno.ENOSPC:
        assert (error.code, error.retry) == ("disk-full", False)
        assert error.message.endswith("disk full")
        assert error.hint is not None
    if number == errno.EACCES:
        assert (error.code, error.retry) == ("storage-permission", False)
    if number == errno.EIO:
        assert error.retry


def in_child(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process; the exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(step: int) -> Around:
    calls = -1

    def around(name: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        nonlocal calls
        calls += 1
        if calls == step:
            if name == "write":  # in the middle of it
                real(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    return around


def test_a_process_killed_at_any_step_leaves_all_or_nothing(
    scenario: Scenario, tmp_path: Path
) -> None:
    steps = count_calls(scenario, tmp_path / "dry")
    for step in range(steps + 1):
        root = tmp_path / str(step)
        root.mkdir()
        prepared = scenario.prepare(root)

        def work(prepared: Any = prepared, root: Path = root, step: int = step) -> None:
            with around_primitives(kill_at(step)):
                scenario.act(prepared, root)

        status = in_child(work)
        assert status == (-signal.SIGKILL if step < steps else 0)
        scenario.check(root, status == 0)
        later = datetime.now(UTC) + timedelta(days=1)
        new_store(root).sweep_temp(3600, later)
        new_tree(root).sweep_temp(3600, later)
        assert left_over(root) == []  # a dead process holds no lock
        scenario.act(scenario.prepare(root), root)
        scenario.check(root, True)


# Full disks.


def test_a_really_full_disk_is_reported_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full answers every write with ENOSPC, from the kernel."""
    real = durable.create_file

    def create_file(path: Path) -> int:
        os.close(real(path))
        return os.open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(durable, "create_file", create_file)
    with pytest.raises(BackendError, match="disk full") as caught:
        put(new_store(tmp_path), tmp_path)
    assert (caught.value.code, caught.value.retry) == ("disk-full", False)
    check_blob(tmp_path, False)
    assert left_over(tmp_path) == []


def test_a_disk_that_fills_in_the_middle_of_a_write_leaves_no_trace(tmp_path: Path) -> None:
    """The limit of the process makes the kernel take part of a write and refuse the rest."""

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB + 4711, MIB + 4711))
        with pytest.raises(BackendError) as caught:
            put(new_store(tmp_path), tmp_path)
        assert (caught.value.code, caught.value.retry) == ("file-too-large", False)
        assert left_over(tmp_path) == []

    assert in_child(work) == 0
    check_blob(tmp_path, False)
    put(new_store(tmp_path), tmp_path)
    check_blob(tmp_path, True)


@pytest.mark.parametrize("most", [1, 1000, MIB - 1])
def test_writes_that_take_only_a_part_are_continued(tmp_path: Path, most: int) -> None:
    data = DATA[: most * 300]

    def around(name: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        return real(args[0], args[1][:most]) if name == "write" else real(*args)

    store, digest = new_store(tmp_path), hashlib.sha256(data).hexdigest()
    with around_primitives(around):
        store.put(digest, io.BytesIO(data), len(data))
    assert store.path(digest).read_bytes() == data


def test_without_threads_a_large_blob_is_hashed_in_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    data = DATA * 5
    store, digest = new_store(tmp_path), hashlib.sha256(data).hexdigest()
    store.put(digest, io.BytesIO(data), len(data))
    assert store.path(digest).read_bytes() == data
    with pytest.raises(BlobMismatchError):
        store.put(DIGEST, io.BytesIO(data), len(data))


def test_a_folder_removed_behind_our_back_costs_one_failure(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.temp_dir.rmdir()
    with pytest.raises(BackendError) as caught:
        put(store, tmp_path)
    assert caught.value.retry
    put(store, tmp_path)
    check_blob(tmp_path, True)


def test_a_folder_removed_from_the_tree_costs_one_failure(tmp_path: Path) -> None:
    tree = prepare_swap(tmp_path)
    (tmp_path / "tree" / ".tmp").rmdir()
    with pytest.raises(BackendError) as caught:
        swap(tree, tmp_path)
    assert caught.value.retry
    swap(tree, tmp_path)
    check_swap(tmp_path, True)


def test_a_file_where_the_store_should_be_is_named_without_its_place(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("not a folder")
    (tmp_path / "tree").write_text("not a folder")
    calls: list[Callable[[], None]] = [
        lambda: put(new_store(tmp_path), tmp_path),
        lambda: put_once(new_tree(tmp_path), tmp_path),
    ]
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call()
        assert str(tmp_path) not in f"{caught.value} {caught.value.hint}"
        assert not isinstance(caught.value, OSError)


# The premise of everything above.

_CHANGES_A_DISK = {
    *("open", "write", "writev", "pwrite", "fsync", "fdatasync", "rename", "renames", "replace"),
    *("link", "symlink", "unlink", "remove", "rmdir", "mkdir", "makedirs", "chmod", "fchmod"),
    *("truncate", "ftruncate", "utime", "sendfile", "copy_file_range"),
}


def test_only_the_primitives_change_a_disk() -> None:
    found = set()
    for module in Path(storage.__file__).parent.glob("*.py"):
        for function in ast.walk(ast.parse(module.read_text())):
            if isinstance(function, ast.FunctionDef):
                found |= {(module.name, function.name) for _ in _disk_calls(function)}
    allowed = {("durable.py", name) for name in durable.PRIMITIVES}
    assert found <= allowed
    assert len(found) > 5


def _disk_calls(function: ast.FunctionDef) -> Iterator[ast.Attribute]:
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in _CHANGES_A_DISK:
                yield node
            if node.attr in ("write_bytes", "write_text", "touch"):
                yield node
