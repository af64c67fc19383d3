"""Trees appear whole or not at all, also when the process dies at any step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forge_cli import tree
from forge_cli.cache import mark_verified
from forge_cli.errors import ForgeError
from forge_cli.tree import Builder, looks_untouched, observe, remove_tree
from signing.errors import VerificationError

OLD = {"forge.toml": b"old", "a/b.bin": b"1" * 10, "gone": b"x"}
NEW = {"forge.toml": b"new!", "a/b.bin": b"2" * 20, "empty": b""}


def sources(folder: Path, files: dict[str, bytes]) -> dict[str, tuple[Path, int]]:
    folder.mkdir(exist_ok=True)
    made = {}
    for number, (path, data) in enumerate(files.items()):
        source = folder / f"{number}-{len(data)}"
        if not source.exists():
            source.write_bytes(data)
            mark_verified(source)
        made[path] = (source, len(data))
    return made


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def put(components: Path, cache: Path, files: dict[str, bytes]) -> Builder:
    builder = Builder(components)
    builder.swap(builder.build(sources(cache, files)), components / "org" / "name")
    return builder


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_a_tree_replaces_another_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(tree, "_exchange", lambda first, second: False)
    components = tmp_path / "c"
    put(components, tmp_path / "old", OLD)
    put(components, tmp_path / "new", NEW)
    assert content(components / "org" / "name") == NEW
    assert list((components / ".forge" / "staging").iterdir()) == []


def test_files_share_bytes_with_the_cache_where_they_can(tmp_path: Path) -> None:
    builder = put(tmp_path / "c", tmp_path / "cache", NEW)
    assert builder.how["copy"] == 1  # the empty file
    assert builder.how["reflink"] + builder.how["hard link"] == 2


def test_a_filesystem_without_links_gets_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(tree.fcntl, "ioctl", refuse)
    builder = put(tmp_path / "c", tmp_path / "cache", NEW)
    assert builder.how == {"reflink": 0, "hard link": 0, "copy": 3}
    sizes = {path: len(data) for path, data in NEW.items()}
    assert looks_untouched(tmp_path / "c" / "org" / "name", sizes)


def test_a_full_disk_while_building_leaves_the_old_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    components = tmp_path / "c"
    put(components, tmp_path / "old", OLD)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(tree.fcntl, "ioctl", full)
    with pytest.raises(OSError, match="No space"):
        put(components, tmp_path / "new", NEW)
    assert content(components / "org" / "name") == OLD
    Builder(components).sweep()
    assert list((components / ".forge" / "staging").iterdir()) == []


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_cli_tree as t
step, count = int(sys.argv[2]), 0
def dying(real):
    def call(*args, **kwargs):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
place = Path(sys.argv[1])
sources = t.sources(place / "new", t.NEW)
for name in ("rename", "link", "mkdir", "rmdir", "unlink", "chmod", "utime"):
    setattr(os, name, dying(getattr(os, name)))
t.tree._exchange = dying(t.tree._exchange)
builder = t.Builder(place / "c")
builder.sweep()
builder.swap(builder.build(sources), place / "c" / "org" / "name")
print(count)
"""


def run_child(tmp_path: Path, step: int) -> subprocess.CompletedProcess[str]:
    tests = Path(__file__).parent
    program = CHILD.format(tests=str(tests))
    return subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(step)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_killed_at_any_step_there_is_the_old_tree_or_the_new_and_the_next_run_finishes(
    tmp_path: Path,
) -> None:
    # How many steps there are is found out by a run that is not killed.
    whole = tmp_path / "whole"
    whole.mkdir()
    put(whole / "c", whole / "old", OLD)
    steps = int(run_child(whole, -1).stdout)
    assert steps > 8
    seen = set()
    for step in range(1, steps + 1):
        place = tmp_path / str(step)
        place.mkdir()
        put(place / "c", place / "old", OLD)
        assert run_child(place, step).returncode == -9
        there = content(place / "c" / "org" / "name")
        assert there in (OLD, NEW)
        seen.add(there == NEW)
        builder = Builder(place / "c")
        builder.sweep()
        assert list((place / "c" / ".forge" / "staging").iterdir()) == []
        put(place / "c", place / "new", NEW)
        assert content(place / "c" / "org" / "name") == NEW
    assert seen == {True, False}


def test_an_extra_a_missing_and_a_touched_file_all_show_in_a_stat(tmp_path: Path) -> None:
    components = tmp_path / "c"
    target = components / "org" / "name"
    sizes = {path: len(data) for path, data in NEW.items()}

    def fresh() -> Path:
        put(components, tmp_path / "cache", NEW)
        assert looks_untouched(target, sizes)
        return target

    (fresh() / "extra").write_bytes(b"")
    assert not looks_untouched(target, sizes)
    (fresh() / "empty").unlink()
    assert not looks_untouched(target, sizes)
    (fresh() / "empty").unlink()
    (target / "empty").symlink_to("forge.toml")
    assert not looks_untouched(target, sizes)
    # Last, because the cache's own file may be the same inode.
    os.utime(fresh() / "forge.toml")
    assert not looks_untouched(target, sizes)


def test_observing_hashes_regular_files_and_refuses_the_rest(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a").write_bytes(b"1")
    assert observe(tmp_path / "t")["a"].size == 1
    (tmp_path / "t" / "link").symlink_to("/etc/passwd")
    with pytest.raises(VerificationError, match="symbolic link"):
        observe(tmp_path / "t")
    with pytest.raises(ForgeError):
        observe(tmp_path / "nowhere")


def test_removing_copes_with_read_only_folders(tmp_path: Path) -> None:
    folder = tmp_path / "t" / "inner"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"")
    folder.chmod(0o500)
    remove_tree(tmp_path / "t")
    assert not (tmp_path / "t").exists()
