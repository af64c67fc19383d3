"""`forge undeprecate`."""

from __future__ import annotations

import click

from ..context import Context
from ._command import forge_command, key_option
from ._release import parse_releases


@forge_command("undeprecate", signs=True)
@click.argument("releases", metavar="ORG/NAME[==VERSION]")
@key_option
def command(context: Context, releases: str, key: str | None) -> None:
    """Take the advice of `forge deprecate` back; without a version, of all versions."""
    from ..flows.roles import set_deprecation

    name, version = parse_releases(releases)
    changed = set_deprecation(context, name, version, None, key)
    out = context.out
    out.result({"component": str(name), "deprecated": None, "changed": changed})
    if changed:
        out.done(f"{name} {', '.join(changed)}: no longer deprecated")
    else:
        out.done(f"{releases} was not deprecated")
