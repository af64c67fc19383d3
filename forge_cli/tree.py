"""Putting a component's folder in place: built beside the target, swapped in one rename.

    <into>/forge_components/<org>/<name>/           exactly the signed files
    <into>/forge_components/.forge/<org>/<name>.json  what proves it, written last
    <into>/forge_components/.forge/staging/           being built, or on its way out

A reader sees the old tree or the new one, never a mixture. A crash leaves something in staging,
which the next run removes. Files come from the cache by reflink where the filesystem can (own
bytes, no space), else as hard links, else as copies; all carry the cache's fixed time, so that
a later change shows in a stat. They are on the disk before the tree gets its place: the record,
which is written last, must not outlive a power cut that its files do not.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from signing.digests import hash_stream
from signing.errors import VerificationError
from signing.manifest import FileEntry

from .cache import looks_verified, mark_fresh, settle
from .errors import ForgeError

_FICLONE: Final = 0x40049409
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NO_REFLINK: Final = {
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.EPERM,
    errno.ENOSYS,
    errno.ETXTBSY,
}
_NO_HARD_LINK: Final = {
    errno.EXDEV,
    errno.EPERM,
    errno.EMLINK,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EACCES,
}


class Builder:
    """Builds trees below ``components`` (a ``forge_components`` folder)."""

    def __init__(self, components: Path) -> None:
        self._components = components
        self._staging = components / ".forge" / "staging"
        self._can_reflink = True
        self._can_link = True
        self.how: dict[str, int] = {"reflink": 0, "hard link": 0, "copy": 0}

    def sweep(self) -> None:
        """Remove what crashed runs left. The caller holds the folder's lock."""
        with suppress(FileNotFoundError):
            for leftover in self._staging.iterdir():
                remove_tree(leftover)

    def build(self, files: Mapping[str, tuple[Path, int]]) -> Path:
        """A new staged folder with ``{path: (cached file, size)}``, and nothing else in it."""
        self._staging.mkdir(mode=0o755, parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=self._staging, prefix="new-"))
        os.chmod(stage, 0o755)  # noqa: S103  # mkdtemp makes it 0700
        made: set[Path] = {stage}
        for path, (source, size) in files.items():
            target = stage / path
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            self._place(source, target, size)
        settle([stage / path for path in files])
        return stage

    def _place(self, source: Path, target: Path, size: int) -> None:
        # An empty file as a hard link would tie every empty file of the machine together.
        if self._can_reflink and size and self._reflink(source, target):
            self.how["reflink"] += 1
        elif self._can_link and size and self._hard_link(source, target):
            self.how["hard link"] += 1
        else:
            shutil.copyfile(source, target)
            mark_fresh(target)
            self.how["copy"] += 1

    def _reflink(self, source: Path, target: Path) -> bool:
        with source.open("rb") as origin, target.open("xb") as clone:
            try:
                fcntl.ioctl(clone.fileno(), _FICLONE, origin.fileno())
            except OSError as error:
                if error.errno not in _NO_REFLINK:
                    raise
                self._can_reflink = False
        if not self._can_reflink:
            target.unlink()
            return False
        mark_fresh(target)
        return True

    def _hard_link(self, source: Path, target: Path) -> bool:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
            # EMLINK is about this one file only.
            self._can_link = error.errno == errno.EMLINK
            return False
        return True

    def replace_file(self, source: Path, target: Path, size: int) -> None:
        """Put a cached file in the place of one in a tree that is installed, in one rename."""
        self._staging.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._staging, prefix="file-"))
        self._place(source, folder / "file", size)
        settle([folder / "file"])
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / "file", target)
        folder.rmdir()

    def swap(self, stage: Path, target: Path) -> None:
        """Put ``stage`` where ``target`` is, atomically; what was there is removed afterwards."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            os.rename(stage, target)
            return
        if not _exchange(stage, target):
            # No atomic exchange here (an old kernel, NFS): two renames, the old tree is kept
            # in staging until the new one is in place.
            old = Path(tempfile.mkdtemp(dir=self._staging, prefix="old-")) / "tree"
            os.rename(target, old)
            try:
                os.rename(stage, target)
            except OSError:
                os.rename(old, target)
                raise
            stage = old.parent
        remove_tree(stage)

    def remove(self, target: Path) -> None:
        """Take a tree away: out of sight in one rename, then deleted."""
        if not os.path.lexists(target):
            return
        self._staging.mkdir(mode=0o755, parents=True, exist_ok=True)
        gone = Path(tempfile.mkdtemp(dir=self._staging, prefix="gone-"))
        os.rename(target, gone / "tree")
        remove_tree(gone)
        with suppress(OSError):
            target.parent.rmdir()


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step (renameat2, Linux ≥ 3.15). False where it cannot be done."""
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    done = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(second))


def remove_tree(path: Path) -> None:
    """Delete a folder of ours, also one whose subfolders lost their write permission."""
    if path.is_dir() and not path.is_symlink():
        for folder, _, _ in os.walk(path):
            with suppress(OSError):
                os.chmod(folder, 0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def looks_untouched(root: Path, expected: Mapping[str, int]) -> bool:
    """Whether the tree holds exactly ``{path: size}`` with the time set after verification.

    A stat of each file, no hashing: what `forge verify` adds is the content.
    """
    found = 0
    for path, info in walk_files(root):
        if (
            not stat.S_ISREG(info.st_mode)
            or expected.get(path) != info.st_size
            or not looks_verified(info)
        ):
            return False
        found += 1
    return found == len(expected)


def walk_files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every non-folder below ``root`` with its relative path, never following a link."""
    folders = [""]
    while folders:
        prefix = folders.pop()
        with os.scandir(root / prefix) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                else:
                    yield path, entry.stat(follow_symlinks=False)


def observe(root: Path) -> dict[str, FileEntry]:
    """What is in a folder, hashed: ``{path: FileEntry}``.

    Raises:
        VerificationError: something that is not a regular file, which nobody can have signed.
        ForgeError: ``not-found``, there is no such folder.
    """
    if not root.is_dir():
        raise ForgeError("not-found", f"{root}: no such folder")
    observed = {}
    for path, info in walk_files(root):
        if not stat.S_ISREG(info.st_mode):
            raise VerificationError(
                "tree-mismatch", f"{root / path}", "a regular file", _kind(info.st_mode)
            )
        with (root / path).open("rb", buffering=0) as file:
            size, digest = hash_stream(file)
        observed[path] = FileEntry(path=path, size=size, sha256=digest)
    return observed


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return name
    return "something else"
