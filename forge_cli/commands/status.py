"""`forge status`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click

from ..context import Context
from ..errors import ERROR, OK, POLICY, ForgeError
from ._auditing import audit_json, exit_code, say_age, show_audit, summary
from ._command import FOLDER, forge_command


@forge_command("status")
@click.argument("folders", nargs=-1, type=FOLDER, metavar="[FOLDER]...")
@click.option("--offline", is_flag=True, help="Ask nothing: say what was known here last.")
@click.option(
    "--watch",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="Look again and again, and print what has changed, until interrupted.",
)
def command(context: Context, folders: tuple[Path, ...], offline: bool, watch: int | None) -> int:
    """Say in short what of yours must be stopped, replaced or looked at.

    Yours is what was installed into FOLDER, or with none into any folder on this machine. Exit
    code 7 when something must be stopped, or a policy does not permit it; 1 when a folder could
    not be looked at.
    """
    if watch is None:
        return look(context, folders, offline=offline)[0]
    return keep_watching(context, folders, watch, offline=offline)


def look(
    context: Context, folders: tuple[Path, ...], *, offline: bool, before: str | None = None
) -> tuple[int, str]:
    """One look; prints nothing where it says the same as ``before``. Returns the exit code and
    what it says."""
    from signing.errors import SigningError

    from ..flows.audit import audit
    from ..flows.folders import known_folders

    out = context.out
    wanted = list(folders) or known_folders(context)
    audits, failures = [], []
    for folder in wanted:
        try:
            audits.append(audit(context, folder, offline=offline))
        except (ForgeError, SigningError) as error:
            if len(wanted) == 1:
                raise
            failures.append(f"{folder}: {error.message}")
    said = repr([(each.path, [*each.all_issues()]) for each in audits] + failures)
    code = exit_code(audits) or (ERROR if failures else OK)
    if said == before:
        return code, said
    out.result(
        {
            "permits": code == OK,
            "folders": [audit_json(each) for each in audits],
            "failures": failures,
        }
    )
    for each in audits:
        out.answer(f"{each.path}  {summary(each)}")
        show_audit(context, each, all_releases=False)
    for failure in failures:
        out.warn(failure)
    if audits:
        say_age(context, audits[0])
    elif not failures:
        out.say("nothing was installed on this machine yet")
    if code == POLICY:
        out.next_step("forge audit FOLDER   says more", "forge install --upgrade --into FOLDER")
    return code, said


def keep_watching(
    context: Context,
    folders: tuple[Path, ...],
    seconds: int,
    *,
    offline: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """`look` every ``seconds``, each time with the clock and the registry as they are then."""
    from signing.errors import SigningError

    said: str | None = None
    while True:
        try:
            _, said = look(context.anew(), folders, offline=offline, before=said)
        except (ForgeError, SigningError) as error:
            # It may be the network, or somebody installing at this moment: the next look tells.
            context.out.warn(error.message)
        sleep(seconds)
