"""`verify_offline`: a folder, a bundle and a key, with no registry and no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import shown
from .keys import PublicKey
from .manifest import FileEntry, Manifest, parse_manifest
from .oms import Bundle, verify_bundle
from .report import NotAtHand, Report, Step, run_steps
from .updates import check_same_files, check_tree


@dataclass(kw_only=True)
class _Offline:
    bundle_bytes: bytes
    key: PublicKey
    observed: Mapping[str, FileEntry]
    manifest_bytes: bytes | None
    bundle: Bundle | None = None
    manifest: Manifest | None = None


def verify_offline(
    bundle: bytes, key: PublicKey, observed: Mapping[str, FileEntry], manifest: bytes | None
) -> Report:
    """Goes through what can be checked with the files, a bundle and a public key alone.

    The report's release is None where no ``manifest`` was handed in.
    """
    procedure = _Offline(bundle_bytes=bundle, key=key, observed=observed, manifest_bytes=manifest)
    checks = run_steps(_STEPS, procedure)
    return Report(checks=checks, release=procedure.manifest)


def _check_signature(p: _Offline) -> str:
    p.bundle = verify_bundle(p.bundle_bytes, [p.key])
    return (
        f"{len(p.bundle.resources)} files, named {shown(p.bundle.subject_name)}, "
        f"signed by key {p.key.keyid[:12]}"
    )


def _check_files(p: _Offline) -> str:
    signed = p.bundle.resources if p.bundle is not None else {}
    check_tree(signed, {path: entry.sha256 for path, entry in p.observed.items()}, "file")
    return f"{len(signed)} files, none missing, none extra"


def _check_manifest(p: _Offline) -> str:
    if p.manifest_bytes is None or p.bundle is None:
        raise NotAtHand("no manifest.json was given")
    manifest = parse_manifest(p.manifest_bytes)
    check_same_files(p.bundle, manifest)
    p.manifest = manifest
    return f"{manifest}, manifest sha256:{manifest.digest}"


_STEPS: tuple[Step[_Offline], ...] = (
    Step(
        "signature",
        _check_signature,
        "this key signed exactly this list of files (OpenSSF Model Signing)",
        "whose key it is: compare it with the organisation over another channel",
    ),
    Step(
        "files",
        _check_files,
        "the files here are the signed ones, byte for byte, with none missing and none added",
        "that they do no harm",
    ),
    Step(
        "manifest",
        _check_manifest,
        "the manifest lists the same files",
        "its name and version: only the registry's signed index binds those",
    ),
)
