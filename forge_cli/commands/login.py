"""`forge login`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..output import clean
from ._command import forge_command


@forge_command("login", registry=False)
@click.argument("url")
@click.option(
    "--fingerprint",
    metavar="SHA256",
    help="The fingerprint of the registry's root, from its operator.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Read the access token from this file (- for standard input).",
)
def command(context: Context, url: str, fingerprint: str | None, token_file: Path | None) -> None:
    """Trust the registry at URL and keep an access token for it.

    The root's fingerprint is what makes everything else verifiable: get it from the operator,
    not from the registry. Without a terminal nothing is asked: give --fingerprint and
    --token-file.
    """
    from ..flows.login import login

    answer = login(context, url, fingerprint, token_file)
    user = clean(answer.get("user"))
    out = context.out
    out.result(
        {
            "registry": context.url,
            "user": answer.get("user"),
            "fingerprint": context.trust.pins()[context.url],
        }
    )
    out.done(f"logged in to {context.url} as {user}")
    out.say(f"  root {context.trust.pins()[context.url]}")
    if not context.keys.names():
        out.next_step("forge key new   (the key that you sign with)")
    elif not answer.get("organisations"):
        out.next_step("forge org create NAME --kind startup --display-name 'Your name'")
    else:
        out.next_step("forge init FOLDER --org ORG --name NAME --kind model")
