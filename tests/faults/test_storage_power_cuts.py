"""A model of the disk's cache says what a power cut could take away: nothing that was reported."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from storage_scenarios import (
    DATA,
    DIGEST,
    Break,
    Primitive,
    Scenario,
    adopt,
    around_primitives,
    new_store,
    new_tree,
    no_waiting_for_the_disk,
    prepare_adopt,
    prepare_delete,
    put,
    put_once,
    scenario,
)

from storage import BackendError, LocalBlobStore

__all__ = ["no_waiting_for_the_disk", "scenario"]


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
    store = prepare_adopt(tmp_path)
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
        lambda store: adopt(store, Path()),
    ],
    ids=["put", "stat", "missing", "adopt"],
)
def test_a_blob_reported_as_present_is_durable_although_another_put_it(
    tmp_path: Path, call: Callable[[LocalBlobStore], object]
) -> None:
    cache = Cache()
    _act_without_the_last_sync(lambda: put(new_store(tmp_path), tmp_path), cache)
    with around_primitives(cache):
        call(new_store(tmp_path))
    assert cache.at_risk() == set()


def test_put_once_settles_what_another_published(tmp_path: Path) -> None:
    cache = Cache()
    _act_without_the_last_sync(lambda: put_once(new_tree(tmp_path), tmp_path), cache)
    with around_primitives(cache):
        put_once(new_tree(tmp_path), tmp_path)
    assert cache.at_risk() == set()


def test_a_folder_another_process_made_is_synced_by_the_one_who_uses_it(tmp_path: Path) -> None:
    cache = Cache()
    store = new_store(tmp_path)
    store.temp_dir.touch()
    folder = store.path(DIGEST).parent
    folder.mkdir()
    cache.unsettled.add(folder)
    with around_primitives(cache):
        put(store, tmp_path)
    assert cache.at_risk() == set()


def test_delete_again_settles_a_delete_that_was_cut_short(tmp_path: Path) -> None:
    store, cache = prepare_delete(tmp_path), Cache()
    with around_primitives(Break(2, errno.EIO, done=False)), pytest.raises(BackendError):
        store.delete(DIGEST)  # call 0 unlinks, 1 opens the folder, 2 is its fsync
    cache.unsettled.add(store.path(DIGEST))
    with around_primitives(cache):
        store.delete(DIGEST)
    assert cache.at_risk() == set()


def test_an_old_blob_costs_no_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cache = prepare_delete(tmp_path), Cache()
    later = datetime.now(UTC).timestamp() + 3600
    monkeypatch.setattr("storage.local.time.time", lambda: later)
    with around_primitives(cache):
        assert store.missing([DIGEST]) == set()
        put(store, tmp_path)
    assert cache.synced == []


def test_a_new_blob_is_settled_once_and_again_when_it_is_another(tmp_path: Path) -> None:
    store, cache = prepare_delete(tmp_path), Cache()
    folder = store.path(DIGEST).parent
    with around_primitives(cache):
        store.stat(DIGEST)
        assert cache.synced == [folder]
        store.stat(DIGEST)
        assert store.missing([DIGEST]) == set()
        assert cache.synced == [folder]
        store.delete(DIGEST)
        cache.synced.clear()
        _act_without_the_last_sync(lambda: put(new_store(tmp_path), tmp_path), cache)
        store.stat(DIGEST)
    assert cache.at_risk() == set()


@pytest.mark.parametrize("name", ["put", "adopt", "delete"])
def test_a_store_that_is_not_durable_never_calls_fsync(tmp_path: Path, name: str) -> None:
    called: list[str] = []
    store = LocalBlobStore(tmp_path / "blobs", durable=False)
    mine = store.temp_dir / "mine"
    mine.write_bytes(DATA)
    calls: dict[str, Callable[[], None]] = {
        "put": lambda: put(store, tmp_path),
        "adopt": lambda: store.adopt(mine, DIGEST),
        "delete": lambda: store.delete(DIGEST),
    }

    def around(call: str, real: Primitive, args: tuple[Any, ...]) -> Any:
        called.append(call)
        return real(*args)

    with around_primitives(around):
        calls[name]()
    assert "fsync" not in called
