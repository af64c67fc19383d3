"""What was installed, once more in the layout of the Hugging Face cache, for its clients offline.

    <hub>/models--org--name/blobs/<sha256>               files, links to our cache where possible
    <hub>/models--org--name/snapshots/<commit>/<path>    links to those
    <hub>/models--org--name/refs/<version>, refs/main    the commit that each stands for

A commit is the first 40 digits of the manifest's digest, as at `/hf`. Blobs come first, then the
snapshot in one rename, then the names for it: whoever reads meanwhile finds the old or the new.
What a client downloaded under the same digest is replaced, because none of them looks at digests.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signing.manifest import Manifest

from ..cache import looks_verified
from ..context import Context
from ..errors import ForgeError
from ..files import locked, write_private
from ..tree import Builder, remove_tree
from .install import Installed
from .proof import Prover

COMMIT_DIGITS: Final = 40
FOLDERS: Final = {"model": "models", "dataset": "datasets"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a component lies in the Hugging Face cache."""

    component: str
    commit: str
    path: Path


def hub_folder(env: Mapping[str, str]) -> Path:
    """Where Hugging Face's clients keep what they download: ``HF_HUB_CACHE``, ``HF_HOME``,
    ``XDG_CACHE_HOME``, as they read them themselves."""
    if hub := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(hub)
    if home := env.get("HF_HOME"):
        return _expanded(home) / "hub"
    cache = env.get("XDG_CACHE_HOME") or Path(env.get("HOME", "~")).expanduser() / ".cache"
    return _expanded(str(cache)) / "huggingface" / "hub"


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(text)))


def fill_hf_cache(context: Context, done: Installed) -> tuple[Snapshot, ...]:
    """Puts the models and datasets of an installation into the cache of Hugging Face's clients.

    Raises:
        ForgeError: ``tree-not-ours``, there is a link where a folder should be.
        VerificationError: a file changed since it was installed, and was not mended.
    """
    hub = hub_folder(os.environ)
    prover = Prover(context, done.lock)
    placed = []
    for locked_release in done.lock.components:
        if locked_release.kind not in FOLDERS:
            continue
        proof = prover.prove(locked_release)
        _fetch_again(context, done, proof.manifest)
        prover.require_files(proof)
        name = locked_release.component
        repository = hub / f"{FOLDERS[locked_release.kind]}--{name.org}--{name.name}"
        placed.append(_fill(context, repository, proof.manifest))
    return tuple(placed)


def _fetch_again(context: Context, done: Installed, manifest: Manifest) -> None:
    """What was in place already may be gone from the cache."""
    from .fetching import fetch, olds, wanted_for

    name = manifest.component
    here = olds(context, done.site, name)
    missing = {
        entry.sha256: wanted_for(entry, f"{name}/{entry.path}", here)
        for entry in manifest.files
        if not context.cache.has(entry.sha256, entry.size)
    }
    fetch(context, done.lock.registry, list(missing.values()))


def _fill(context: Context, repository: Path, manifest: Manifest) -> Snapshot:
    commit = manifest.digest[:COMMIT_DIGITS]
    # Whoever made the cache a link meant it; below it nothing of ours follows one.
    repository.parent.mkdir(parents=True, exist_ok=True)
    blobs, snapshots, refs, work = (
        _own_folder(repository, name) for name in ("blobs", "snapshots", "refs", ".forge")
    )
    _own_folder(work.parent, ".forge/staging")
    with locked(work / "lock"):
        builder = Builder(repository)
        builder.sweep()
        stage = builder.build(
            {
                digest: (context.cache.path(digest), size)
                for digest, size in manifest.blobs().items()
                if not _is_ours(blobs / digest, size)
            }
        )
        for blob in stage.iterdir():
            target = blobs / blob.name
            if target.is_dir() and not target.is_symlink():
                remove_tree(target)
            os.replace(blob, target)
        remove_tree(stage)
        builder.swap(_linked(builder, work / "staging", context, manifest), snapshots / commit)
        for name in (str(manifest.version), "main"):
            write_private(refs / name, commit.encode(), mode=0o644)
    return Snapshot(component=str(manifest.component), commit=commit, path=snapshots / commit)


def _linked(builder: Builder, staging: Path, context: Context, manifest: Manifest) -> Path:
    """A staged snapshot: links to the blobs, or where there are no links the files themselves."""
    stage = Path(tempfile.mkdtemp(dir=staging, prefix="new-"))
    os.chmod(stage, 0o755)  # noqa: S103  # mkdtemp makes it 0700
    try:
        for entry in manifest.files:
            target = stage / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (2 + entry.path.count("/"))
            os.symlink(f"{up}blobs/{entry.sha256}", target)
    except OSError:
        remove_tree(stage)
        return builder.build(
            {e.path: (context.cache.path(e.sha256), e.size) for e in manifest.files}
        )
    return stage


def _is_ours(blob: Path, size: int) -> bool:
    """Whether we put it there and nobody touched it since: it has the time of verified files."""
    try:
        info = os.lstat(blob)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_size == size and looks_verified(info)


def _own_folder(repository: Path, name: str) -> Path:
    """The folder ``name`` in ``repository``, made if need be.

    Raises ForgeError (``tree-not-ours``): it, or the repository, is something else than a folder.
    """
    for folder in (repository, repository / name):
        with suppress(FileExistsError):
            os.mkdir(folder)
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise ForgeError(
                "tree-not-ours",
                f"{folder}: expected a folder of the Hugging Face cache, found something else",
                hint="nothing is written through a link; look who put it there, and remove it",
            )
    return repository / name
