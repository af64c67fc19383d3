"""`forge unyank`."""

from __future__ import annotations

import click

from ..context import Context
from ._command import forge_command, key_option
from ._release import parse_release


@forge_command("unyank", signs=True)
@click.argument("release", metavar="ORG/NAME==VERSION")
@key_option
def command(context: Context, release: str, key: str | None) -> None:
    """Let ranges pick a version again."""
    from ..flows.roles import set_yank

    name, version = parse_release(release)
    changed = set_yank(context, name, version, None, key)
    out = context.out
    out.result(
        {"component": str(name), "version": str(version), "yanked": None, "changed": changed}
    )
    out.done(
        f"{name} {version} is no longer yanked" if changed else f"{name} {version} was not yanked"
    )
