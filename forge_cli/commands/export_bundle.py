"""`forge export-bundle`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..output import count_text, size_text
from ._command import FOLDER, forge_command


@forge_command("export-bundle")
@click.argument("requirement", metavar="ORG/NAME[==VERSION]")
@click.option("--into", type=FOLDER, required=True, metavar="FOLDER", help="A new folder.")
def command(context: Context, requirement: str, into: Path) -> None:
    """Write a release with all that an outsider needs to verify it.

    The files, the signature (OpenSSF Model Signing), the publisher's public key and the
    manifest; tools that we did not write can check them.
    """
    from signing.names import Requirement

    from ..flows.export import export_bundle

    done = export_bundle(context, Requirement.parse(requirement), into)
    out, manifest = context.out, done.manifest
    out.result(
        {
            "component": str(manifest.component),
            "version": str(manifest.version),
            "manifest_sha256": manifest.digest,
            "into": str(into),
            "keyid": done.keyid,
            "files": len(manifest.files),
        }
    )
    out.answer(str(into))
    out.done(
        f"verified and wrote {manifest.component} {manifest.version}: "
        f"{count_text(len(manifest.files), 'file')}, {size_text(manifest.total_size)}"
    )
    out.next_step(
        f"model_signing verify key {into}/files --signature {into}/release.sigstore.json "
        f"--public_key {into}/publisher.pem",
        f"forge verify {into}   (without a network; --fingerprint where nothing is pinned)",
    )
