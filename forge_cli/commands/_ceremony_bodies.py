"""`forge authority reviewers`: which bodies review, and with which keys."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..output import clean
from ._ceremony import dev_option, from_option, output_option
from ._ceremony_plans import _planned
from ._command import FILE, forge_command


@click.group("reviewers")
def command() -> None:
    """Name reviewer bodies: clients take their word."""


@forge_command("add", registry=False)
@click.argument("body")
@from_option
@click.option(
    "--key",
    "keys",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="A reviewer's public key to add; repeat it.",
)
@click.option("--remove", multiple=True, metavar="ID", help="A key to take away, by its id.")
@click.option(
    "--threshold",
    type=click.IntRange(1),
    metavar="K",
    help="How many reviewers must sign (1 for a new body).",
)
@click.option("--display-name", metavar="TEXT", help="Its name for people.")
@click.option(
    "--belongs-to",
    multiple=True,
    metavar="ORG",
    help="An organisation whose releases it never reviews; repeat it.",
)
@dev_option
@output_option
def add(
    context: Context,
    body: str,
    folder: Path,
    keys: tuple[Path, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    display_name: str | None,
    belongs_to: tuple[str, ...],
    dev: bool,
    out: Path,
) -> None:
    """Plan that BODY reviews, or that other keys of it do.

    What a key signed that is taken away stops counting as soon as the plan is carried out.
    """
    from ..flows import ceremony as flow

    edit = flow.BodyEdit(
        add=keys,
        remove=remove,
        threshold=threshold,
        title=display_name,
        belongs_to=belongs_to or None,
    )
    _planned(context, flow.name_body(context, folder, out, body, edit, dev=dev), out)


@forge_command("remove", registry=False)
@click.argument("body")
@from_option
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="ID",
    help="The key to take away, by its id; repeat it.",
)
@click.option(
    "--replace",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="A public key in its place: a body keeps at least one.",
)
@dev_option
@output_option
def remove(
    context: Context,
    body: str,
    folder: Path,
    keys: tuple[str, ...],
    replace: tuple[Path, ...],
    dev: bool,
    out: Path,
) -> None:
    """Plan that a reviewer's key of BODY counts no more.

    For a key that was lost, or a reviewer who left.

    What it signed stops counting as soon as the plan is carried out, and the body decides anew.
    """
    from ..flows import ceremony as flow

    edit = flow.BodyEdit(add=replace, remove=keys)
    _planned(context, flow.name_body(context, folder, out, body, edit, dev=dev), out)


@forge_command("list", registry=False)
@from_option
def list_(context: Context, folder: Path) -> None:
    """List the bodies that the authority names, and their keys."""
    from ..flows import ceremony as flow

    named = flow.bodies_named(folder)
    context.out.result(
        {
            "bodies": [
                {
                    "body": body,
                    "display_name": each.body.display_name if each.body else body,
                    "organisations": sorted(each.body.organisations) if each.body else [],
                    "threshold": each.threshold,
                    "keys": [key.keyid for key in each.keys],
                }
                for body, each in named.items()
            ]
        }
    )
    for body, each in named.items():
        title = clean(each.body.display_name) if each.body else ""
        context.out.answer(f"{body}  {title}  {each.threshold} of {len(each.keys)} key(s)")
        for key in each.keys:
            context.out.answer(f"  {key.keyid}")
    if not named:
        context.out.done("no reviewer body is named")
        context.out.next_step("forge authority reviewers add BODY --key FILE --from FOLDER -o PLAN")


command.add_command(add)
command.add_command(remove)
command.add_command(list_)
