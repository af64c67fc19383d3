"""`forge init`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from ..context import Context
from ..errors import UsageError
from ._command import FOLDER, forge_command, parse_option

_OPTION_OF = {
    "version": "--version",
    "license": "--license",
    "languages": "--language",
    "summary": "--summary",
}
_KINDS = ("model", "library", "dataset", "prompt", "policy")


@forge_command("init", registry=False)
@click.argument("folder", type=FOLDER)
@click.option("--org", metavar="ORG", help="The organisation that publishes it.")
@click.option("--name", metavar="NAME", help="Its name (the folder's name by default).")
@click.option("--kind", type=click.Choice(_KINDS), help="What it is.")
@click.option("--version", default="1.0.0", show_default=True, metavar="VERSION", help="PEP 440.")
@click.option("--summary", metavar="TEXT", help="One line that says what it does.")
@click.option(
    "--license", default="Apache-2.0", show_default=True, metavar="SPDX", help="SPDX expression."
)
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Repeatable.")
def command(
    context: Context,
    folder: Path,
    org: str | None,
    name: str | None,
    kind: str | None,
    version: str,
    summary: str | None,
    license: str,
    languages: tuple[str, ...],
) -> None:
    """Make FOLDER a component: a forge.toml with comments, and a card.

    It publishes as it is, together with whatever you put into it.
    """
    from signing.errors import MalformedError
    from signing.names import ComponentName, parse_org_name, parse_project_name

    from ..flows.scaffold import Scaffold, scaffold

    org = parse_option("--org", parse_org_name, org or _ask(context, "Organisation", "--org"))
    name = parse_option("--name", parse_project_name, name or folder.absolute().name)
    kind = kind or _ask(context, f"Kind ({', '.join(_KINDS)})", "--kind")
    if kind not in _KINDS:
        raise UsageError(f"--kind: expected one of {', '.join(_KINDS)}, found {kind!r}")
    wanted = Scaffold(
        component=ComponentName(org, name),
        kind=kind,
        version=version,
        summary=summary,
        license=license,
        languages=languages,
    )
    try:
        written = scaffold(folder, wanted)
    except MalformedError as error:
        field = re.split(r"[.\[]", error.where.partition("component.")[2])[0]
        if field not in _OPTION_OF:
            raise
        text = f"{_OPTION_OF[field]}: expected {error.expected}, found {error.found}"
        raise UsageError(text, hint=error.hint) from None
    out = context.out
    out.result(
        {
            "component": str(wanted.component),
            "version": version,
            "files": [str(path) for path in written],
        }
    )
    for path in written:
        out.answer(str(path))
    out.done(f"{folder} is the component {wanted.component} {version}")
    out.next_step(
        f"put your files into {folder} and describe them in its README.md",
        f"forge check {folder}",
        f"forge publish {folder}",
    )


def _ask(context: Context, question: str, option: str) -> str:
    if not context.interactive:
        raise UsageError(f"{option} is needed, and there is no terminal to ask on")
    context.out.stderr.write(f"{question}: ")
    context.out.stderr.flush()
    return sys.stdin.readline().strip()
