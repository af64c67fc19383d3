"""How a command is made: the options that all share, and the context as first argument."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar

import click

from ..context import Context
from ..errors import UsageError

Function = Callable[..., int | None]
_Parsed = TypeVar("_Parsed")
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def forge_command(
    name: str, *, registry: bool = True, signs: bool = False, epilog: str | None = None
) -> Callable[[Function], click.Command]:
    """Make ``function(context, **options)`` a command with the shared options.

    ``registry`` adds ``--registry``, ``signs`` the way to pass a passphrase.
    """

    def decorate(function: Function) -> click.Command:
        def run(**options: Any) -> int | None:
            context = Context.create(
                as_json=options.pop("as_json"),
                quiet=options.pop("quiet"),
                registry=options.pop("registry", None),
                passphrase_fd=options.pop("passphrase_fd", None),
            )
            return function(context, **options)

        wrapped: Any = update_wrapper(run, function)
        if signs:
            wrapped = click.option(
                "--passphrase-fd",
                type=int,
                metavar="N",
                help="Read the key's passphrase, or the token's PIN, from file descriptor N.",
            )(wrapped)
        if registry:
            wrapped = click.option("--registry", metavar="URL", help="Talk to this registry.")(
                wrapped
            )
        wrapped = click.option("-q", "--quiet", is_flag=True, help="Print the answer only.")(
            wrapped
        )
        wrapped = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(
            wrapped
        )
        return click.command(name, epilog=epilog)(wrapped)

    return decorate


def parse_option(option: str, parse: Callable[[str, str], _Parsed], text: str) -> _Parsed:
    """``text`` from the command line, read by a parser of `signing`.

    Raises:
        UsageError: it does not have the form; named by the option, with exit code 2.
    """
    from signing.errors import MalformedError

    try:
        return parse(text, option)
    except MalformedError as error:
        hint = error.hint
        if option == "ORG/NAME" and "/" not in text:
            hint = f"find its full name: forge search {text}"
        raise UsageError(error.message, hint=hint) from None


def into_option(function: Function) -> Function:
    """``--into``: the folder that holds forge.lock and forge_components."""
    return click.option(
        "--into",
        type=FOLDER,
        default=Path(),
        metavar="FOLDER",
        help="Folder of forge.lock and forge_components (here by default).",
    )(function)


def key_option(function: Function) -> Function:
    return click.option(
        "--key",
        metavar="KEY",
        help="Sign with this key of `forge key list`, or pkcs11:URI, exec:COMMAND, a .pem file.",
    )(function)
