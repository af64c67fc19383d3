"""`forge check`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..output import clean, count_text, size_text
from ._command import FOLDER, forge_command


@forge_command("check", registry=False)
@click.argument("folder", type=FOLDER, default=Path())
@click.option(
    "--waived",
    is_flag=True,
    help="Leave formats that execute code to the registry: it allows them, or a waiver does.",
)
@click.option("--files", "list_files", is_flag=True, help="List what would be published.")
def command(context: Context, folder: Path, waived: bool, list_files: bool) -> None:
    """Check FOLDER as `forge publish` would; nothing is sent."""
    from ..flows.data_only import require_data_only
    from ..flows.pack import pack

    packed = pack(folder, context.out)
    if not waived:
        require_data_only(packed.files)
    manifest, out = packed.manifest, context.out
    notices = list(packed.notices)
    if manifest.kind == "library" and not any(f.path.endswith(".whl") for f in manifest.files):
        notices.append("a library without a wheel (*.whl): installing it installs no Python code")
    out.result(
        {
            "component": str(manifest.component),
            "version": str(manifest.version),
            "kind": manifest.kind,
            "manifest_sha256": manifest.digest,
            "size": manifest.total_size,
            "files": [
                {"path": file.path, "size": file.size, "sha256": file.sha256}
                for file in manifest.files
            ],
            "notices": notices,
        }
    )
    for notice in notices:
        out.warn(notice)
    if list_files:
        out.table(
            [[file.sha256[:12], size_text(file.size), clean(file.path)] for file in manifest.files]
        )
    else:
        out.answer(
            f"{manifest.component} {manifest.version} ({manifest.kind}): "
            f"{count_text(len(manifest.files), 'file')}, {size_text(manifest.total_size)}"
        )
    out.done("nothing here that publish would refuse")
    out.next_step(f"forge publish {folder}")
