"""What lies on this disk: damaged chunks are fetched again, and a cache may lie anywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from builders import NAME, sha256, tree
from chunked_worlds import DATA, LIST, MIDDLE, NEW, PATH, Served, installed, world_with
from cli_fixtures import Forge
from forge_client import forge
from ranged_server import Blob

__all__ = ["forge"]


# --- repair ----------------------------------------------------------------------------------


def spoil(path: Path, *places: int) -> None:
    """Other bytes at these places, as a dying disk leaves them: no time stamp tells."""
    info = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1]))
    path.chmod(info.st_mode)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def cut_in_half(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: LIST[len(LIST) // 2].start])


@pytest.mark.parametrize(
    ("damage", "least", "most"),
    [
        (lambda path: spoil(path, MIDDLE), 1, 256 << 10),
        (lambda path: spoil(path, 0, len(DATA) - 1), 2, 512 << 10),
        (Path.unlink, 0, 0),
        (cut_in_half, 0, 0),
    ],
    ids=["one flipped bit", "the first and the last", "missing", "cut"],
)
def test_repair_fetches_the_damaged_chunks_and_nothing_else(
    forge: Forge, damage: object, least: int, most: int
) -> None:
    blob = Blob(DATA)
    with Served(forge, world_with(), blob):
        forge.ok("install", str(NAME), "--into", "out")
        tree = forge.place / "out" / "forge_components" / str(NAME)
        damage(tree / PATH)  # type: ignore[operator]
        assert forge("verify", str(tree)).code == 3
        blob.sent = 0
        ran = forge.ok("verify", str(tree), "--repair", "--json")
    assert ran.json["repaired"] == [PATH]
    assert ran.json["ok"] is True
    assert installed(forge) == DATA
    # What is missing or cut off here may still lie in the cache, and then nothing comes.
    assert least <= blob.sent <= most
    assert ran.json["received_bytes"] == blob.sent
    assert forge("verify", str(tree)).code == 0
    assert not list((forge.home / "cache").rglob("*.spoilt"))


def test_repair_with_the_cache_gone_takes_the_good_chunks_from_the_damaged_file(
    forge: Forge,
) -> None:
    blob = Blob(DATA)
    with Served(forge, world_with(), blob):
        forge.ok("install", str(NAME), "--into", "out")
        shutil.rmtree(forge.home / "cache")
        tree = forge.place / "out" / "forge_components" / str(NAME)
        cut_in_half(tree / PATH)
        (tree / "README.md").unlink()
        blob.sent = 0
        ran = forge.ok("verify", str(tree), "--repair", "--json")
    assert set(ran.json["repaired"]) == {"README.md", PATH}
    assert installed(forge) == DATA
    assert blob.sent == len(DATA) - LIST[len(LIST) // 2].start


def test_repair_never_mends_what_is_not_about_files(forge: Forge) -> None:
    with Served(forge, world_with(), Blob(DATA)):
        forge.ok("install", str(NAME), "--into", "out")
        tree = forge.place / "out" / "forge_components" / str(NAME)
        spoil(tree / PATH, MIDDLE)
        record = forge.place / "out/forge_components/.forge" / f"{NAME}.json"
        value = json.loads(record.read_bytes())
        evidence = json.loads(value["evidence"])
        evidence["project"] = re.sub(r'("sig": ?")..', r"\g<1>00", evidence["project"])
        value["evidence"] = json.dumps(evidence)
        record.write_text(json.dumps(value))
        before = (tree / PATH).read_bytes()
        ran = forge("verify", str(tree), "--repair")
    assert ran.code == 3, ran.err
    assert (tree / PATH).read_bytes() == before


def test_repair_is_for_installed_folders(forge: Forge) -> None:
    assert forge("verify", str(NAME), "--repair").code == 2


# --- the cache -------------------------------------------------------------------------------


def test_cache_list_and_verify(forge: Forge) -> None:
    with Served(forge, world_with(), Blob(DATA)):
        forge.ok("install", str(NAME), "--into", "out")
    listed = forge.ok("cache", "list", "--json").json
    named = {blob["sha256"]: blob["of"] for blob in listed["blobs"]}
    assert named[sha256(DATA)] == f"{NAME}==1.0.0: {PATH}"
    assert named[LIST.digest] == f"{NAME}==1.0.0: chunks of {PATH}"
    assert f"{sha256(DATA)}  " in (shown := forge.ok("cache", "list").out)
    assert f"installed  {NAME}==1.0.0: {PATH}" in shown
    assert forge.ok("cache", "verify").code == 0
    spoil(forge.home / "cache" / "blobs" / sha256(DATA)[:2] / sha256(DATA), MIDDLE)
    ran = forge("cache", "verify", "--json")
    assert ran.code == 3
    assert ran.json["removed"] == [sha256(DATA)]
    assert forge.ok("cache", "verify").code == 0


def test_a_cache_that_cannot_be_written_is_used_and_left_alone(forge: Forge) -> None:
    blob, world = Blob(DATA), world_with()
    second = b"second" * 500_000
    with Served(forge, world, blob):
        forge.ok("install", str(NAME), "--into", "warm")
        world.publish({**tree(version="1.1.0"), PATH: DATA, "more.bin": second})
    with Served(forge, world, blob, trust=False) as server, read_only(forge.home / "cache"):
        forge.trust(server, world)
        before = snapshot(forge.home / "cache")
        blob.sent = 0
        forge.ok("install", str(NAME), "--into", "out")
        assert blob.sent == 0  # what is in the cache is used
        assert snapshot(forge.home / "cache") == before
    assert installed(forge) == DATA
    left = forge.place / "out" / "forge_components" / ".forge" / "cache" / "blobs"
    assert not left.exists()
    assert forge("verify", f"out/forge_components/{NAME}").code == 0


def snapshot(root: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(root.rglob("*"))}


class read_only:
    """A file system that refuses every write below ``root``, as a read-only mount does."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> None:
        import subprocess

        done = subprocess.run(
            ["mount", "--bind", "-o", "ro", str(self.root), str(self.root)],
            capture_output=True,
            check=False,
        )
        self.mounted = done.returncode == 0
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(self.root)], check=True)
        elif os.geteuid() != 0:
            for path in [self.root, *self.root.rglob("*")]:
                if path.is_dir():
                    path.chmod(0o555)
        else:
            reason = "root without mounts: nothing can be made read-only here"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)

    def __exit__(self, *args: object) -> None:
        import subprocess

        if self.mounted:
            subprocess.run(["umount", str(self.root)], check=True)
            return
        for path in [self.root, *self.root.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)


def test_a_cache_without_locks_and_without_hard_links_works(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("fcntl.ioctl", refuse)
    monkeypatch.setattr("os.copy_file_range", refuse, raising=False)
    world = world_with()
    with Served(forge, world, Blob(DATA)) as server:
        forge.ok("install", str(NAME), "--into", "out")
        new, share = NEW["a longer header"]
        world_with(new, "1.1.0", world)
        blob = Blob(new)
        server.files.update({**world.files(), blob.path: blob})
        forge.ok("install", str(NAME), "--into", "out", "--upgrade")
    assert installed(forge) == new
    assert blob.sent <= share * len(new)
