"""`forge review approve|reject|renew|withdraw|sign`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import ForgeError, UsageError
from ..output import clean
from ._command import FILE, Function, forge_command
from ._release import parse_release, parse_releases

if TYPE_CHECKING:
    from signing.manifest import Manifest
    from signing.review import Verdict
    from signing.waivers import Waiver

    from ..flows.reviewing import Decided

_SPAN = re.compile(r"([1-9][0-9]{0,3})d")
_NUMBERS = {"reviewed": 2, "approved": 3}


def desk_options(function: Function) -> Function:
    """For which body, with which keys, and where to if others must sign as well."""
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal."),
        click.option("--out", type=FILE, metavar="FILE", help="Where others must sign too."),
        click.option(
            "--key",
            "keys",
            multiple=True,
            metavar="KEY",
            help="A reviewer's key: a name, pkcs11:URI, exec:COMMAND or file. May be repeated.",
        ),
        click.option("--as", "body", metavar="BODY", help="The body that you review for."),
    ):
        function = option(function)
    return function


@forge_command("approve", signs=True)
@click.argument("release", metavar="ORG/NAME==VERSION")
@click.option(
    "--level",
    type=click.Choice(sorted(_NUMBERS, reverse=True)),
    default="reviewed",
    show_default=True,
    help="The most that this decision supports; approved needs two bodies.",
)
@click.option("--conditions", metavar="TEXT", help="Under which conditions it may be used.")
@click.option("--scope", metavar="TEXT", help="What was looked at, and for which use.")
@click.option(
    "--expires", metavar="WHEN", help="A day (2026-12-31) or a span (90d); 180d by default."
)
@click.option("--policy", type=FILE, metavar="FILE", help="What it was held against.")
@click.option("--diff", metavar="SHA256", help="Digest that `forge review diff` printed.")
@desk_options
def approve(
    context: Context,
    release: str,
    level: str,
    conditions: str | None,
    scope: str | None,
    expires: str | None,
    policy: Path | None,
    diff: str | None,
    body: str | None,
    keys: tuple[str, ...],
    out: Path | None,
    yes: bool,
) -> None:
    """Sign that a release passed, for a while.

    It rests on the scans that the registry shows, and on what other bodies decided. The first
    decision makes a release reviewed; a second body's, at level approved, makes it approved.
    """
    from ..flows import reviewing as flow
    from ..flows.review_inputs import diff_input, inputs, policy_input

    name, version = parse_release(release)
    more = () if diff is None else (diff_input(diff),)
    asked = flow.Asked(
        component=name,
        version=version,
        passed=True,
        number=_NUMBERS[level],
        expires=None if expires is None else when(context, expires),
        policy=None if policy is None else policy_input(policy),
        conditions=conditions,
        scope=scope,
        inputs=(*inputs(context, name, version), *more),
    )
    decided = flow.decide(
        context, asked, body=body, references=keys, out=out, confirm=_confirmed(context, yes)
    )
    report(context, decided, f"{name} {version} passed", f"{name}=={version}")


@forge_command("reject", signs=True)
@click.argument("release", metavar="ORG/NAME==VERSION")
@click.option("--reason", required=True, metavar="TEXT", help="Why, shown to everybody.")
@click.option(
    "--expires", metavar="WHEN", help="A day (2026-12-31) or a span (90d); 180d by default."
)
@click.option("--policy", type=FILE, metavar="FILE", help="What it was held against.")
@desk_options
def reject(
    context: Context,
    release: str,
    reason: str,
    expires: str | None,
    policy: Path | None,
    body: str | None,
    keys: tuple[str, ...],
    out: Path | None,
    yes: bool,
) -> None:
    """Sign that a release did not pass, and why.

    While it stands no approval of the release counts.
    """
    from ..flows import reviewing as flow
    from ..flows.review_inputs import inputs, policy_input

    name, version = parse_release(release)
    asked = flow.Asked(
        component=name,
        version=version,
        passed=False,
        expires=None if expires is None else when(context, expires),
        policy=None if policy is None else policy_input(policy),
        reason=reason,
        inputs=inputs(context, name, version),
    )
    decided = flow.decide(
        context, asked, body=body, references=keys, out=out, confirm=_confirmed(context, yes)
    )
    report(context, decided, f"{name} {version} was rejected", f"{name}=={version}")


@forge_command("renew", signs=True)
@click.argument("release", metavar="ORG/NAME==VERSION")
@click.option(
    "--expires", metavar="WHEN", help="A day (2026-12-31) or a span (90d); 180d by default."
)
@click.option(
    "--acknowledge", is_flag=True, help="Also with findings that became known since it was decided."
)
@desk_options
def renew(
    context: Context,
    release: str,
    expires: str | None,
    acknowledge: bool,
    body: str | None,
    keys: tuple[str, ...],
    out: Path | None,
    yes: bool,
) -> None:
    """Say again what your body decided before, with new dates.

    It is the same release, byte for byte; what became known of it since must be acknowledged.
    """
    from ..flows import reviewing as flow
    from ..flows.review_inputs import inputs, new_findings

    name, version = parse_release(release)
    before, at = flow.renewal(context, name, version, body=body, references=keys)
    fresh = new_findings(context, name, version, before.at)
    if fresh and not acknowledge:
        lines = "\n".join(f"  {clean(line)}" for line in fresh)
        raise ForgeError(
            "findings-new",
            f"{name} {version}: findings became known since {before.at:%Y-%m-%d}\n{lines}",
            hint="look at them; then renew with --acknowledge, or decide anew: "
            f"forge review approve|reject {name}=={version}",
        )
    asked = flow.Asked(
        component=name,
        version=version,
        passed=before.passed,
        number=before.number,
        expires=None if expires is None else when(context, expires),
        policy=before.policy,
        conditions=before.conditions,
        scope=before.scope,
        reason=before.reason,
        inputs=inputs(context, name, version),
    )
    decided = flow.decide(
        context, asked, body=at.body, references=keys, out=out, confirm=_confirmed(context, yes)
    )
    report(context, decided, f"{name} {version}: renewed", f"{name}=={version}")


@forge_command("withdraw", signs=True)
@click.argument("release", metavar="ORG/NAME[==VERSION]")
@click.option("--id", "number", metavar="ID", help="An advisory or a waiver about ORG/NAME.")
@desk_options
def withdraw(
    context: Context,
    release: str,
    number: str | None,
    body: str | None,
    keys: tuple[str, ...],
    out: Path | None,
    yes: bool,
) -> None:
    """Take back a decision of your body, or what has an --id.

    From the next look on nobody counts it any more; the public log keeps that it was there.
    """
    from ..flows import reviewing as flow
    from ..flows.waiving import withdraw_id

    if number is None:
        name, version = parse_release(release)
        what = f"decision about {name} {version}"
    else:
        name, _ = parse_releases(release)
        what = f"word {number} about {name}"
    question = f"Withdraw your body's {what}?"
    if context.interactive and not yes and not context.ask(question):
        raise ForgeError("usage", "nothing was withdrawn")
    if number is None:
        decided = flow.withdraw(context, name, version, body=body, references=keys, out=out)
        report(context, decided, f"{name} {version}: withdrawn", f"{name}=={version}")
        return
    decided = withdraw_id(context, name, number, body=body, references=keys, out=out)
    report(context, decided, f"{name}: {number} withdrawn", None)


@forge_command("sign", signs=True)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@desk_options
def sign(
    context: Context,
    file: Path,
    body: str | None,
    keys: tuple[str, ...],
    out: Path | None,
    yes: bool,
) -> None:
    """Sign as well what another reviewer of your body began.

    It is sent when enough reviewers have signed it.

    A waiver is shown first: by signing it you approve it.
    """
    from ..flows.waiving import sign_begun

    def confirm() -> None:
        question = f"Sign {file} for {body or 'your body'}?"
        if context.interactive and not yes and not context.ask(question):
            raise ForgeError("usage", "not signed")

    waiver, decided = sign_begun(
        context, file, keys, out, confirm=waiver_confirmed(context, yes), confirm_role=confirm
    )
    if waiver is None:
        report(context, decided, "complete", None)
    else:
        report(context, decided, f"waiver {waiver.id} holds", None, waiver.expires)


def when(context: Context, text: str) -> datetime:
    """The moment that ``--expires`` names. Raises UsageError."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return context.now.replace(microsecond=0) + timedelta(days=int(span[1]))
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(
            f"--expires: expected a day like 2026-12-31 or a span like 90d, found {text!r}"
        ) from None


def _confirmed(context: Context, yes: bool) -> Callable[[Verdict, Manifest], None]:
    """Shows what is about to be signed, and asks on a terminal."""

    def confirm(verdict: Verdict, manifest: Manifest) -> None:
        from signing.assessment import LEVELS

        say = context.out.say
        say(f"to be signed for {verdict.body}:")
        what = "PASSED" if verdict.passed else "FAILED"
        name = LEVELS[verdict.number - 1]
        level = f", for level {verdict.number} ({name})" if verdict.passed else ""
        say(f"  {what}{level}: {manifest.component} {manifest.version}")
        say(f"  manifest  sha256:{manifest.digest}")
        say(f"  from      {verdict.at:%Y-%m-%d %H:%M} UTC until {verdict.expires:%Y-%m-%d}")
        say(f"  against   {clean(verdict.policy.uri)}")
        for one in verdict.inputs:
            say(f"  rests on  {clean(one.uri)}")
        for title in ("conditions", "scope", "reason"):
            if (text := getattr(verdict, title)) is not None:
                say(f"  {title:<9} {clean(text)}")
        if context.interactive and not yes and not context.ask("Is this what you want to sign?"):
            raise ForgeError("usage", "not signed; nothing was sent")

    return confirm


def waiver_confirmed(context: Context, yes: bool) -> Callable[[Waiver], None]:
    """Shows a waiver that is about to be signed, and asks on a terminal."""

    def confirm(waiver: Waiver) -> None:
        say = context.out.say
        say(f"to be signed for {waiver.body}: waiver {waiver.id}")
        say(f"  component {waiver.component}")
        scope = waiver.versions or f"the release with manifest sha256:{waiver.manifest_sha256}"
        say(f"  for       {scope}")
        for one in waiver.findings:
            say(f"  waives    finding {clean(one)}")
        for one in waiver.formats:
            say(f"  waives    format {one}, which executes code")
        say(f"  severity  {waiver.severity}")
        say(f"  from      {waiver.at:%Y-%m-%d %H:%M} UTC until {waiver.expires:%Y-%m-%d}")
        say(f"  reason    {clean(waiver.reason)}")
        say(f"  author    key {waiver.author[:12]}")
        if context.interactive and not yes and not context.ask("Is this what you want to sign?"):
            raise ForgeError("usage", "not signed; nothing was sent")

    return confirm


def report(
    context: Context,
    decided: Decided,
    done: str,
    release: str | None,
    expires: datetime | None = None,
) -> None:
    """Says what came of it; ``expires`` is when it ends, where that is not in a verdict."""
    out, verdict = context.out, decided.verdict
    if verdict is not None:
        expires = verdict.expires
    out.result(
        {
            "body": decided.body,
            "role_version": decided.version,
            "sent": decided.file is None,
            "file": None if decided.file is None else str(decided.file),
            "missing": decided.missing or None,
            "release": release,
            "passed": None if verdict is None else verdict.passed,
            "level": None if verdict is None or not verdict.passed else verdict.number,
            "expires": None if expires is None else f"{expires:%Y-%m-%dT%H:%M:%SZ}",
            "manifest_sha256": None if verdict is None else verdict.manifest_sha256,
        }
    )
    if decided.file is not None:
        out.done(f"signed, and not enough yet: {decided.missing} must sign as well")
        out.next_step(f"one of them runs: forge review sign {decided.file} --as {decided.body}")
        return
    until = "" if expires is None else f", until {expires:%Y-%m-%d}"
    out.done(f"{done}, by {decided.body}{until}")
    if release is not None:
        out.next_step(f"forge review show {release}")


COMMANDS = (approve, reject, renew, withdraw, sign)
