"""Reading files of a release without installing it: choose → prove → fetch → hand out.

    <cache>/trees/<digest of the manifest>/…    files of one release, or some of them, as signed

Whoever asks for a path gets one below such a tree: loaders look at names and endings, which the
blobs of the cache have not. A tree holds links to blobs (or copies) that carry the cache's fixed
time, so a later change shows in a stat, and the file is put there anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from signing.errors import VerificationError
from signing.manifest import FileEntry, Manifest
from signing.names import Requirement

from ..cache import looks_verified
from ..context import Context
from ..errors import ForgeError
from ..files import locked
from ..nearby import did_you_mean
from ..output import clean
from ..transfer import Selection
from ..tree import Builder, looks_untouched, remove_tree
from .fetching import fetch, olds, wanted_for
from .locking import settle_one
from .proof import Prover
from .withheld import require_usable, warn_stale

_TOML = Selection(include=("forge.toml",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A release that may be used, and whose signatures were verified in this run; ``url`` is the
    registry it is fetched from."""

    manifest: Manifest
    kind: str
    url: str

    def entry(self, path: str) -> FileEntry:
        """Raises ForgeError (``not-found``)."""
        entry = self.manifest.by_path.get(path)
        if entry is None:
            known = list(self.manifest.by_path)
            inside = [each for each in known if each.startswith(f"{path}/")]
            raise ForgeError(
                "not-found",
                f"{self.manifest}: {clean(path)}: "
                + ("a folder, not a file" if inside else "no such file in the release"),
                hint=did_you_mean(path, inside or known),
            )
        return entry

    def below(self, folder: str) -> tuple[FileEntry, ...]:
        """The files in ``folder`` and deeper; all of them for the empty string.

        Raises ForgeError (``not-found``): there is no such folder.
        """
        if not folder:
            return self.manifest.files
        found = tuple(e for e in self.manifest.files if e.path.startswith(f"{folder}/"))
        return found or (self.entry(folder),)


def choose_release(context: Context, requirement: Requirement) -> Chosen:
    """The release that an installation of ``requirement`` would choose, proven.

    Raises:
        WithheldError: all that would do is withheld.
        ForgeError: ``not-found``, ``unsatisfiable``, ``policy-refused``.
        VerificationError: something signed does not hold.
    """
    lock = settle_one(context, requirement)
    prover = Prover(context, lock)
    (locked_release,) = lock.components
    proof = prover.prove(locked_release)
    require_usable(context, prover.pin, lock.components)
    if context.offline:
        warn_stale(context, prover.pin)
    chosen = Chosen(manifest=proof.manifest, kind=locked_release.kind, url=prover.pin.url)
    # What the publisher wrote about it is signed twice, and has to agree.
    obtain(context, chosen, [proof.manifest.by_path["forge.toml"]])
    prover.require_files(proof, _TOML)
    return chosen


def obtain(context: Context, chosen: Chosen, entries: Iterable[FileEntry]) -> None:
    """Each of ``entries`` is in the cache afterwards, with the content that was signed.

    Raises:
        NetworkError: one is not there, and nobody can be asked for it, or shall be.
    """
    entries = tuple(entries)
    missing = {
        entry.sha256: entry for entry in entries if not context.cache.has(entry.sha256, entry.size)
    }
    if not missing:
        return
    if not context.offline:
        context.cache.require_writable()
    name = chosen.manifest.component
    here = olds(context, None, name)
    fetch(
        context,
        chosen.url,
        [wanted_for(entry, f"{name}/{entry.path}", here) for entry in missing.values()],
    )


def open_file(context: Context, chosen: Chosen, entry: FileEntry) -> BinaryIO:
    """The file, fetched and verified if need be, opened for reading.

    Raises:
        VerificationError: somebody changes it as often as it is fetched.
    """
    for _ in range(2):  # somebody may touch it between the two
        obtain(context, chosen, [entry])
        file = context.cache.open(entry.sha256, entry.size)
        if file is not None:
            return file
    raise VerificationError(
        "digest-mismatch",
        f"{chosen.manifest}: {entry.path}",
        f"sha256 {entry.sha256} in the cache",
        "another file, changed since it was fetched",
        "somebody is writing into the cache: forge cache verify",
    )


def place(context: Context, chosen: Chosen, path: str) -> Path:
    """Where a file or folder of the release lies on this disk, each file of it verified; for the
    empty string the whole release, and nothing that is not of it.

    Raises:
        ForgeError: ``not-found``.
    """
    entries = chosen.below(path)
    obtain(context, chosen, entries)
    trees = context.cache.root / "trees"
    tree = trees / chosen.manifest.digest
    sizes = {entry.path: entry.size for entry in entries}
    if not _is_there(tree, path, sizes):
        with locked(trees / ".forge" / "lock"):
            builder = Builder(trees)
            builder.sweep()
            if path:
                _place_some(context, builder, tree, entries)
            elif not _is_there(tree, path, sizes):  # nobody was faster
                blobs = {e.path: (context.cache.path(e.sha256), e.size) for e in entries}
                builder.swap(builder.build(blobs), tree)
    return tree / path if path else tree


def _place_some(
    context: Context, builder: Builder, tree: Path, entries: Iterable[FileEntry]
) -> None:
    for entry in entries:
        if not _is_file(tree, entry.path, entry.size):
            _clear(tree, entry.path)
            source = context.cache.path(entry.sha256)
            builder.replace_file(source, tree / entry.path, entry.size)


def _is_there(tree: Path, path: str, sizes: dict[str, int]) -> bool:
    if path:
        return all(_is_file(tree, each, size) for each, size in sizes.items())
    with suppress(OSError):
        return not tree.is_symlink() and looks_untouched(tree, sizes)
    return False


def _is_file(tree: Path, path: str, size: int) -> bool:
    """Whether the file is there, reached through folders alone, and untouched since it was put
    there."""
    if _obstacle(tree, path) is not None:
        return False
    try:
        info = os.lstat(tree / path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_size == size and looks_verified(info)


def _clear(tree: Path, path: str) -> None:
    """Removes what somebody put in the way of ``path``; nothing is written through it."""
    while (obstacle := _obstacle(tree, path)) is not None:
        remove_tree(obstacle)
    if (tree / path).is_dir() and not (tree / path).is_symlink():
        remove_tree(tree / path)


def _obstacle(tree: Path, path: str) -> Path | None:
    """The first thing on the way to ``path`` that is not a folder."""
    at = tree
    for part in ("", *path.split("/")[:-1]):
        at = at / part
        try:
            mode = os.lstat(at).st_mode
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(mode):
            return at
    return None
