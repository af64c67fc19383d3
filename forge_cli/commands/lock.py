"""`forge lock`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..output import count_text
from ._command import forge_command, into_option, parse_option
from ._permission import explain as show_rules
from ._permission import explain_option, override_options, permission_json
from ._transfer import offline_option


@forge_command("lock")
@click.argument("requirements", nargs=-1, metavar="ORG/NAME[RANGE]...")
@into_option
@click.option("-U", "--upgrade", is_flag=True, help="Take newer versions than the locked ones.")
@override_options
@explain_option
@offline_option
def command(
    context: Context,
    requirements: tuple[str, ...],
    into: Path,
    upgrade: bool,
    overrides: tuple[str, ...],
    reason: str | None,
    explain: bool,
) -> None:
    """Resolve requirements and write forge.lock, without fetching any file."""
    from signing.names import Requirement

    from ..flows.installed import Site
    from ..flows.locking import settle_lock
    from ..flows.permission import open_gate, parse_overrides, warn_overrides
    from ..lockfile import write_lock

    wanted = [parse_option("ORG/NAME", Requirement.parse, text) for text in requirements]
    site = Site(into)
    aside = parse_overrides(overrides, reason, (requirement.component for requirement in wanted))
    lock = settle_lock(context, wanted, site, locked_only=False, upgrade=upgrade, overrides=aside)
    changed = write_lock(site.lock_path, lock)
    out, gate = context.out, open_gate(context, site.into)
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
            "permission": permission_json(gate, lock.components),
        }
    )
    if explain:
        show_rules(context, gate, lock.components)
    warn_overrides(context, lock.components)
    out.table([[str(c.component), str(c.version)] for c in lock.components])
    what = f"{site.lock_path}: {count_text(len(lock.components), 'component')}"
    out.done(f"wrote {what}" if changed else f"{what}, unchanged")
    if context.offline:
        out.say("nobody was asked (offline): it is the newest of what was verified on this machine")
    out.next_step(f"forge sync --into {into}" + (" --offline" if context.offline else ""))
