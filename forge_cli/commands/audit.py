"""`forge audit`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ._auditing import audit_json, exit_code, say_age, show_audit, summary, write_sarif
from ._command import FILE, forge_command


@forge_command("audit")
@click.argument("target", type=click.Path(path_type=Path), default=Path(), metavar="[LOCK|FOLDER]")
@click.option("--offline", is_flag=True, help="Ask nothing: say what was known here last.")
@click.option("--sarif", type=FILE, metavar="FILE", help="Write a SARIF 2.1.0 log as well.")
def command(context: Context, target: Path, offline: bool, sarif: Path | None) -> int:
    """Say what speaks against the components of a forge.lock or folder.

    Yanked, quarantined, revoked or deprecated; not permitted by a pinned policy; reviews that
    expired or were taken back; open findings; newer versions; rules that were put aside. Exit
    code 7 when something must be stopped, or a policy does not permit it.
    """
    from ..flows.audit import audit

    found = audit(context, target, offline=offline)
    if sarif is not None:
        write_sarif(sarif, [found])
    context.out.result(audit_json(found))
    show_audit(context, found, all_releases=True)
    say_age(context, found)
    if found.policies:
        context.out.say(f"held to {', '.join(found.policies)}")
    context.out.say(f"{context.out.paint('✓' if found.permits else '✗', 'bold')} {summary(found)}")
    return exit_code([found])
