"""`forge report`."""

from __future__ import annotations

import click

from ..context import Context
from ._command import forge_command
from ._release import parse_release

_KINDS = ("malware", "licence", "privacy", "broken", "other")


@forge_command("report")
@click.argument("release", metavar="ORG/NAME==VERSION")
@click.option("--kind", type=click.Choice(_KINDS), required=True, help="What is wrong.")
@click.option("--text", required=True, metavar="TEXT", help="What you saw, and how to see it.")
def command(context: Context, release: str, kind: str, text: str) -> None:
    """Tell the registry that a release should not be used.

    Anybody may, a few times an hour without an account. The operators read every report; those by
    members of two other organisations hold the release back until they have. The publisher is told
    of the hold and not of who reported. A weakness that others must not learn of yet goes to the
    security contact instead.
    """
    from ..remote.api import member

    name, version = parse_release(release)
    body = {"component": str(name), "version": str(version), "kind": kind, "text": text}
    answer = context.api().post("reports", body=body)
    number = member(answer, "number", int)
    out = context.out
    out.result(answer)
    if answer.get("held"):
        out.done(f"report {number}: {name} {version} is held back until it was looked into")
    elif answer.get("closed"):
        out.done(f"report {number} was looked into already")
    elif answer.get("created"):
        out.done(f"report {number}: the operators will look into it")
    else:
        out.done(f"report {number} was made already")
