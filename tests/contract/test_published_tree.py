"""The contract of `PublishedTree`, held against every implementation."""

from __future__ import annotations

import os
import stat
import string
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from ceph_node import CephNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import (
    BackendError,
    InvalidArgumentError,
    LocalPublishedTree,
    MemoryPublishedTree,
    NotFoundError,
    PathNotFoundError,
    PublishedConflictError,
    PublishedTree,
    durable,
    put_together,
)
from storage.s3 import S3PublishedTree

# One line per implementation. The function gets an empty folder and returns an empty tree.
TREES: dict[str, Callable[[Path], PublishedTree]] = {
    "local": lambda folder: LocalPublishedTree(folder / "tree"),
    "memory": lambda folder: MemoryPublishedTree(),
}


@pytest.fixture(params=[*TREES, "s3"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> PublishedTree:
    if request.param == "s3":
        ceph: CephNode = request.getfixturevalue("ceph")
        return S3PublishedTree(ceph.open(f"{ceph.new_bucket()}/public"))
    return TREES[request.param](tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> LocalPublishedTree:
    return LocalPublishedTree(tmp_path / "tree")


def test_is_a_published_tree(tree: PublishedTree) -> None:
    assert isinstance(tree, PublishedTree)


@pytest.mark.parametrize("path", ["timestamp.json", "tuf/targets/lab/lid/1.0.0/ab.manifest.json"])
@pytest.mark.parametrize("method", ["put_once", "swap"])
def test_what_was_published_is_read_back(tree: PublishedTree, path: str, method: str) -> None:
    assert not tree.exists(path)
    getattr(tree, method)(path, b"signed")
    assert tree.exists(path)
    assert tree.read(path) == b"signed"
    with tree.open(path) as file:
        assert file.read() == b"signed"


def test_put_once_of_the_same_bytes_again_is_a_success(tree: PublishedTree) -> None:
    tree.put_once("a/1.root.json", b"root")
    tree.put_once("a/1.root.json", b"root")
    assert tree.read("a/1.root.json") == b"root"


@pytest.mark.parametrize("other", [b"", b"roo", b"rooT", b"root2"])
def test_put_once_of_other_bytes_is_a_conflict_and_changes_nothing(
    tree: PublishedTree, other: bytes
) -> None:
    tree.put_once("1.root.json", b"root")
    with pytest.raises(PublishedConflictError, match=r"1\.root\.json") as caught:
        tree.put_once("1.root.json", other)
    assert isinstance(caught.value, BackendError)
    assert (caught.value.code, caught.value.retry) == ("published-conflict", False)
    assert tree.read("1.root.json") == b"root"


def test_put_once_does_not_replace_what_swap_wrote(tree: PublishedTree) -> None:
    tree.swap("timestamp.json", b"1")
    with pytest.raises(PublishedConflictError):
        tree.put_once("timestamp.json", b"2")


def test_swap_replaces_and_an_open_reader_keeps_the_old_file(tree: PublishedTree) -> None:
    tree.swap("timestamp.json", b"old")
    with tree.open("timestamp.json") as file:
        tree.swap("timestamp.json", b"new")
        assert file.read() == b"old"
    assert tree.read("timestamp.json") == b"new"


def test_swap_if_replaces_what_was_seen_and_nothing_else(tree: PublishedTree) -> None:
    path = "log/checkpoint"
    assert tree.swap_if(path, b"1", b"0") is False
    assert not tree.exists(path)
    assert tree.swap_if(path, b"1", None) is True
    assert tree.swap_if(path, b"2", None) is False
    assert tree.swap_if(path, b"2", b"") is False
    assert tree.read(path) == b"1"
    assert tree.swap_if(path, b"2", b"1") is True
    assert tree.read(path) == b"2"


def test_what_is_removed_is_not_there(tree: PublishedTree) -> None:
    tree.put_once("log/leaf/1.snapshot", b"7")
    tree.put_once("log/leaf/2.snapshot", b"8")
    assert tree.read("log/leaf/1.snapshot") == b"7"
    with tree.open("log/leaf/1.snapshot") as file:
        tree.remove("log/leaf/1.snapshot")
        assert file.read() == b"7"
    assert not tree.exists("log/leaf/1.snapshot")
    with pytest.raises(PathNotFoundError):
        tree.read("log/leaf/1.snapshot")
    assert tree.read("log/leaf/2.snapshot") == b"8"
    tree.remove("log/leaf/1.snapshot")  # again
    tree.remove("log/nothing/there")
    tree.remove("log/leaf/2.snapshot/below")
    assert tree.read("log/leaf/2.snapshot") == b"8"
    tree.put_once("log/leaf/1.snapshot", b"again")
    assert tree.read("log/leaf/1.snapshot") == b"again"


def test_of_many_that_saw_the_same_one_replaces_it(tree: PublishedTree) -> None:
    """Every one counts up by one; a lost update would leave the number too small."""

    def work(_: int) -> None:
        for _ in range(20):
            done = False
            while not done:
                seen = tree.read("count")
                done = tree.swap_if("count", b"%d" % (int(seen) + 1), seen)

    tree.swap("count", b"0")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert tree.read("count") == b"120"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_swap_if_between_processes(local: LocalPublishedTree) -> None:
    local.swap("count", b"0")
    child = os.fork()
    for _ in range(100):
        done = False
        while not done:
            seen = local.read("count")
            done = local.swap_if("count", b"%d" % (int(seen) + 1), seen)
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert local.read("count") == b"200"


def test_a_lock_file_that_a_sweep_removes_is_not_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, wait, removed = tmp_path / "swap.lock", durable.wait_for_lock, []

    def removed_meanwhile(fd: int) -> None:
        wait(fd)
        if not removed:
            removed.append(fd)
            path.unlink()

    monkeypatch.setattr(durable, "wait_for_lock", removed_meanwhile)
    with durable.exclusively(path), durable.opened(path) as fd:
        assert durable.lock(fd) is False


def test_not_there_is_one_exception_that_names_the_path(tree: PublishedTree) -> None:
    tree.put_once("folder/file", b"")
    for path in ("nothing", "folder", "folder/nothing", "folder/file/below"):
        assert not tree.exists(path)
        for call in (tree.read, tree.open):
            with pytest.raises(PathNotFoundError, match=path) as caught:
                call(path)
            assert isinstance(caught.value, NotFoundError)


@pytest.mark.parametrize("method", ["put_once", "swap"])
@pytest.mark.parametrize("path", ["folder", "folder/file/below"])
def test_a_path_is_either_a_file_or_a_folder(tree: PublishedTree, method: str, path: str) -> None:
    tree.put_once("folder/file", b"1")
    with pytest.raises(BackendError):
        getattr(tree, method)(path, b"2")
    assert tree.read("folder/file") == b"1"


BAD_PATHS = [
    "",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    "a\\b",
    "a\0b",
    "a\n",
    "a b",
    "a%2e%2e",
    "é",
    "٠",
    "a:b",
    "~root",
    ".tmp",
    ".tmp/x",
    "a" * 256,
    "/".join(["a" * 200] * 6),
    None,
    b"a",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: ascii(path)[:20])
def test_a_bad_path_is_refused_by_every_method(tree: PublishedTree, path: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: tree.put_once(path, b""),
        lambda: tree.swap(path, b""),
        lambda: tree.swap_if(path, b"", None),
        lambda: tree.read(path),
        lambda: tree.exists(path),
        lambda: tree.open(path),
        lambda: tree.remove(path),
    ]
    for call in calls:
        with pytest.raises(InvalidArgumentError) as caught:
            call()
        assert caught.value.code == "path-malformed"


_SEGMENTS = st.text(string.ascii_letters + string.digits + "._-/\\% \0é", max_size=12)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=_SEGMENTS, data=st.binary(max_size=50))
def test_any_path_is_either_refused_or_stays_in_the_tree(
    tmp_path: Path, path: str, data: bytes
) -> None:
    root = tmp_path / "outer" / "tree"
    tree = LocalPublishedTree(root, durable=False)
    try:
        tree.swap(path, data)
    except (InvalidArgumentError, BackendError):
        return
    assert tree.read(path) == data
    assert (root / path).resolve().is_relative_to(root.resolve())
    assert [entry.name for entry in (tmp_path / "outer").iterdir()] == ["tree"]


def test_of_many_writers_with_other_bytes_exactly_one_wins(tree: PublishedTree) -> None:
    for number in range(10):
        path, start = f"a/{number}.json", threading.Barrier(6)

        def work(data: bytes, path: str = path, start: threading.Barrier = start) -> bytes | None:
            start.wait()
            try:
                tree.put_once(path, data)
            except PublishedConflictError:
                return None
            return data

        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(work, [bytes([65 + writer]) * 999 for writer in range(6)]))
        winners = [result for result in results if result is not None]
        assert winners == [tree.read(path)]


def test_many_writers_with_the_same_bytes_all_succeed(tree: PublishedTree) -> None:
    start = threading.Barrier(6)

    def work(_: int) -> None:
        start.wait()
        tree.put_once("deep/er/file", b"same")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert tree.read("deep/er/file") == b"same"


def test_a_reader_never_sees_a_part_or_a_gap_while_files_are_swapped(tree: PublishedTree) -> None:
    versions = [bytes([65 + number]) * 50_000 for number in range(20)]
    tree.swap("timestamp.json", versions[0])
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            assert tree.read("timestamp.json") in versions

    with ThreadPoolExecutor(2) as pool:
        watchers = [pool.submit(watch) for _ in range(2)]
        try:
            for version in versions:
                tree.swap("timestamp.json", version)
        finally:
            done.set()
        for watcher in watchers:
            watcher.result()


# What only the local tree promises.


def test_files_are_read_only_and_readable_by_a_proxy(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        LocalPublishedTree(tmp_path / "tree").put_once("a/b/c", b"")
        LocalPublishedTree(tmp_path / "tree").swap("a/b/d", b"")
    finally:
        os.umask(before)
    for name in ("a/b/c", "a/b/d"):
        assert stat.S_IMODE((tmp_path / "tree" / name).stat().st_mode) == 0o444
    for name in ("a", "a/b", ".tmp"):
        assert stat.S_IMODE((tmp_path / "tree" / name).stat().st_mode) == 0o755


def test_nothing_is_left_in_the_temporary_folder(local: LocalPublishedTree, tmp_path: Path) -> None:
    local.put_once("a", b"1")
    local.swap("b", b"2")
    with pytest.raises(PublishedConflictError):
        local.put_once("a", b"3")
    assert list((tmp_path / "tree" / ".tmp").iterdir()) == []
    assert (tmp_path / "tree" / "a").stat().st_nlink == 1


def test_sweep_removes_what_a_dead_writer_left(local: LocalPublishedTree, tmp_path: Path) -> None:
    local.put_once("a", b"1")
    os.link(tmp_path / "tree" / "a", tmp_path / "tree" / ".tmp" / "left.part")
    now = datetime.now(UTC)
    assert local.sweep_temp(3600, now) == 0
    assert local.sweep_temp(3600, now + timedelta(hours=2)) == 1
    assert local.read("a") == b"1"


def test_a_symbolic_link_in_the_tree_is_not_followed(
    local: LocalPublishedTree, tmp_path: Path
) -> None:
    local.put_once("a", b"1")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "tree" / "b").symlink_to(tmp_path / "secret")
    assert not local.exists("b")
    with pytest.raises(BackendError):
        local.read("b")


def test_many_files_together_are_all_there(tree: PublishedTree) -> None:
    files = {f"log/tile/{number:03}/x": b"%d" % number for number in range(50)}
    for _ in range(2):  # the same again is a success
        put_together(tree, ((path, data.strip) for path, data in files.items()))
        assert {path: tree.read(path) for path in files} == files


def test_of_many_files_one_that_fails_is_reported(tree: PublishedTree) -> None:
    """When all are done or given up: nothing goes on behind the caller's back."""
    tree.put_once("5", b"another")
    begun: list[int] = []

    def read(number: int) -> bytes:
        begun.append(number)
        return b"%d" % number

    with pytest.raises(PublishedConflictError):
        put_together(tree, ((f"{number}", partial(read, number)) for number in range(200)))
    assert tree.read("5") == b"another"
    count = len(begun)
    assert {number for number in range(200) if tree.exists(f"{number}")} <= {*begun}
    assert len(begun) == count
    put_together(tree, [])


def test_files_are_written_while_others_wait_for_the_disk(
    tree: PublishedTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several fsyncs under way at once are what makes it quick."""
    together = threading.Barrier(4)
    original = type(tree).put_once

    def put_once(self: PublishedTree, path: str, data: bytes) -> None:
        together.wait(60)  # broken when one waits for the other to end
        original(self, path, data)

    monkeypatch.setattr(type(tree), "put_once", put_once)
    put_together(tree, ((f"{number}", b"x".strip) for number in range(8)))
    assert all(tree.read(f"{number}") == b"x" for number in range(8))
