"""`forge publish`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..output import clean, count_text, size_text
from ._command import FOLDER, forge_command, key_option
from ._transfer import pace_options


@forge_command("publish", signs=True)
@click.argument("folder", type=FOLDER, default=Path())
@click.option("-n", "--dry-run", is_flag=True, help="Do everything but send.")
@click.option(
    "--waived",
    is_flag=True,
    help="Leave formats that execute code to the registry: it allows them, or a waiver does.",
)
@pace_options
@key_option
def command(context: Context, folder: Path, dry_run: bool, waived: bool, key: str | None) -> None:
    """Sign the component in FOLDER and publish it.

    The release is visible only when every file is there and every signature was checked.
    Publishing the same content again is a success that changes nothing.
    """
    from ..flows.publish import publish
    from ..flows.renew import warn_expiring
    from ..flows.signers import short

    done = publish(context, folder, key=key, dry_run=dry_run, waived=waived)
    manifest, out = done.packed.manifest, context.out
    out.result(
        {
            "component": str(manifest.component),
            "version": str(manifest.version),
            "manifest_sha256": manifest.digest,
            "state": "already-published" if done.already else "dry-run" if dry_run else "published",
            "signed_by": done.signed_by.keyid if done.signed_by else None,
            "files": len(manifest.files),
            "size": manifest.total_size,
            "uploaded_bytes": done.uploaded_bytes,
            "reused_bytes": done.reused_bytes,
            "receipt": done.receipt or None,
        }
    )
    name = f"{manifest.component}=={manifest.version}"
    out.answer(f"{name} sha256:{manifest.digest}")
    if done.already or done.signed_by is None:
        out.done(f"{name} is published already, with this very content")
        return
    if done.newer is not None:
        out.warn(f"{manifest.version} is below {done.newer}, which stays what is installed")
    if dry_run:
        out.done(f"{name} would be published, signed by key {short(done.signed_by)}")
        if done.new_project:
            out.say(f"  {manifest.component} would be new in its organisation")
        out.next_step(f"forge publish {folder}")
        return
    out.done(f"published {name}, signed by key {short(done.signed_by)}")
    sent = f"{count_text(done.uploaded, 'file')}, {size_text(done.uploaded_bytes)} sent"
    if done.reused_bytes:
        sent += f" ({size_text(done.reused_bytes)} taken from the last version)"
    receipt = done.receipt
    out.say(
        f"  {sent}; index version {clean(receipt.get('role_version'))}, "
        f"at {clean(receipt.get('published_at'))}"
    )
    out.say("  fetched back and verified from the pinned root")
    org, project = manifest.component.org, manifest.component.role
    warn_expiring(context, but=(project, org) if done.new_project else (project,))
    out.next_step(f"forge verify {name}", f"forge install {name} --into out")
