"""Writing a release out for somebody who has none of our tools.

<into>/files/…                  the signed files, exactly
<into>/release.sigstore.json    the publisher's signature (OpenSSF Model Signing)
<into>/publisher.pem            the public key that the registry lists for the publisher
<into>/manifest.json            name, version and file list; its sha256 is the identity
<into>/evidence.json            the chain from the root, for `forge verify` elsewhere
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from signing.manifest import Manifest
from signing.names import Requirement
from signing.oms import verify_bundle
from signing.verify import verify_release

from ..border import sound
from ..context import Context
from ..errors import ForgeError
from ..files import write_private
from .choosing import choose, download_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Where it was written; ``keyid`` is the publisher's key."""

    into: Path
    manifest: Manifest
    keyid: str


def export_bundle(context: Context, requirement: Requirement, into: Path) -> Exported:
    """Fetch, verify and write one release.

    Raises:
        ForgeError: ``already-exists`` when ``into`` is there and not empty.
    """
    if into.exists() and any(into.iterdir()):
        raise ForgeError(
            "already-exists", f"{into}: not empty", hint="choose another folder with --into"
        )
    view, name = context.view, requirement.component
    entry = choose(view, requirement)
    evidence = view.evidence(name, entry, reviews=True)

    def report(observed: bool, manifest: Manifest | None = None) -> Manifest:
        files = {file.path: file for file in manifest.files} if manifest else None
        toml = manifest.by_path["forge.toml"] if manifest else None
        with sound(f"{name} {entry.version}"):
            return verify_release(
                evidence,
                name,
                entry.version,
                fingerprint=context.pin.fingerprint,
                now=context.now,
                observed=files if observed else None,
                forge_toml=context.cache.read(toml.sha256, toml.size) if toml else None,
                witnesses=view.witnesses,
            ).require()

    manifest = report(observed=False)
    download_files(context, view.url, manifest)
    report(observed=True, manifest=manifest)
    state = view.require(name)
    keys = state.delegation.keys if state.delegation is not None else ()
    publisher = verify_bundle(evidence.bundle, keys).key
    for file in manifest.files:
        target = into / "files" / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copies, not links: what is handed to others must not share bytes with our cache.
        shutil.copyfile(context.cache.path(file.sha256), target)
        os.chmod(target, 0o644)
    for filename, data in (
        ("release.sigstore.json", evidence.bundle),
        ("publisher.pem", publisher.pem),
        ("manifest.json", evidence.manifest),
        ("evidence.json", evidence.to_json()),
    ):
        write_private(into / filename, data, mode=0o644)
    os.chmod(into, 0o755)  # noqa: S103  # made to be handed to others
    return Exported(into=into, manifest=manifest, keyid=publisher.keyid)
