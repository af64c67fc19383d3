"""`forge deprecate`."""

from __future__ import annotations

import click

from ..context import Context
from ._command import forge_command, key_option, parse_option
from ._release import parse_releases


@forge_command("deprecate", signs=True)
@click.argument("releases", metavar="ORG/NAME[==VERSION]")
@click.option("--reason", required=True, metavar="TEXT", help="Shown to whoever installs it.")
@click.option("--successor", metavar="ORG/NAME[==VERSION]", help="What to use instead.")
@key_option
def command(
    context: Context, releases: str, reason: str, successor: str | None, key: str | None
) -> None:
    """Advise to use something else; without a version, of all versions that there are.

    They install as before, with a warning, and pages and searches name the successor. A version
    that is published later is not deprecated. To keep ranges from picking one: forge yank.
    """
    from signing.deprecation import Deprecation, parse_successor

    from ..errors import UsageError
    from ..flows.roles import set_deprecation

    if not reason.strip() or len(reason) > 1000:
        raise UsageError("--reason: expected 1 to 1000 characters")
    if successor is not None:
        parse_option("--successor", parse_successor, successor)
    name, version = parse_releases(releases)
    said = Deprecation(reason=reason, successor=successor)
    changed = set_deprecation(context, name, version, said, key)
    out = context.out
    out.result({"component": str(name), "deprecated": said.to_json(), "changed": changed})
    if changed:
        out.done(f"{name} {', '.join(changed)}: deprecated")
    else:
        out.done(f"{releases} was deprecated already")
    out.next_step(f"forge undeprecate {releases}   takes it back")
