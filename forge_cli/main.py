"""The entry point, and the only place that ends the process.

Whatever a command raises becomes one message (what, expected, found, what to do) and one exit
code; nobody is shown a traceback unless they set ``FORGE_DEBUG=1``.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

import click

from signing.left_out import leave_out

from . import __version__, errors
from .lazy import LazyGroup
from .output import Output

_CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "auto_envvar_prefix": None,
}


@click.command(
    cls=LazyGroup,
    context_settings=_CONTEXT,
    epilog="`forge COMMAND --help` says more. Every command takes --json.",
)
@click.version_option(__version__, prog_name="forge", message="%(prog)s %(version)s")
def cli() -> None:
    """Publish, verify and install signed components."""


def main() -> None:
    """What the console script calls."""
    leave_out()
    # Text of publishers may hold anything; a terminal in another encoding shows escapes.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    _flush()
    if code == errors.INTERRUPTED and threading.active_count() > 1:
        # A worker may be stuck in a silent connection. What it has written is safe to leave.
        os._exit(code)
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    out = Output.standard(as_json="--json" in args)
    try:
        code = cli.main(args=list(args), prog_name="forge", standalone_mode=False)
        return code if isinstance(code, int) else errors.OK
    except click.Abort:  # Click has ended the line already
        out.say("interrupted; the same command again continues where it stopped")
        return errors.INTERRUPTED
    except click.ClickException as error:
        return _usage(out, error)
    except (SystemExit, BrokenPipeError):
        # Whoever read our output went away (`forge list | head`); SystemExit is Click's word.
        return errors.OK
    except Exception as error:
        return _failed(out, error)


def _usage(out: Output, error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        out.say(error.format_message())
        return errors.USAGE
    context = getattr(error, "ctx", None)
    hint = f"see `{context.command_path} --help`" if context is not None else None
    message = error.format_message().replace("\t", "  ")  # Click sets choices off with a tab
    out.fail(errors.Failure(code="usage", exit_code=errors.USAGE, message=message, hint=hint))
    return errors.USAGE


def _failed(out: Output, error: Exception) -> int:
    if os.environ.get("FORGE_DEBUG"):
        import traceback

        traceback.print_exc()
    failure = errors.describe(error)
    out.fail(failure)
    return failure.exit_code


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        # Nobody reads any more; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
