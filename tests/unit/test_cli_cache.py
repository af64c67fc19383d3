"""The cache believes content, not names; a touched file is hashed again."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from forge_cli.cache import VERIFIED_MTIME_NS, Cache, looks_verified, settle
from forge_cli.files import begin_sync

DATA = b"weights" * 100
DIGEST = hashlib.sha256(DATA).hexdigest()


def filled(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache")
    cache.put(DATA)
    return cache


def overwrite(path: Path, data: bytes) -> None:
    """Change a file in place, as an editor with a hard link to it would."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)


def test_a_verified_file_carries_the_fixed_time_and_is_read_only(tmp_path: Path) -> None:
    info = filled(tmp_path).path(DIGEST).stat()
    assert info.st_mtime_ns // 10**9 == VERIFIED_MTIME_NS // 10**9
    assert info.st_mode & 0o222 == 0


def test_a_change_in_place_of_the_same_size_is_noticed_and_thrown_away(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    overwrite(cache.path(DIGEST), b"W")
    assert not cache.has(DIGEST, len(DATA))
    assert not cache.path(DIGEST).exists()


def test_a_change_through_a_hard_link_is_noticed(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    link = tmp_path / "installed"
    os.link(cache.path(DIGEST), link)
    overwrite(link, b"W")
    assert not cache.has(DIGEST, len(DATA))


def test_what_is_no_file_is_not_here(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    path = cache.path(DIGEST)
    path.unlink()
    path.mkdir()
    assert not cache.has(DIGEST, path.stat().st_size)


@pytest.mark.parametrize("how", ["changed", "linked", "removed"])
def test_the_file_that_was_opened_is_the_one_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Somebody is quicker than the step from the name to the file."""
    cache = filled(tmp_path)
    path, other = cache.path(DIGEST), tmp_path / "other"
    with cache.open(DIGEST, len(DATA)) as file:  # type: ignore[union-attr]
        assert file.read() == DATA
    other.write_bytes(b"W" * len(DATA))
    os.utime(other, ns=(VERIFIED_MTIME_NS, VERIFIED_MTIME_NS))

    def has(*_: object) -> bool:
        if how == "changed":
            overwrite(path, b"W")
        else:
            path.unlink()
        if how == "linked":
            path.symlink_to(other)
        return True

    monkeypatch.setattr(cache, "has", has)
    assert cache.open(DIGEST, len(DATA)) is None


def test_a_touched_file_with_the_right_content_is_believed_again(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    os.utime(cache.path(DIGEST))
    assert cache.has(DIGEST, len(DATA))
    assert looks_verified(cache.path(DIGEST).stat())


def test_a_file_of_another_size_is_not_had(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    assert not cache.has(DIGEST, len(DATA) + 1)


def test_a_symbolic_link_is_not_had(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    path = cache.path(DIGEST)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not cache.has(DIGEST, len(DATA))


def test_reading_hashes(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    assert cache.read(DIGEST, len(DATA)) == DATA
    overwrite(cache.path(DIGEST), b"W")
    os.utime(cache.path(DIGEST), ns=(VERIFIED_MTIME_NS, VERIFIED_MTIME_NS))
    assert cache.read(DIGEST, len(DATA)) is None


def test_pruning_keeps_what_an_installed_folder_shares(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    cache.put(b"alone")
    os.link(cache.path(DIGEST), tmp_path / "installed")
    cache.partial("ab" * 32).write_bytes(b"half")
    gone = cache.prune(everything=False)
    assert (gone.blobs, gone.partial, gone.partial_bytes) == (1, 1, 4)
    assert cache.has(DIGEST, len(DATA))
    assert cache.prune(everything=True).blobs == 1


def hole(path: Path) -> None:
    """What a power cut leaves of a file that the kernel still held: all but the bytes."""
    info = path.stat()
    overwrite(path, bytes(len(DATA)))
    path.chmod(0o444)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.fixture
def reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def boot() -> None:
        (tmp_path / "boot").write_text("another")
        monkeypatch.setattr("forge_cli.boot._BOOT", tmp_path / "boot")

    return boot


def test_what_a_power_cut_took_the_bytes_of_is_not_had(
    tmp_path: Path, reboot: Callable[[], None]
) -> None:
    cache = filled(tmp_path)
    hole(cache.path(DIGEST))
    assert cache.has(DIGEST, len(DATA))  # within one boot the stamp is enough
    reboot()
    assert not cache.has(DIGEST, len(DATA))


def test_what_survived_a_boot_is_hashed_once(tmp_path: Path, reboot: Callable[[], None]) -> None:
    cache = filled(tmp_path)
    reboot()
    assert cache.has(DIGEST, len(DATA))
    assert cache.path(DIGEST).stat().st_mtime_ns == VERIFIED_MTIME_NS


def test_what_is_on_the_disk_is_believed_after_a_boot(
    tmp_path: Path, reboot: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("forge_cli.files.os.fsync", synced.append)
    cache = filled(tmp_path)
    settle([cache.path(DIGEST)])
    settle([cache.path(DIGEST)])  # it says so already
    assert len(synced) == 1
    reboot()
    monkeypatch.setattr("forge_cli.cache.hash_stream", None)
    assert cache.has(DIGEST, len(DATA))


def test_many_files_are_written_through_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("forge_cli.files.os.fsync", synced.append)
    paths = [tmp_path / str(number) for number in range(100)]
    for path in paths:
        path.write_bytes(b"x")
    settle(paths)
    assert synced == []
    assert {path.stat().st_mtime_ns for path in paths} == {VERIFIED_MTIME_NS}
    monkeypatch.setattr("forge_cli.files._sync_file_system", lambda path: False)
    for path in paths:
        os.utime(path)
    settle(paths)
    assert len(synced) == 100


def test_pruning_leaves_alone_what_is_being_fetched(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    busy, idle = cache.partial("a" * 64), cache.partial("b" * 64)
    for path in (busy, idle):
        path.write_bytes(b"part")
        path.with_suffix(".journal").write_bytes(b"journal")
    alone = [cache.partial_dir / "c.journal", cache.partial_dir / "d.spoilt"]
    for path in alone:
        path.touch()
    with busy.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        gone = cache.prune(everything=False)
    assert (gone.partial, gone.partial_bytes) == (1, 4)
    left = sorted(path.name for path in cache.partial_dir.iterdir())
    assert left == [f"{'a' * 64}.journal", f"{'a' * 64}.part"]
    assert cache.prune(everything=False).partial == 1
    assert list(cache.partial_dir.iterdir()) == []


@pytest.mark.parametrize(("size", "begun"), [(1 << 20, 1), ((1 << 20) - 1, 0)])
def test_the_disk_begins_with_a_large_file_while_the_next_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, begun: int
) -> None:
    """Else all of them are waited for at the end."""
    asked: list[int] = []
    monkeypatch.setattr("forge_cli.cache.begin_sync", asked.append)
    cache, digest = Cache(tmp_path), hashlib.sha256(bytes(size)).hexdigest()
    partial = cache.partial(digest)
    partial.write_bytes(bytes(size))
    cache.adopt(partial, digest)
    assert len(asked) == begun
    assert cache.path(digest).stat().st_size == size


def test_beginning_changes_nothing_and_needs_nothing(tmp_path: Path) -> None:
    begin_sync(-1)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    with path.open("rb") as file:
        begin_sync(file.fileno())
    assert path.read_bytes() == b"x" * 5000
