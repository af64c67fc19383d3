"""`forge finding`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..context import Context
from ..errors import ForgeError, UsageError
from ..output import clean, count_text
from ._command import FILE, forge_command
from ._release import parse_release

if TYPE_CHECKING:
    from packaging.version import Version

    from signing.names import ComponentName

_TYPES = (
    "false-positive", "mitigated", "not-affected", "no-fix-available", "wont-fix", "pending",
)  # fmt: skip
_RELEASE = click.argument("release", metavar="ORG/NAME==VERSION")
_MAX_DOCUMENT = 16 << 20


@click.group("finding")
def command() -> None:
    """See what was found in a release, answer it, and judge answers.

    A finding stays open until a reviewer body verified the publisher's answer that it is a false
    positive, not affected or mitigated, or waived it for a time, or no scan finds it any more.
    """


@forge_command("list")
@_RELEASE
@click.option("--open", "only_open", is_flag=True, help="Only those that nothing settled.")
def list_(context: Context, release: str, only_open: bool) -> None:
    """List what scanners found in a release, and what was answered.

    What is listed is the registry's word; decisions of reviewers are signed.
    """
    from ..remote.api import member

    name, version = parse_release(release)
    answer = _listed(context, name, version)
    out = context.out
    rows = [one for one in member(answer, "findings", list) if one.get("open") or not only_open]
    out.result({**answer, "findings": rows})
    for one in rows:
        waiver = one.get("waiver")
        state = "open" if one.get("open") else "gone" if one.get("gone_at") else "settled"
        if state == "settled" and isinstance(waiver, dict):
            state = "waived"
        out.answer(
            f"{clean(one.get('id'))}  {clean(one.get('severity'))}  {state}  "
            f"{clean(one.get('path'))}  {clean(one.get('title'))}"
        )
        if isinstance(said := one.get("answer"), dict):
            verdict = said.get("verdict")
            judged = (
                f"{clean(verdict)} by {clean(said.get('verdict_body'))}"
                if verdict
                else "not judged"
            )
            then = said.get("verdict_severity")
            if verdict and one.get("open") and then and then != one.get("severity"):
                judged += f" when it was {clean(then)}"
            out.answer(
                f"    answer {clean(said.get('number'))}: {clean(said.get('type'))} ({judged}): "
                f"{clean(said.get('text'))}"
            )
        if isinstance(waiver, dict):
            out.answer(
                f"    waiver {clean(waiver.get('id'))} of {clean(waiver.get('body'))}, until "
                f"{clean(waiver.get('expires'))}: {clean(waiver.get('reason'))}"
            )
    if not rows:
        out.say("no open findings" if only_open else "nothing was found, as far as was looked")


@forge_command("answer")
@_RELEASE
@click.argument("finding", metavar="ID")
@click.option("--type", "type_", type=click.Choice(_TYPES), required=True, help="What it is.")
@click.option("--text", required=True, metavar="TEXT", help="Why; everybody reads it.")
@click.option("--link", "links", multiple=True, metavar="URL", help="Evidence. May be repeated.")
def answer_(
    context: Context, release: str, finding: str, type_: str, text: str, links: tuple[str, ...]
) -> None:
    """Answer a finding as the publisher of the component.

    The newest answer counts, and settles nothing before a reviewer has verified it.
    """
    from ..remote.api import member

    name, version = parse_release(release)
    number = _send(context, name, version, finding, type_, text, links)
    context.out.result({"number": member(number, "number", int), "finding": finding})
    context.out.done(f"answer {member(number, 'number', int)} to {finding}: {type_}")


@forge_command("verify")
@_RELEASE
@click.argument("finding", metavar="ID")
@click.option("--body", required=True, metavar="BODY", help="The reviewer body you speak for.")
@click.option("--answer", "number", type=int, required=True, help="The number of the answer.")
@click.option("--reject", is_flag=True, help="The answer does not hold.")
@click.option("--reason", required=True, metavar="TEXT", help="What you looked at.")
def verify(
    context: Context, release: str, finding: str, body: str, number: int, reject: bool, reason: str
) -> None:
    """Verify or reject the answer to a finding, for a reviewer body.

    Nobody judges answers of an organisation that they or their body belong to.
    """
    name, version = parse_release(release)
    verdict = "rejected" if reject else "verified"
    sent = {"number": number, "body": body, "verdict": verdict, "reason": reason}
    answer = context.api_with_token().post(*_path(name, version), finding, "verdicts", body=sent)
    context.out.result(answer)
    context.out.done(f"answer {number} to {finding}: {verdict}")


@forge_command("export")
@_RELEASE
@click.option(
    "--format", "form", type=click.Choice(("openvex", "cyclonedx")), default="openvex",
    show_default=True, help="OpenVEX 0.2, or CycloneDX 1.6.",
)  # fmt: skip
@click.option("--author", metavar="TEXT", help="Who says it (default: the organisation).")
def export(context: Context, release: str, form: str, author: str | None) -> None:
    """Print what was found and answered as a VEX document.

    Answers that nobody verified are in it as well: they are the publisher's word. OpenVEX wants at
    least one statement: where nothing was found no document is printed, and the exit code is 5.
    """
    from ..remote.api import member
    from ..vex import Release
    from ..vex import export as make

    name, version = parse_release(release)
    answer = _listed(context, name, version)
    found = Release(
        component=str(name),
        version=str(version),
        manifest_sha256=member(answer, "manifest_sha256"),
        findings=member(answer, "findings", list),
    )
    document = make(form, found, author or name.org, context.now)
    context.out.result(document)
    context.out.answer(json.dumps(document, indent=2, ensure_ascii=False))


@forge_command("import")
@_RELEASE
@click.argument("file", type=FILE)
def import_(context: Context, release: str, file: Path) -> None:
    """Answer findings from an OpenVEX or CycloneDX document.

    For the publisher of the release.

    What it says of other products, and of findings that the release has not, is left out.
    """
    from ..remote.api import member
    from ..vex import read

    name, version = parse_release(release)
    if file.stat().st_size > _MAX_DOCUMENT:
        raise UsageError(f"{file}: expected at most {_MAX_DOCUMENT} bytes")
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise ForgeError("malformed", f"{file}: expected JSON, found something else") from None
    answer = _listed(context, name, version)
    known = {one.get("id") for one in member(answer, "findings", list)}
    said = read(document, member(answer, "manifest_sha256"))
    taken = [one for one in said if one.finding in known]
    for one in taken:
        _send(context, name, version, one.finding, one.type, one.text, ())
    out = context.out
    out.result({"answered": [one.finding for one in taken], "unknown": len(said) - len(taken)})
    for one in taken:
        out.answer(f"{clean(one.finding)}  {one.type}")
    if len(said) > len(taken):
        out.warn(f"{len(said) - len(taken)} statements are about nothing that was found here")
    out.done(f"answered {count_text(len(taken), 'finding')}")


def _path(name: ComponentName, version: Version) -> tuple[str, ...]:
    return "components", name.org, name.name, str(version), "findings"


def _listed(context: Context, name: ComponentName, version: Version) -> Any:
    return context.api().get(*_path(name, version))


def _send(
    context: Context,
    name: ComponentName,
    version: Version,
    finding: str,
    type_: str,
    text: str,
    links: tuple[str, ...],
) -> Any:
    body = {"type": type_, "text": text, "links": list(links)}
    return context.api_with_token().post(*_path(name, version), finding, "answers", body=body)


for _each in (list_, answer_, verify, export, import_):
    command.add_command(_each)
