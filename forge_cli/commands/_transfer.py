"""The options of commands that move files."""

from __future__ import annotations

from functools import update_wrapper
from typing import Any

import click

from ..context import Context
from ._command import Function


def pace_options(function: Function) -> Function:
    """``--max-rate`` and ``--window``; they reach the flow through the context."""

    def run(
        context: Context, *args: Any, max_rate: str | None, window: str | None, **options: Any
    ) -> int | None:
        from ..config import normalise_url
        from ..remote.pace import Window, parse_rate
        from ..transfer import Transfer

        context.transfer = Transfer(
            max_rate=None if max_rate is None else parse_rate(max_rate),
            window=None if window is None else Window.parse(window),
            mirrors=tuple(normalise_url(url) for url in options.pop("mirrors", ())),
        )
        return function(context, *args, **options)

    wrapped: Any = update_wrapper(run, function)
    wrapped = click.option(
        "--window", metavar="HH:MM-HH:MM", help="Move files in these hours only (local time)."
    )(wrapped)
    result: Function = click.option(
        "--max-rate", metavar="RATE", help="At most so many bytes a second: 500k, 2M."
    )(wrapped)
    return result


def download_options(function: Function) -> Function:
    """`pace_options` and ``--mirror``."""
    return click.option(
        "--mirror",
        "mirrors",
        multiple=True,
        metavar="URL",
        help="Fetch files from here first; needs no trust. May be given several times.",
    )(pace_options(function))


def offline_option(function: Function) -> Function:
    """``--offline``; it reaches the flow through the context. Goes below `download_options`."""

    def run(context: Context, *args: Any, offline: bool, **options: Any) -> int | None:
        from ..errors import UsageError

        if offline and context.transfer.mirrors:
            raise UsageError(
                "--offline asks nobody, and --mirror names somebody to ask",
                hint="leave one of them out",
            )
        context.offline = offline
        return function(context, *args, **options)

    result: Function = click.option(
        "--offline",
        is_flag=True,
        help="Ask nobody: use what was verified on this machine, and say how old that is.",
    )(update_wrapper(run, function))
    return result
