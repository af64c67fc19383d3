"""The cache believes content, not names; a touched file is hashed again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from forge_cli.cache import VERIFIED_MTIME_NS, Cache

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
    assert info.st_mtime_ns == VERIFIED_MTIME_NS
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


def test_a_touched_file_with_the_right_content_is_believed_again(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    os.utime(cache.path(DIGEST))
    assert cache.has(DIGEST, len(DATA))
    assert cache.path(DIGEST).stat().st_mtime_ns == VERIFIED_MTIME_NS


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
