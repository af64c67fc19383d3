"""`forge resign`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import UsageError
from ..output import count_text
from ._command import forge_command, key_option

if TYPE_CHECKING:
    from signing.roles import IndexEntry


@forge_command("resign", signs=True)
@click.argument("requirement", metavar="ORG/NAME[==VERSION]")
@click.option("-y", "--yes", is_flag=True, help="Sign every release that a revoked key signed.")
@key_option
def command(context: Context, requirement: str, yes: bool, key: str | None) -> None:
    """Sign releases again that a revoked key signed; their files and identity stay the same.

    The index is signed anew as well, which is all that is needed after publishers were replaced.
    Every file is fetched and compared with the manifest first: look at what you sign.
    """
    from signing.names import Requirement, parse_version

    from ..flows.resign import resign

    wanted = Requirement.parse(requirement)
    pinned = list(wanted.specifier)
    if len(pinned) > 1 or any(one.operator != "==" or "*" in one.version for one in pinned):
        raise UsageError(f"{requirement!r}: expected ORG/NAME or ORG/NAME==VERSION")
    version = parse_version(pinned[0].version) if pinned else None

    def agree(entries: Sequence[IndexEntry]) -> bool:
        context.out.say("a revoked key signed these; whoever has it may have added some:")
        for entry in entries:
            name = f"{wanted.component}=={entry.version}"
            context.out.say(f"  {name}  sha256:{entry.manifest_sha256}")
        return yes or context.ask("Are all of them yours?")

    done = resign(context, wanted.component, version, key, agree=agree)
    context.out.result(
        {
            "component": str(done.component),
            "versions": list(done.versions),
            "signed_by": done.keyid,
        }
    )
    for number in done.versions:
        context.out.answer(f"{done.component}=={number}")
    context.out.done(
        f"signed the index of {done.component} and {count_text(len(done.versions), 'release')} "
        f"with key {done.keyid[:12]}"
    )
