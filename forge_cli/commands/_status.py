"""`forge authority status`: the status host's command."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import ForgeError, UsageError
from ..output import clean
from ._command import FILE, forge_command
from ._release import parse_release

if TYPE_CHECKING:
    from ..flows.status import Said

_SPAN = re.compile(r"([0-9]{1,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _span(text: str | None) -> timedelta | None:
    """``12h``, ``30m``, ``1d``."""
    if text is None:
        return None
    match = _SPAN.fullmatch(text)
    if match is None:
        raise UsageError(f"--if-older-than: expected a span like 12h, 30m or 1d, found {text!r}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@forge_command("status", signs=True)
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="KEY",
    help="A key of the status host: pkcs11:URI, exec:COMMAND, name or file. May be repeated.",
)
@click.option(
    "--quarantine", multiple=True, metavar="RELEASE", help="Withhold ORG/NAME==VERSION for now."
)
@click.option("--lift", multiple=True, metavar="RELEASE", help="Lift the quarantine of a release.")
@click.option("--revoke", multiple=True, metavar="RELEASE", help="Withhold a release for good.")
@click.option("--reason", metavar="TEXT", help="Why, shown to everybody who asks for the release.")
@click.option(
    "--if-older-than",
    metavar="SPAN",
    help="Sign nothing while the last statement is younger (12h, 30m) and nothing changes.",
)
@click.option(
    "--from", "file", type=FILE, metavar="FILE", help="Sign the statement that another began."
)
@click.option("--out", type=FILE, metavar="FILE", help="Where others must sign: write it here.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
def status(
    context: Context,
    keys: tuple[str, ...],
    quarantine: tuple[str, ...],
    lift: tuple[str, ...],
    revoke: tuple[str, ...],
    reason: str | None,
    if_older_than: str | None,
    file: Path | None,
    out: Path | None,
    yes: bool,
) -> None:
    """Check the registry, and sign what was seen for 48 hours.

    Run it from a timer on a machine that is not the server. What is withheld stays withheld until
    it is lifted; what is revoked stays so for good.
    """
    from ..flows import status as flow

    edit = flow.Edit(
        quarantine=tuple(map(parse_release, quarantine)),
        revoke=tuple(map(parse_release, revoke)),
        lift=tuple(map(parse_release, lift)),
        reason=reason,
    )
    if file is not None and (not edit.is_empty or reason or if_older_than):
        raise UsageError("--from goes with --key, --out and --yes only: the file says the rest")
    asks = context.interactive and not yes
    if file is not None:
        for line in flow.describe_file(context, file) or ["nothing new is withheld or lifted"]:
            context.out.say(f"  {clean(line)}")
        if asks and not context.ask("Is this what you want to sign?"):
            raise ForgeError("usage", "not signed")
        _report(context, flow.sign_file(context, file, keys, out))
        return
    if revoke and asks and not context.ask(f"Revoke {', '.join(revoke)} for good?"):
        raise ForgeError("usage", "not revoked; nothing was sent")
    said = flow.say(context, keys, edit, if_older_than=_span(if_older_than), out=out)
    _report(context, said)


def _report(context: Context, said: Said) -> None:
    from signing.status import summary

    out, status = context.out, said.status
    out.result(
        {
            "version": said.version,
            "expires": f"{said.expires:%Y-%m-%dT%H:%M:%SZ}",
            **status.to_json(),
            "changes": list(said.changes),
            "renewed": said.renewed,
            "sent": said.sent,
            "file": None if said.file is None else str(said.file),
            "missing": said.missing or None,
        }
    )
    out.answer(f"status {said.version}")
    for line in said.changes:
        out.say(f"  {clean(line)}")
    if said.file is not None:
        out.done(f"{said.file} waits for a signature by: {said.missing}")
        out.next_step(
            f"carry it to a holder of one: forge authority status --from {said.file} --key KEY"
        )
        return
    seen = f"snapshot {status.snapshot.version}"
    if status.log is not None:
        seen += f", {status.log.size} leaves of {status.log.origin}"
    until = f"{said.expires:%Y-%m-%d %H:%M} UTC"
    if not said.renewed:
        out.done(f"young enough: it lasts until {until}; {summary(status.withheld)}")
        return
    out.done(f"signed what was seen ({seen}) until {until}; {summary(status.withheld)}")
