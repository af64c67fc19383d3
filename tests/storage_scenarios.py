"""What a store does on a disk, and what stays true of it."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage import (
    BlobNotFoundError,
    LocalBlobStore,
    LocalPublishedTree,
    PathNotFoundError,
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


def new_store(root: Path) -> LocalBlobStore:
    return LocalBlobStore(root / "blobs")


def put(store: LocalBlobStore, root: Path) -> None:
    store.put(DIGEST, io.BytesIO(DATA), len(DATA))


def prepare_adopt(root: Path) -> LocalBlobStore:
    store = new_store(root)
    (store.temp_dir / "mine").write_bytes(DATA)
    return store


def adopt(store: LocalBlobStore, root: Path) -> None:
    if not (mine := store.temp_dir / "mine").exists():
        mine.write_bytes(DATA)  # the call before got as far as moving it
    store.adopt(mine, DIGEST)


def check_blob(root: Path, success: bool) -> None:
    store = new_store(root)
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


def prepare_delete(root: Path) -> LocalBlobStore:
    store = new_store(root)
    put(store, root)
    return store


def delete(store: LocalBlobStore, root: Path) -> None:
    store.delete(DIGEST)


def check_deleted(root: Path, success: bool) -> None:
    check_blob(root, False)
    assert not success or new_store(root).missing([DIGEST])


def new_tree(root: Path) -> LocalPublishedTree:
    return LocalPublishedTree(root / "tree")


def put_once(tree: LocalPublishedTree, root: Path) -> None:
    tree.put_once("tuf/lab/1.root.json", NEW)


def check_put_once(root: Path, success: bool) -> None:
    try:
        assert new_tree(root).read("tuf/lab/1.root.json") == NEW
    except PathNotFoundError:
        assert not success


def prepare_swap(root: Path) -> LocalPublishedTree:
    tree = new_tree(root)
    tree.swap("timestamp.json", OLD)
    return tree


def swap(tree: LocalPublishedTree, root: Path) -> None:
    tree.swap("timestamp.json", NEW)


def check_swap(root: Path, success: bool) -> None:
    assert new_tree(root).read("timestamp.json") in ((NEW,) if success else (OLD, NEW))


SCENARIOS = {
    "put": Scenario(new_store, put, check_blob),
    "adopt": Scenario(prepare_adopt, adopt, check_blob),
    "delete": Scenario(prepare_delete, delete, check_deleted),
    "put_once": Scenario(new_tree, put_once, check_put_once),
    "swap": Scenario(prepare_swap, swap, check_swap),
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
