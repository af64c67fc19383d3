"""``manifest.json``: everything about one release in one deterministic file.

Its SHA-256 is the identity of the release. So it has exactly one encoding (`canonical_json`,
files sorted by path), and a manifest that is not in that encoding is refused: otherwise one
release would have several identities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from packaging.version import Version

from .component import FILE_NAME, KINDS, ComponentSpec, parse_metadata
from .digests import parse_digest, sha256_hex
from .encoding import Fields, canonical_json, parse_json
from .errors import MalformedError
from .names import ComponentName, parse_org_name, parse_project_name, parse_version
from .paths import check_path, check_paths

SCHEMA = 1
FILE = "manifest.json"
MAX_FILES = 100_000
MAX_FILE_BYTES = 2**43  # 8 TiB: far beyond the largest model, far below 2^53
MAX_MANIFEST_BYTES = 48 * 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """One file: its path, size in bytes and SHA-256.

    ``chunks`` names, by digest, a blob listing the digests of the file's chunks; None where the
    file is transferred whole.
    """

    path: str
    size: int
    sha256: str
    chunks: str | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"path": self.path, "size": self.size, "sha256": self.sha256}
        if self.chunks is not None:
            value["chunks"] = self.chunks
        return value


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A checked manifest. ``raw`` is the exact bytes that were signed; ``files`` sorted by path."""

    component: ComponentName
    version: Version
    kind: str
    metadata: dict[str, Any]
    files: tuple[FileEntry, ...]
    raw: bytes

    @cached_property
    def digest(self) -> str:
        """The identity of the release."""
        return sha256_hex(self.raw)

    @cached_property
    def by_path(self) -> dict[str, FileEntry]:
        return {entry.path: entry for entry in self.files}

    @property
    def requires(self) -> dict[str, str]:
        """``{"org/name": "range"}``, sorted by name."""
        requires: dict[str, str] = self.metadata["requires"]
        return requires

    @property
    def total_size(self) -> int:
        """The bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def blobs(self) -> dict[str, int]:
        """``{digest: size in bytes}`` of every distinct file content."""
        return {entry.sha256: entry.size for entry in self.files}

    def __str__(self) -> str:
        return f"{self.component}=={self.version}"


def build_manifest(spec: ComponentSpec, files: Iterable[FileEntry]) -> Manifest:
    """The manifest of a release of ``spec`` made of ``files``, in any order.

    Raises:
        MalformedError: no files, too many, an unsafe path, two paths for one place, no
            ``forge.toml`` among them, or a card that is not there.
    """
    value = {
        "schema": SCHEMA,
        "org": spec.component.org,
        "name": spec.component.name,
        "version": str(spec.version),
        "kind": spec.kind,
        "metadata": spec.metadata(),
        "files": [entry.to_json() for entry in sorted(files, key=lambda entry: entry.path)],
    }
    return parse_manifest(canonical_json(value))


def parse_manifest(data: bytes) -> Manifest:
    """Reads and checks ``data``. Only `MalformedError` comes out, with the path to the field."""
    value = parse_json(data, FILE, max_bytes=MAX_MANIFEST_BYTES)
    document = Fields.of(value, FILE).only(
        ("schema", "org", "name", "version", "kind", "metadata", "files")
    )
    if document.integer("schema") != SCHEMA:
        raise MalformedError(
            f"{FILE}: schema",
            str(SCHEMA),
            document.integer("schema"),
            "a newer forge client may know it",
        )
    component = ComponentName(
        parse_org_name(document.text("org"), f"{FILE}: org"),
        parse_project_name(document.text("name"), f"{FILE}: name"),
    )
    kind = document.text("kind")
    if kind not in KINDS:
        raise MalformedError(f"{FILE}: kind", f"one of {', '.join(KINDS)}", kind)
    metadata = document.object("metadata")
    parse_metadata(metadata, component)
    files = _parse_files(document)
    card = metadata.optional_text("card")
    if card is not None and card not in {entry.path for entry in files}:
        raise MalformedError(f"{FILE}: metadata.card", "a file of the component", repr(card))
    if data != canonical_json(value):
        raise MalformedError(FILE, "the canonical encoding (sorted keys, no spaces)", "another")
    return Manifest(
        component=component,
        version=parse_version(document.text("version"), f"{FILE}: version"),
        kind=kind,
        metadata=dict(metadata.value),
        files=files,
        raw=data,
    )


def _parse_files(document: Fields) -> tuple[FileEntry, ...]:
    items = document.items("files")
    if not 1 <= len(items) <= MAX_FILES:
        raise MalformedError(f"{FILE}: files", f"1 to {MAX_FILES} files", len(items))
    files = tuple(_parse_entry(item, f"{FILE}: files[{n}]") for n, item in enumerate(items))
    paths = [entry.path for entry in files]
    if any(first >= second for first, second in pairwise(paths)):
        raise MalformedError(f"{FILE}: files", "each path once, sorted by code point", "others")
    check_paths(paths, f"{FILE}: files")
    _check_sizes(files)
    if FILE_NAME not in paths:
        raise MalformedError(f"{FILE}: files", f"a {FILE_NAME} among them", "none")
    return files


def _check_sizes(files: tuple[FileEntry, ...]) -> None:
    """Refuses one digest with two sizes: at most one of them can be true."""
    sizes: dict[str, int] = {}
    for number, entry in enumerate(files):
        if sizes.setdefault(entry.sha256, entry.size) != entry.size:
            where = f"{FILE}: files[{number}].size"
            raise MalformedError(where, f"{sizes[entry.sha256]}, as elsewhere", entry.size)


def _parse_entry(item: Any, where: str) -> FileEntry:
    fields = Fields.of(item, where).only(("path", "size", "sha256"), optional=["chunks"])
    size = fields.integer("size")
    if size > MAX_FILE_BYTES:
        raise MalformedError(f"{where}.size", f"at most {MAX_FILE_BYTES} bytes", size)
    chunks = fields.optional_text("chunks")
    return FileEntry(
        path=check_path(fields.text("path"), f"{where}.path"),
        size=size,
        sha256=parse_digest(fields.text("sha256"), f"{where}.sha256"),
        chunks=None if chunks is None else parse_digest(chunks, f"{where}.chunks"),
    )
