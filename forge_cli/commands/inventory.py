"""`forge inventory`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..errors import ForgeError
from ..output import clean, count_text
from ._command import FILE, forge_command, parse_option

_OFF = "nothing is told: forge inventory on --organisation ORG --label HOST"


@click.group("inventory")
def command() -> None:
    """Tell your agency's list what this host has installed.

    Nothing is kept or sent until you say `on`. Then each `forge install` and `forge sync` tells the
    registry component, version and digest of what is in the folders of this account, under the
    label that you choose. Members of your organisation see it; others only count it, in a recall.
    """


@forge_command("on")
@click.option("--organisation", required=True, metavar="ORG", help="Your agency.")
@click.option("--label", "host", required=True, metavar="HOST", help="A name for this host.")
@click.option(
    "--token-file", type=FILE, metavar="FILE",
    help="A token with the action inventory (default: one is made with your own).",
)  # fmt: skip
def on(context: Context, organisation: str, host: str, token_file: Path | None) -> None:
    """Tell from now on, beginning with what is remembered."""
    from signing.names import parse_org_name

    from ..flows.inventory import choose

    parse_option("--organisation", parse_org_name, organisation)
    token = None if token_file is None else token_file.read_text(encoding="ascii").strip()
    choice = choose(context, organisation, host, token)
    context.out.result(
        {"organisation": choice.organisation, "host": choice.host, "registry": choice.registry}
    )
    context.out.done(f"{host} tells {organisation} what it installs, at {choice.registry}")
    context.out.say("  what was installed before is told by the next forge sync in its folder")


@forge_command("off")
def off(context: Context) -> None:
    """Take this host off the list, and tell nothing any more."""
    from ..flows.inventory import stop

    choice = stop(context)
    context.out.result({"host": None if choice is None else choice.host})
    if choice is None:
        context.out.done("nothing was told")
    else:
        context.out.done(f"{choice.host} is off the list of {choice.organisation}")
        context.out.next_step("forge token list   shows the token that it used, to be revoked")


@forge_command("show")
def show(context: Context) -> None:
    """Show what this host tells, and to whom."""
    from ..inventory import Inventory

    inventory = Inventory.of(context.places)
    choice = inventory.choice()
    out = context.out
    if choice is None:
        out.result({"organisation": None, "host": None, "installed": []})
        out.answer(_OFF)
        return
    installed = inventory.installed()
    out.result({"organisation": choice.organisation, "host": choice.host, "installed": installed})
    out.answer(f"{choice.host} tells {choice.organisation}, at {choice.registry}:")
    out.table(
        [[f"{one['component']}=={one['version']}", f"sha256:{one['manifest_sha256']}"]
         for one in installed],
        indent="  ",
    )  # fmt: skip


@forge_command("send")
def send(context: Context) -> None:
    """Tell now."""
    from ..flows.inventory import send as tell
    from ..inventory import Inventory

    inventory = Inventory.of(context.places)
    choice = inventory.choice()
    if choice is None:
        raise ForgeError("not-found", "this host tells nothing", hint=_OFF)
    installed = inventory.installed()
    recalled = tell(context, choice, installed)
    context.out.result({"installed": len(installed), "recalled": recalled})
    context.out.done(f"told {count_text(len(installed), 'release')}, {recalled} of them recalled")


@forge_command("hosts")
@click.option("--organisation", required=True, metavar="ORG", help="Your agency.")
def hosts(context: Context, organisation: str) -> None:
    """List the hosts of your organisation and what they have."""
    from ..remote.api import member

    answer = context.api_with_token().get("inventory", organisation)
    found = member(answer, "hosts", list)
    out = context.out
    out.result(answer)
    for one in found:
        out.answer(f"{clean(one.get('host'))}  told {clean(one.get('reported_at'))}")
        for held in one.get("installed") or ():
            out.answer(f"  {clean(held.get('component'))}=={clean(held.get('version'))}")
    if not found:
        out.say(f"no host of {organisation} tells anything")


for _each in (on, off, show, send, hosts):
    command.add_command(_each)
