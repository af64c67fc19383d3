"""`forge lock`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..output import count_text
from ._command import forge_command, into_option


@forge_command("lock")
@click.argument("requirements", nargs=-1, metavar="ORG/NAME[RANGE]...")
@into_option
@click.option("-U", "--upgrade", is_flag=True, help="Take newer versions than the locked ones.")
def command(context: Context, requirements: tuple[str, ...], into: Path, upgrade: bool) -> None:
    """Resolve requirements and write forge.lock, without fetching any file."""
    from signing.names import Requirement

    from ..flows.install import settle_lock
    from ..flows.installed import Site
    from ..lockfile import write_lock

    wanted = [Requirement.parse(text) for text in requirements]
    site = Site(into)
    lock = settle_lock(context, wanted, site, locked_only=False, upgrade=upgrade)
    changed = write_lock(site.lock_path, lock)
    out = context.out
    out.result(
        {
            "lock": str(site.lock_path),
            "changed": changed,
            "components": [
                {
                    "component": str(component.component),
                    "version": str(component.version),
                    "manifest_sha256": component.manifest_sha256,
                }
                for component in lock.components
            ],
        }
    )
    out.table([[str(c.component), str(c.version)] for c in lock.components])
    what = f"{site.lock_path}: {count_text(len(lock.components), 'component')}"
    out.done(f"wrote {what}" if changed else f"{what}, unchanged")
    out.next_step(f"forge sync --into {into}")
