"""`forge yank`."""

from __future__ import annotations

import click

from ..context import Context
from ._command import forge_command, key_option, parse_option
from ._release import parse_release


@forge_command("yank", signs=True)
@click.argument("release", metavar="ORG/NAME==VERSION")
@click.option("--reason", required=True, metavar="TEXT", help="Shown to whoever asks for it.")
@click.option("--successor", metavar="ORG/NAME[==VERSION]", help="What to use instead.")
@key_option
def command(
    context: Context, release: str, reason: str, successor: str | None, key: str | None
) -> None:
    """Keep ranges from picking a version.

    It stays there: locks that name it go on working, and `==` still gets it, with a warning.
    """
    from signing.deprecation import parse_successor

    from ..errors import UsageError
    from ..flows.roles import set_yank

    if not reason.strip() or len(reason) > 1000:
        raise UsageError("--reason: expected 1 to 1000 characters")
    if successor is not None:
        parse_option("--successor", parse_successor, successor)
    name, version = parse_release(release)
    changed = set_yank(context, name, version, reason, key, successor)
    out = context.out
    out.result(
        {
            "component": str(name),
            "version": str(version),
            "yanked": reason,
            "successor": successor,
            "changed": changed,
        }
    )
    out.done(f"{name} {version} is yanked" if changed else f"{name} {version} was yanked already")
    out.next_step(f"forge unyank {name}=={version}   takes it back")
