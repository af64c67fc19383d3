"""`forge review waive|advise`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signing.digests import parse_digest
from signing.formats import FORMATS
from signing.names import ComponentName, parse_version
from signing.policy import SEVERITIES

from ..context import Context
from ..errors import ForgeError, UsageError
from ..output import clean
from ._command import forge_command
from ._review_decide import desk_options, report, waiver_confirmed, when

if TYPE_CHECKING:
    from signing.advisories import Advisory

_SEVERITIES = SEVERITIES[1:]  # without "none", which is a policy's


@forge_command("waive", signs=True)
@click.argument("component", metavar="ORG/NAME")
@click.option("--id", "number", required=True, metavar="ID", help="Of your body: LAB-2026-0001.")
@click.option(
    "--finding", "findings", multiple=True, metavar="ID",
    help="A finding, as `forge review show` names it. May be repeated.",
)  # fmt: skip
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS),
    help="A format that executes code, to be published nonetheless. May be repeated.",
)  # fmt: skip
@click.option("--versions", metavar="RANGE", help="Of these versions, like '>=1,<2'.")
@click.option("--digest", metavar="SHA256", help="Of the one release with this manifest.")
@click.option(
    "--severity", required=True, type=click.Choice(_SEVERITIES),
    help="Of the gravest that it waives; what is graver stays open.",
)  # fmt: skip
@click.option("--reason", required=True, metavar="TEXT", help="Why, shown to everybody.")
@click.option(
    "--expires", required=True, metavar="WHEN",
    help="A day (2026-12-31) or a span (60d): at most 180 days, 90 from high on.",
)  # fmt: skip
@desk_options
def waive(
    context: Context,
    component: str,
    number: str,
    findings: tuple[str, ...],
    formats: tuple[str, ...],
    versions: str | None,
    digest: str | None,
    severity: str,
    reason: str,
    expires: str,
    body: str | None,
    keys: tuple[str, ...],
    out: Path | None,
    yes: bool,
) -> None:
    """Begin a waiver: for a time, a finding does not count.

    It is written to a file for another reviewer of your body, who approves it: forge review sign.
    No body waives anything of its own organisations.
    """
    from ..flows.waiving import AskedWaiver, waive

    if not findings and not formats:
        raise UsageError("what is waived? --finding ID or --format FORMAT")
    if (versions is None) == (digest is None):
        raise UsageError("of which releases? either --versions RANGE or --digest SHA256")
    manifest = None
    if digest is not None:
        manifest = parse_digest(digest.removeprefix("sha256:"), "--digest")
    asked = AskedWaiver(
        component=ComponentName.parse(component),
        id=number,
        versions=versions,
        manifest_sha256=manifest,
        findings=findings,
        formats=formats,
        severity=severity,
        reason=reason,
        expires=when(context, expires),
    )
    begun = waive(
        context, asked, body=body, references=keys, out=out, confirm=waiver_confirmed(context, yes)
    )
    context.out.result(
        {
            "body": begun.waiver.body,
            "id": begun.waiver.id,
            "component": component,
            "expires": f"{begun.waiver.expires:%Y-%m-%dT%H:%M:%SZ}",
            "sent": False,
            "file": str(begun.file),
            "missing": begun.missing,
        }
    )
    context.out.done(f"signed, and not enough yet: {begun.missing} must approve it")
    context.out.next_step(
        f"one of them runs: forge review sign {begun.file} --as {begun.waiver.body}"
    )


@forge_command("advise", signs=True)
@click.argument("component", metavar="ORG/NAME")
@click.option("--id", "number", required=True, metavar="ID", help="Of your body: LAB-2026-0001.")
@click.option(
    "--versions", required=True, multiple=True, metavar="VERSION",
    help="A published version that is affected. May be repeated.",
)  # fmt: skip
@click.option("--severity", required=True, type=click.Choice(_SEVERITIES), help="How grave it is.")
@click.option("--title", required=True, metavar="TEXT", help="What it is, in one line.")
@click.option("--text", required=True, metavar="TEXT", help="What was found, and what to do.")
@desk_options
def advise(
    context: Context,
    component: str,
    number: str,
    versions: tuple[str, ...],
    severity: str,
    title: str,
    text: str,
    body: str | None,
    keys: tuple[str, ...],
    out: Path | None,
    yes: bool,
) -> None:
    """Sign what your body found out about published versions.

    Nobody can hide it. If it is critical, no approval from before counts for them any more.
    """
    from ..flows.waiving import advise

    name = ComponentName.parse(component)
    advisory, decided = advise(
        context,
        name,
        [parse_version(each, "--versions") for each in dict.fromkeys(versions)],
        {"id": number, "severity": severity, "title": title, "text": text},
        body=body,
        references=keys,
        out=out,
        confirm=_confirmed(context, yes),
    )
    shown = next(iter(advisory.releases))
    report(context, decided, f"{name}: {number} stands", f"{name}=={shown}")


def _confirmed(context: Context, yes: bool) -> Callable[[Advisory], None]:
    def confirm(advisory: Advisory) -> None:
        say = context.out.say
        say(f"to be signed for {advisory.body}: advisory {advisory.id}, {advisory.severity}")
        for version, digest in advisory.releases.items():
            say(f"  affects   {advisory.component} {version}, manifest sha256:{digest}")
        say(f"  title     {clean(advisory.title)}")
        say(f"  text      {clean(advisory.text)}")
        if context.interactive and not yes and not context.ask("Is this what you want to sign?"):
            raise ForgeError("usage", "not signed; nothing was sent")

    return confirm


COMMANDS = (waive, advise)
