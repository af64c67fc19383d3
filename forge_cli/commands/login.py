"""`forge login`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..errors import UsageError
from ..output import clean
from ._command import forge_command

_ACTIONS = ("read", "publish", "manage", "inventory")


@forge_command("login", registry=False)
@click.argument("url", required=False)
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
@click.option("--device", is_flag=True, help="Have the login approved on another machine.")
@click.option(
    "--action",
    "actions",
    type=click.Choice(_ACTIONS),
    multiple=True,
    default=("read", "publish"),
    show_default=True,
    help="What the token of such a login allows; repeatable.",
)
@click.option("--approve", metavar="CODE", help="Approve the login that shows this code.")
@click.option("--refuse", metavar="CODE", help="Refuse the login that shows this code.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
def command(
    context: Context,
    url: str | None,
    fingerprint: str | None,
    token_file: Path | None,
    device: bool,
    actions: tuple[str, ...],
    approve: str | None,
    refuse: str | None,
    yes: bool,
) -> None:
    """Trust the registry at URL and keep an access token for it.

    The root's fingerprint is what makes everything else verifiable: get it from the operator,
    not from the registry. Without a terminal nothing is asked: give --fingerprint and
    --token-file.

    With --device no token is needed here: a code is shown, and somebody who is logged in elsewhere
    approves it with --approve CODE, or on the registry's page. Without URL the registry is the one
    of the settings.
    """
    if url is not None:
        context.use(url)
    code = approve if approve is not None else refuse
    if code is not None:
        if (approve and refuse) or fingerprint or token_file or device:
            raise UsageError("--approve or --refuse goes with URL and --yes, and nothing else")
        return _decide(context, code, approve=approve is not None, yes=yes)
    if device and token_file is not None:
        raise UsageError("--device is for machines without a token: not with --token-file")
    _login(context, fingerprint, token_file, device=device, actions=actions)


def _decide(context: Context, code: str, *, approve: bool, yes: bool) -> None:
    from ..flows.device_login import decide_login

    answer = decide_login(context, code, approve=approve, yes=yes)
    context.out.result(answer)
    shown = clean(answer.get("user_code"))
    if approve:
        context.out.done(f"login {shown} is approved; its token is {answer.get('token_name')!r}")
        context.out.say("  to take it back: forge token list, forge token revoke ID")
    else:
        context.out.done(f"login {shown} is refused")


def _login(
    context: Context,
    fingerprint: str | None,
    token_file: Path | None,
    *,
    device: bool,
    actions: tuple[str, ...],
) -> None:
    from ..flows.login import login

    answer = login(
        context, context.url, fingerprint, token_file, device=device, actions=actions
    )  # fmt: skip
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
