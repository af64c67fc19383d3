"""What stays true of a store when the disk, the kernel or the process fails.

All system calls that change a disk go through `storage.durable.PRIMITIVES`. Each scenario
below is run once to count its calls; then each single call is broken in every way: refused,
done but reported as failed, the process killed before it or in the middle of it. A model of
the disk's cache says what a power cut could take away.
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
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import storage
from storage import (
    BackendError,
    BlobMismatchError,
    BlobNotFoundError,
    LocalBlobStore,
    LocalPublishedTree,
    PathNotFoundError,
    StorageError,
    durable,
)

MIB = 1 << 20
DATA = bytes(range(256)) * (MIB // 128) + b"the end"  # three writes
DIGEST = hashlib.sha256(DATA).hexdigest()
OLD, NEW = b"old" * 9999, b"new" * 9999
TOLERATED = {"lock"}  # a file system without locks is still served


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, so nothing need reach the disk; thousands of fsyncs take minutes."""
    monkeypatch.setattr(os, "fsync", os.fstat)


# Scenarios: what is there before, the one call under test, what may be there afterwards.


@dataclass(frozen=True)
class Scenario:
    prepare: Callable[[Path], Any]
    act: Callable[[Any, Path], None]
    check: Callable[[Path, bool], None]
    """Given a folder and whether `act` reported success; sees it with a new store."""


def _new_store(root: Path) -> LocalBlobStore:
    return LocalBlobStore(root / "blobs")


def _put(store: LocalBlobStore, root: Path) -> None:
    store.put(DIGEST, io.BytesIO(DATA), len(DATA))


def _prepare_adopt(root: Path) -> LocalBlobStore:
    store = _new_store(root)
    (store.temp_dir / "mine").write_bytes(DATA)
    return store


def _adopt(store: LocalBlobStore, root: Path) -> None:
    if not (mine := store.temp_dir / "mine").exists():
        mine.write_bytes(DATA)  # the call before got as far as moving it
    store.adopt(mine, DIGEST)


def _check_blob(root: Path, success: bool) -> None:
    store = _new_store(root)
    present = not store.missing([DIGEST])
    assert list(store.iter_digests()) == ([DIGEST] if present else [])
    assert present or not success
    if present:
        assert store.stat(DIGEST).size == len(DATA)
        with store.open(DIGEST) as file:
            assert file.read() == DATA
        assert store.path(DIGEST).stat().st_mode & 0o777 == 0o444
    else:
        with pytest.raises(BlobNotFoundError):
            store.open(DIGEST)


def _prepare_delete(root: Path) -> LocalBlobStore:
    store = _new_store(root)
    _put(store, root)
    return store


def _delete(store: LocalBlobStore, root: Path) -> None:
    store.delete(DIGEST)


def _check_deleted(root: Path, success: bool) -> None:
    _check_blob(root, False)
    assert not success or _new_store(root).missing([DIGEST])


def _new_tree(root: Path) -> LocalPublishedTree:
    return LocalPublishedTree(root / "tree")


def _put_once(tree: LocalPublishedTree, root: Path) -> None:
    tree.put_once("tuf/lab/1.root.json", NEW)


def _check_put_once(root: Path, success: bool) -> None:
    try:
        assert _new_tree(root).read("tuf/lab/1.root.json") == NEW
    except PathNotFoundError:
        assert not success


def _prepare_swap(root: Path) -> LocalPublishedTree:
    tree = _new_tree(root)
    tree.swap("timestamp.json", OLD)
    return tree


def _swap(tree: LocalPublishedTree, root: Path) -> None:
    tree.swap("timestamp.json", NEW)


def _check_swap(root: Path, success: bool) -> None:
    assert _new_tree(root).read("timestamp.json") in ((NEW,) if success else (OLD, NEW))


SCENARIOS = {
    "put": Scenario(_new_store, _put, _check_blob),
    "adopt": Scenario(_prepare_adopt, _adopt, _check_blob),
    "delete": Scenario(_prepare_delete, _delete, _check_deleted),
    "put_once": Scenario(_new_tree, _put_once, _check_put_once),
    "swap": Scenario(_prepare_swap, _swap, _check_swap),
}


@pytest.fixture(params=list(SCENARIOS))
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return SCENARIOS[request.param]


# Faults.

Primitive = Callable[..., Any]
Around = Callable[[str, Primitive, tuple[Any, ...]], Any]


@contextmanager
def around_primitives(around: Around) -> Iterator[None]:
    """Calls `around(name, real, arguments)` in place of each primitive."""
    with pytest.MonkeyPatch.context() as patch:
        for name in durable.PRIMITIVES:
            real = getattr(durable, name)

            def call(*args: Any, name: str = name, real: Primitive = real) -> Any:
                return around(name, real, args)

            patch.setattr(durable, name, call)
        yield


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


class Break:
    """Fails the call number `step` (from 0), before or after it was done."""

    def __init__(self, step: int, number: int, *, done: bool) -> None:
        self.calls = 0
        self.broken = ""
        self._step, self._number, self._done = step, number, done

    def __call__(self, name: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        self.calls += 1
        if self.calls - 1 != self._step:
            return real(*args)
        if self._done:
            result = real(*args)  # may fail by itself, then there is nothing to break
            if name in ("create_file", "open_file"):
                os.close(result)  # a caller who is told of a failure gets no descriptor
        self.broken = name
        raise OSError(self._number, os.strerror(self._number), "/secret/place")


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
        _new_store(root).sweep_temp(3600, later)
        _new_tree(root).sweep_temp(3600, later)
        assert left_over(root) == []  # a dead process holds no lock
        scenario.act(scenario.prepare(root), root)
        scenario.check(root, True)


# Power cuts.


class Cache:
    """What a power cut could still take away: bytes and names that no fsync has covered."""

    def __init__(self) -> None:
        self.dirty: set[int] = set()  # inodes
        self.unsettled: set[Path] = set()  # names created, replaced or removed
        self.synced: list[Path] = []
        self._paths: dict[int, Path] = {}
        self._published: list[tuple[Path, int]] = []

    def __call__(self, name: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        if name in ("rename", "link"):
            inode = os.lstat(args[0]).st_ino
            assert inode not in self.dirty, "published before its bytes were on disk"
        result = real(*args)
        if name in ("create_file", "open_file"):
            self._paths[result] = args[0]
        if name in ("create_file", "write"):
            self.dirty.add(os.fstat(result if name == "create_file" else args[0]).st_ino)
        if name == "fsync":
            self._sync(args[0])
        if name in ("rename", "link"):
            self.unsettled.add(args[1])
        if name in ("make_folder", "unlink"):
            self.unsettled.add(args[0])
        return result

    def _sync(self, fd: int) -> None:
        path = self._paths[fd]
        self.synced.append(path)
        self.dirty.discard(os.fstat(fd).st_ino)
        self.unsettled = {name for name in self.unsettled if name.parent != path}

    def at_risk(self) -> set[Path]:
        """Names a caller relies on; those of temporary files may come and go."""
        return {name for name in self.unsettled if name.suffix != ".part" and name.name != "mine"}


def test_a_power_cut_after_success_takes_nothing_away(scenario: Scenario, tmp_path: Path) -> None:
    cache = Cache()
    with around_primitives(cache):
        scenario.act(scenario.prepare(tmp_path / "new" / "root"), tmp_path / "new" / "root")
    assert cache.synced
    assert cache.at_risk() == set()


def test_adopted_bytes_are_on_disk_before_they_are_published(tmp_path: Path) -> None:
    cache = Cache()
    store = _prepare_adopt(tmp_path)
    cache.dirty.add((store.temp_dir / "mine").stat().st_ino)
    with around_primitives(cache):
        store.adopt(store.temp_dir / "mine", DIGEST)
    assert cache.at_risk() == set()


class DiesBeforeTheLastSync(Exception):
    pass


def _act_without_the_last_sync(act: Callable[[], None], cache: Cache) -> None:
    """As far as another process sees it: the name is there, its folder is not synced."""
    published = False

    def around(name: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        nonlocal published
        if name == "fsync" and published:
            raise DiesBeforeTheLastSync
        published = published or name in ("rename", "link")
        return cache(name, real, args)

    with around_primitives(around), pytest.raises(DiesBeforeTheLastSync):
        act()
    assert cache.at_risk()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.put(DIGEST, io.BytesIO(DATA), len(DATA)),
        lambda store: store.stat(DIGEST),
        lambda store: store.missing([DIGEST]),
        lambda store: _adopt(store, Path()),
    ],
    ids=["put", "stat", "missing", "adopt"],
)
def test_a_blob_reported_as_present_is_durable_although_another_put_it(
    tmp_path: Path, call: Callable[[LocalBlobStore], object]
) -> None:
    cache = Cache()
    _act_without_the_last_sync(lambda: _put(_new_store(tmp_path), tmp_path), cache)
    with around_primitives(cache):
        call(_new_store(tmp_path))
    assert cache.at_risk() == set()


def test_put_once_settles_what_another_published(tmp_path: Path) -> None:
    cache = Cache()
    _act_without_the_last_sync(lambda: _put_once(_new_tree(tmp_path), tmp_path), cache)
    with around_primitives(cache):
        _put_once(_new_tree(tmp_path), tmp_path)
    assert cache.at_risk() == set()


def test_a_folder_another_process_made_is_synced_by_the_one_who_uses_it(tmp_path: Path) -> None:
    cache = Cache()
    store = _new_store(tmp_path)
    store.temp_dir.touch()
    folder = store.path(DIGEST).parent
    folder.mkdir()
    cache.unsettled.add(folder)
    with around_primitives(cache):
        _put(store, tmp_path)
    assert cache.at_risk() == set()


def test_delete_again_settles_a_delete_that_was_cut_short(tmp_path: Path) -> None:
    store, cache = _prepare_delete(tmp_path), Cache()
    with around_primitives(Break(2, errno.EIO, done=False)), pytest.raises(BackendError):
        store.delete(DIGEST)  # call 0 unlinks, 1 opens the folder, 2 is its fsync
    cache.unsettled.add(store.path(DIGEST))
    with around_primitives(cache):
        store.delete(DIGEST)
    assert cache.at_risk() == set()


def test_an_old_blob_costs_no_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cache = _prepare_delete(tmp_path), Cache()
    later = datetime.now(UTC).timestamp() + 3600
    monkeypatch.setattr("storage.local.time.time", lambda: later)
    with around_primitives(cache):
        assert store.missing([DIGEST]) == set()
        _put(store, tmp_path)
    assert cache.synced == []


def test_a_new_blob_is_settled_once_and_again_when_it_is_another(tmp_path: Path) -> None:
    store, cache = _prepare_delete(tmp_path), Cache()
    folder = store.path(DIGEST).parent
    with around_primitives(cache):
        store.stat(DIGEST)
        assert cache.synced == [folder]
        store.stat(DIGEST)
        assert store.missing([DIGEST]) == set()
        assert cache.synced == [folder]
        store.delete(DIGEST)
        cache.synced.clear()
        _act_without_the_last_sync(lambda: _put(_new_store(tmp_path), tmp_path), cache)
        store.stat(DIGEST)
    assert cache.at_risk() == set()


@pytest.mark.parametrize("name", ["put", "adopt", "delete"])
def test_a_store_that_is_not_durable_never_calls_fsync(tmp_path: Path, name: str) -> None:
    called: list[str] = []
    store = LocalBlobStore(tmp_path / "blobs", durable=False)
    mine = store.temp_dir / "mine"
    mine.write_bytes(DATA)
    calls: dict[str, Callable[[], None]] = {
        "put": lambda: _put(store, tmp_path),
        "adopt": lambda: store.adopt(mine, DIGEST),
        "delete": lambda: store.delete(DIGEST),
    }

    def around(call: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        called.append(call)
        return real(*args)

    with around_primitives(around):
        calls[name]()
    assert "fsync" not in called


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
        _put(_new_store(tmp_path), tmp_path)
    assert (caught.value.code, caught.value.retry) == ("disk-full", False)
    _check_blob(tmp_path, False)
    assert left_over(tmp_path) == []


def test_a_disk_that_fills_in_the_middle_of_a_write_leaves_no_trace(tmp_path: Path) -> None:
    """The limit of the process makes the kernel take part of a write and refuse the rest."""

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB + 4711, MIB + 4711))
        with pytest.raises(BackendError) as caught:
            _put(_new_store(tmp_path), tmp_path)
        assert (caught.value.code, caught.value.retry) == ("file-too-large", False)
        assert left_over(tmp_path) == []

    assert in_child(work) == 0
    _check_blob(tmp_path, False)
    _put(_new_store(tmp_path), tmp_path)
    _check_blob(tmp_path, True)


@pytest.mark.parametrize("most", [1, 1000, MIB - 1])
def test_writes_that_take_only_a_part_are_continued(tmp_path: Path, most: int) -> None:
    data = DATA[: most * 300]

    def around(name: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        return real(args[0], args[1][:most]) if name == "write" else real(*args)

    store, digest = _new_store(tmp_path), hashlib.sha256(data).hexdigest()
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
    store, digest = _new_store(tmp_path), hashlib.sha256(data).hexdigest()
    store.put(digest, io.BytesIO(data), len(data))
    assert store.path(digest).read_bytes() == data
    with pytest.raises(BlobMismatchError):
        store.put(DIGEST, io.BytesIO(data), len(data))


def test_a_folder_removed_behind_our_back_costs_one_failure(tmp_path: Path) -> None:
    store = _new_store(tmp_path)
    store.temp_dir.rmdir()
    with pytest.raises(BackendError) as caught:
        _put(store, tmp_path)
    assert caught.value.retry
    _put(store, tmp_path)
    _check_blob(tmp_path, True)


def test_a_folder_removed_from_the_tree_costs_one_failure(tmp_path: Path) -> None:
    tree = _prepare_swap(tmp_path)
    (tmp_path / "tree" / ".tmp").rmdir()
    with pytest.raises(BackendError) as caught:
        _swap(tree, tmp_path)
    assert caught.value.retry
    _swap(tree, tmp_path)
    _check_swap(tmp_path, True)


def test_a_file_where_the_store_should_be_is_named_without_its_place(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("not a folder")
    (tmp_path / "tree").write_text("not a folder")
    calls: list[Callable[[], None]] = [
        lambda: _put(_new_store(tmp_path), tmp_path),
        lambda: _put_once(_new_tree(tmp_path), tmp_path),
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
