"""Signing wheels and sdists so that twine or uv publish can send them.

The release is the one that `forge publish` would make of a folder with `forge.toml`, its card and
the files in it. What it would send is written beside each file instead; the registry publishes when
the last of them has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from signing.component import ComponentSpec
from signing.keys import PublicKey
from signing.manifest import Manifest, build_manifest
from signing.signed_upload import SUFFIX, attestation_of

from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from . import along
from .pack import Found, Packed, hash_file, read_spec, require_card
from .publish import sign_offer

_MOST_ALONG = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDist:
    """``written`` beside each file; ``signed_by`` None when the release is published already."""

    manifest: Manifest
    signed_by: PublicKey | None
    written: Sequence[Path]


def sign_dist(
    context: Context, files: Sequence[Path], folder: Path, *, key: str | None
) -> SignedDist:
    """Signs ``files`` as the release that ``folder``/forge.toml describes.

    Raises:
        UsageError: not wheels and sdists, or of another version than forge.toml says.
        ForgeError, SigningError: as `forge publish`.
    """
    spec = read_spec(folder)
    found = [_found(path) for path in _distributions(files, spec)] + _beside(folder, spec)
    require_card(folder, spec, found)
    entries = []
    for file in found:
        entry, _ = hash_file(file)  # without its chunks: these clients send files whole
        entries.append(replace(entry, chunks=None))
    packed = Packed(
        spec=spec,
        manifest=build_manifest(spec, entries),
        files={file.path: file.full for file in found},
        lists={},
        notices=(),
    )
    signed = sign_offer(context, packed, key=key)
    written = []
    if signed is not None:
        carried = {file.path for file in found if file.path.endswith((".toml", ".md"))}
        data = attestation_of({**signed.body, "files": _along(packed, carried)})
        for path in _distributions(files, spec):
            target = path.with_name(f"{path.name}{SUFFIX}")
            write_private(target, data, mode=0o644)
            written.append(target)
    return SignedDist(
        manifest=packed.manifest,
        signed_by=None if signed is None else signed.signed_by,
        written=written,
    )


def _along(packed: Packed, paths: set[str]) -> dict[str, Any]:
    files = {
        entry.sha256: packed.files[entry.path].read_bytes()
        for entry in packed.manifest.files
        if entry.path in paths
    }
    if (size := sum(map(len, files.values()))) > _MOST_ALONG:
        raise ForgeError(
            "refused-file",
            f"forge.toml and its cards: expected at most {_MOST_ALONG} bytes, found {size}",
            hint="publish with: forge publish FOLDER",
        )
    return along.encoded(files)


def _distributions(files: Sequence[Path], spec: ComponentSpec) -> list[Path]:
    """The wheels and sdists among ``files``; what an earlier run wrote beside them is passed over.

    Raises:
        UsageError: something else, or of another version.
    """
    chosen = [path for path in files if not path.name.endswith(SUFFIX)]
    if not chosen:
        raise UsageError("expected wheels or sdists (dist/*), found none")
    for path in chosen:
        version = _version_of(path)
        if version != spec.version:
            raise UsageError(
                f"{path}: expected version {spec.version}, as forge.toml says, found {version}",
                hint="a release is one version: correct forge.toml, or name the right files",
            )
    if spec.kind != "library":
        raise UsageError(f"forge.toml: expected kind library, found {spec.kind}")
    return chosen


def _version_of(path: Path) -> Version:
    try:
        if path.name.endswith(".whl"):
            return parse_wheel_filename(path.name)[1]
        if path.name.endswith(".tar.gz"):
            return parse_sdist_filename(path.name)[1]
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise UsageError(f"{path}: {error}") from None
    raise UsageError(f"{path}: expected a wheel or an sdist (.tar.gz), found another file")


def _beside(folder: Path, spec: ComponentSpec) -> list[Found]:
    """forge.toml, and the card with its translations (README.ar.md for README.md)."""
    paths = [folder / "forge.toml"]
    if spec.card is not None:
        card = folder / spec.card
        paths += [card, *sorted(card.parent.glob(f"{card.stem}.*{card.suffix}"))]
    return [_found(path, folder) for path in dict.fromkeys(paths) if path.is_file()]


def _found(path: Path, folder: Path | None = None) -> Found:
    if not path.is_file() or path.is_symlink():
        raise ForgeError("refused-file", f"{path}: expected a regular file")
    name = path.name if folder is None else path.relative_to(folder).as_posix()
    return Found(path=name, full=path, info=path.stat())
