"""The commands of `forge authority` that plan a ceremony, and the drill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..context import Context
from ..errors import VERIFICATION
from ._ceremony import dev_option, from_option, output_option, show_words
from ._command import FILE, Function, forge_command

if TYPE_CHECKING:
    from signing.ceremony import Ceremony

OFFLINE = ("root", "targets", "registrar")
FIRST = (*OFFLINE, "status")
ALL = (*FIRST, "snapshot", "timestamp")


def _planned(context: Context, ceremony: Ceremony, path: Path) -> None:
    from ..flows.ceremony import as_json

    context.out.result({"file": str(path), **as_json(ceremony)})
    show_words(context, ceremony, answer=False)
    context.out.answer(ceremony.digest)
    context.out.done(f"the plan is in {path}; nothing is signed yet")
    context.out.next_step(
        "read the digest to every keyholder",
        f"each, on an own machine: forge authority sign {path} --key KEY",
    )


def _who_signs(function: Function) -> Function:
    """``--ROLE-key`` and ``--ROLE-threshold`` for each role that is signed offline."""
    for role in reversed(FIRST):
        required = role == "root"
        unless = "" if required else " (the root's keys unless given)"
        if role == "status":
            unless = " (optional: a status host, away from the server)"
        function = click.option(
            f"--{role}-threshold",
            type=click.IntRange(1),
            metavar="K",
            required=required,
            help=f"How many of them must sign for {role}.",
        )(function)
        function = click.option(
            f"--{role}-key",
            type=FILE,
            multiple=True,
            metavar="FILE",
            required=required,
            help=f"A public key that signs for {role}; repeat it{unless}.",
        )(function)
    return function


@forge_command("plan-first", registry=False)
@_who_signs
@click.option(
    "--online-keys", type=FILE, required=True, help="The server's online-keys.json (public keys)."
)
@dev_option
@output_option
def plan_first(context: Context, online_keys: Path, dev: bool, out: Path, **options: Any) -> None:
    """Plan the first root of an authority: k of n keys."""
    from ..flows import ceremony as flow

    keys = {role: (options[f"{role}_key"], options[f"{role}_threshold"]) for role in FIRST}
    plan = flow.found(context, out, keys=keys, online_keys=online_keys, dev=dev)
    _planned(context, plan, out)


@forge_command("rotate", registry=False)
@click.argument("roles", nargs=-1, required=True, type=click.Choice(ALL), metavar="ROLE...")
@from_option
@click.option("--add", type=FILE, multiple=True, metavar="FILE", help="A public key to add.")
@click.option("--remove", multiple=True, metavar="ID", help="A key to remove, by its id.")
@click.option("--threshold", type=click.IntRange(1), metavar="K", help="How many must sign.")
@click.option("--online-keys", type=FILE, help="The server's fresh keys (forge-server keys new).")
@click.option("--no-status", is_flag=True, help="With status: name no status host any more.")
@dev_option
@output_option
def rotate(
    context: Context,
    roles: tuple[str, ...],
    folder: Path,
    add: tuple[Path, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    online_keys: Path | None,
    no_status: bool,
    dev: bool,
    out: Path,
) -> None:
    """Plan other keys for ROLE.

    ROLE is root, targets, registrar, status, snapshot or timestamp.

    Several roles change in one ceremony when the same keys come and go.
    """
    from ..flows import ceremony as flow

    if len({"snapshot", "timestamp"} & set(roles)) == 1:
        context.out.warn("after a theft replace snapshot and timestamp together")
    edit = flow.Edit(
        add=add,
        remove=remove,
        threshold=threshold,
        online_keys=online_keys,
        no_status=no_status,
    )
    _planned(context, flow.rotate(context, folder, out, roles, edit, dev=dev), out)


@forge_command("renew", registry=False)
@click.argument("roles", nargs=-1, required=True, type=click.Choice(OFFLINE), metavar="ROLE...")
@from_option
@dev_option
@output_option
def renew(context: Context, roles: tuple[str, ...], folder: Path, dev: bool, out: Path) -> None:
    """Plan a fresh expiry for ROLE.

    ROLE is root, targets or registrar.
    """
    from ..flows import ceremony as flow

    _planned(context, flow.renew(context, folder, out, roles, dev=dev), out)


@forge_command("log", registry=False)
@from_option
@click.option("--online-keys", type=FILE, help="The server's online-keys.json, for its log's key.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="A witness; repeat it.")
@click.option("--no-witnesses", is_flag=True, help="Name no witness any more.")
@click.option(
    "--quorum", type=click.IntRange(0), metavar="K", help="How many must cosign (more than half)."
)
@dev_option
@output_option
def name_log(
    context: Context,
    folder: Path,
    online_keys: Path | None,
    witnesses: tuple[str, ...],
    no_witnesses: bool,
    quorum: int | None,
    dev: bool,
    out: Path,
) -> None:
    """Plan which log and witnesses clients require.

    The witnesses given take the place of all that are named now.
    """
    from ..flows import ceremony as flow

    chosen = [] if no_witnesses else list(witnesses) or None
    plan = flow.name_log(
        context,
        folder,
        out,
        online_keys=online_keys,
        witnesses=chosen,
        quorum=quorum,
        dev=dev,
    )
    _planned(context, plan, out)


@forge_command("drill", registry=False, signs=True)
@from_option
@click.option(
    "--key", "references", multiple=True, metavar="KEY", help="A key to try: it signs a rehearsal."
)
@click.option("--lost", multiple=True, metavar="ID", help="A key that is gone, by its id.")
@click.option("--add", type=FILE, multiple=True, metavar="FILE", help="A key in its place.")
@dev_option
@click.option("-o", "--output", "out", type=FILE, help="Write the rotation plan to this file.")
def drill(
    context: Context,
    folder: Path,
    references: tuple[str, ...],
    lost: tuple[str, ...],
    add: tuple[Path, ...],
    dev: bool,
    out: Path | None,
) -> int:
    """Rehearse the loss of keys, and the plan that repairs it."""
    from ..flows import drill as flow

    chain, standings = flow.rehearse(context, folder, references, lost)
    fallen = [one.role for one in standings if not one.stands]
    planned: list[str] = []
    # The root repairs the roles below it, whatever was lost there; nobody repairs the root.
    if out is not None and "root" not in fallen:
        planned = flow.plan_repair(context, chain, standings, add, out, dev=dev)
    context.out.result(
        {
            "stands": not fallen,
            "planned": planned,
            "roles": [
                {
                    "role": one.role,
                    "threshold": one.threshold,
                    "keys": [key.keyid for key in one.keys],
                    "lost": [key.keyid for key in one.lost],
                    "tried": [key.keyid for key in one.tried],
                    "stands": one.stands,
                }
                for one in standings
            ],
        }
    )
    context.out.table(
        [
            [
                one.role,
                f"{one.threshold} of {len(one.keys)}",
                f"{one.remaining} left",
                f"{len(one.tried)} tried and signing",
                "stands" if one.stands else "FALLS",
            ]
            for one in standings
        ]
    )
    if planned:
        context.out.done(f"{out} replaces the lost keys ({', '.join(planned)})")
        context.out.next_step(f"forge authority inspect {out}")
    if fallen:
        context.out.warn(f"{', '.join(fallen)}: fewer keys are left than must sign")
        context.out.say(
            "  without its quorum a root can never be changed again: found a new authority"
            if "root" in fallen
            else "  the root can name others: --lost ID --add FILE -o PLAN"
        )
        return VERIFICATION
    return 0


COMMANDS = (plan_first, rotate, renew, name_log, drill)
