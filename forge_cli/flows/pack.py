"""Reading a component folder: what is in it, hashed and cut once, and the manifest over it.

What cannot be signed is refused by name: symbolic links, devices, FIFOs, sockets, setuid files.
Top-level names that begin with ``.git`` are left out with a notice, because every verifier of
the format ignores them: signing them would sign nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signing.chunks import ChunkList, parse_chunk_list
from signing.component import ComponentSpec, parse_forge_toml
from signing.digests import hash_stream
from signing.errors import MalformedError
from signing.manifest import FileEntry, Manifest, build_manifest
from signing.paths import check_path, check_paths
from signing.policy import FILE_NAME as POLICY_FILE
from signing.policy import KIND as POLICY
from signing.policy import MAX_POLICY_BYTES, Policy, parse_policy

from ..cache import Cache
from ..chunking import cut
from ..errors import ForgeError
from ..output import Output, clean, size_text

_TOML: Final = "forge.toml"
_HASHERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A regular file as the walk met it."""

    path: str
    full: Path
    info: os.stat_result


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A folder that was walked and may be published as far as that shows; no file was hashed.
    ``notices`` say what is left out, for the person."""

    spec: ComponentSpec
    found: Sequence[Found]
    notices: tuple[str, ...]

    @property
    def files(self) -> dict[str, Path]:
        """Where each file is, by its path in the component."""
        return {file.path: file.full for file in self.found}

    @property
    def total_size(self) -> int:
        return sum(file.info.st_size for file in self.found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A folder ready to be signed. ``notices`` say what was left out, for the person.

    ``lists`` holds the chunk lists by digest: where the cache keeps each, or its bytes where no
    cache takes it.
    """

    spec: ComponentSpec
    manifest: Manifest
    files: dict[str, Path]
    lists: Mapping[str, Path | bytes]
    notices: tuple[str, ...]

    def chunk_list(self, entry: FileEntry) -> ChunkList | None:
        """The file's chunk list, if it has one."""
        return None if entry.chunks is None else list_of(entry, self.lists[entry.chunks])

    def entry_of(self, digest: str) -> FileEntry | None:
        """A file with this content."""
        return next((entry for entry in self.manifest.files if entry.sha256 == digest), None)


Hashed = Callable[[FileEntry, Path, Path | bytes], None]
"""Is told of a file that was hashed and cut: its entry, where it is, and its chunk list."""


def list_of(entry: FileEntry, kept: Path | bytes) -> ChunkList:
    """The chunk list of a file, from where `Packed.lists` has it."""
    data = kept if isinstance(kept, bytes) else kept.read_bytes()
    return parse_chunk_list(data, entry.size, f"{entry.path}: chunk list")


def pack(folder: Path, out: Output, cache: Cache | None = None) -> Packed:
    """Walk, hash, cut and describe ``folder``; chunk lists go into ``cache``, if there is one.

    Raises:
        ForgeError: ``not-found``, ``refused-file``, ``changed-while-read``.
        MalformedError: in forge.toml, with line or key, or a path that may not be published.
    """
    return describe(survey(folder), out, cache)


def survey(folder: Path) -> Surveyed:
    """What would be published, and everything that can be refused without reading the files.

    Raises:
        ForgeError: ``not-found``, ``refused-file``.
        MalformedError: in forge.toml, with line or key, or a path that may not be published.
    """
    spec = read_spec(folder)
    found, notices = walk(folder)
    check_paths([check_path(file.path, file.path) for file in found], str(folder))
    require_card(folder, spec, found)
    if spec.kind == POLICY:
        read_policy(folder / POLICY_FILE)
    return Surveyed(spec=spec, found=found, notices=tuple(notices))


def describe(
    surveyed: Surveyed, out: Output, cache: Cache | None = None, hashed: Hashed | None = None
) -> Packed:
    """Hash and cut what was surveyed. ``hashed`` is called by several threads, for each file that
    has a chunk list, as soon as it is known.

    Raises:
        ForgeError: ``changed-while-read``.
    """
    lists: dict[str, Path | bytes] = {}
    with out.progress("hashing", surveyed.total_size) as bar:

        def entry(file: Found) -> FileEntry:
            made, chunks = hash_file(file)
            if chunks is not None:
                kept = lists[chunks.digest] = _kept(chunks, cache)
                if hashed is not None:
                    hashed(made, file.full, kept)
            bar.advance(made.size)
            return made

        # hashlib lets go of the interpreter: two threads hash on two cores.
        with ThreadPoolExecutor(_HASHERS) as pool:
            entries = list(pool.map(entry, sorted(surveyed.found, key=lambda f: -f.info.st_size)))
    return Packed(
        spec=surveyed.spec,
        manifest=build_manifest(surveyed.spec, entries),
        files=surveyed.files,
        lists=lists,
        notices=surveyed.notices,
    )


def _kept(chunks: ChunkList, cache: Cache | None) -> Path | bytes:
    if cache is not None:
        cache.put(chunks.raw)
        if cache.has(chunks.digest, len(chunks.raw)):
            return cache.path(chunks.digest)
    return chunks.raw


def read_spec(folder: Path) -> ComponentSpec:
    """The folder's forge.toml, parsed."""
    if not folder.is_dir():
        raise ForgeError(
            "not-found",
            f"{folder}: no such folder",
            hint="make one: forge init FOLDER --org ORG --name NAME --kind model",
        )
    path = folder / _TOML
    try:
        return parse_forge_toml(_read_plain(path, 1 << 20), str(path))
    except FileNotFoundError:
        raise ForgeError(
            "not-found",
            f"{path}: no such file; every component has one",
            hint=f"make one: forge init {folder} --org ORG --name NAME --kind model",
        ) from None


def read_policy(path: Path) -> Policy:
    """A policy's rules, as publish would read them."""
    try:
        return parse_policy(_read_plain(path, MAX_POLICY_BYTES + 1), str(path))
    except FileNotFoundError:
        raise ForgeError(
            "not-found",
            f"{path}: no such file; a component of kind {POLICY} has its rules there",
            hint="see one: forge init FOLDER --kind policy",
        ) from None


def _read_plain(path: Path, most: int) -> bytes:
    """The first bytes of a regular file, which is not followed to elsewhere."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:
        raise ForgeError("refused-file", f"{path}: expected a regular file") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ForgeError("refused-file", f"{path}: expected a regular file")
        return file.read(most)


def require_card(folder: Path, spec: ComponentSpec, found: list[Found]) -> None:
    """Refuses a card that is not there, in the words of forge.toml, where it is mended."""
    if spec.card is None or any(file.path == spec.card for file in found):
        return
    path = folder / _TOML
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next((n for n, line in enumerate(lines, 1) if re.match(r"\s*card\s*=", line)), 1)
    raise MalformedError(
        f"{path}, line {at}: component.card",
        "a file of the component",
        repr(spec.card),
        f"write {folder / spec.card}, or take the line out",
    )


def walk(folder: Path) -> tuple[list[Found], list[str]]:
    """Every file that will be published, and notices about what will not."""
    found: list[Found] = []
    notices: list[str] = []
    folders = [""]
    while folders:
        prefix = folders.pop()
        empty = True
        for entry in _entries(folder / prefix):
            empty = False
            path = f"{prefix}{entry.name}"
            if not prefix and entry.name.casefold().startswith(".git"):
                notices.append(f"{clean(path)} is left out: top-level .git* is never published")
                continue
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                folders.append(f"{path}/")
                continue
            _require_plain(folder / path, info.st_mode)
            found.append(Found(path=path, full=folder / path, info=info))
        if empty and prefix:
            notices.append(f"{clean(prefix)} is left out: empty folders are not published")
    return found, notices


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from sorted(entries, key=lambda entry: entry.name)


def _require_plain(path: Path, mode: int) -> None:
    from ..tree import _kind

    if not stat.S_ISREG(mode):
        raise ForgeError(
            "refused-file",
            f"{path}: expected a regular file, found {_kind(mode)}",
            hint="a component holds regular files and folders; copy the content in, or remove it",
        )
    if mode & (stat.S_ISUID | stat.S_ISGID):
        raise ForgeError(
            "refused-file",
            f"{path}: expected a plain file, found one that is setuid or setgid",
            hint=f"chmod ug-s {path}",
        )


def hash_file(file: Found) -> tuple[FileEntry, ChunkList | None]:
    """The file's entry, and its chunk list where it is large enough to have one.

    Raises:
        ForgeError: it changed between the walk and the last byte.
    """
    hasher, size = hashlib.sha256(), 0

    def whole(data: memoryview) -> None:
        nonlocal size
        hasher.update(data)
        size += len(data)

    descriptor = os.open(file.full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        chunks = cut(stream, file.info.st_size, whole=whole)
        digest = hasher.hexdigest()
        if size == 0:  # too small to be cut, or empty
            size, digest = hash_stream(stream)
        after = os.fstat(descriptor)
    before = file.info
    same = (before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    if same != (after.st_ino, after.st_size, after.st_mtime_ns, after.st_ctime_ns) or (
        size != before.st_size
    ):
        raise ForgeError(
            "changed-while-read",
            f"{file.full}: changed while it was hashed "
            f"({size_text(before.st_size)} before, {size_text(after.st_size)} after)",
            hint="wait until whatever writes it is done, then run the same command again",
        )
    name = None if chunks is None else chunks.digest
    return FileEntry(path=file.path, size=size, sha256=digest, chunks=name), chunks
