"""`forge review queue|claim|show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..context import Context
from ..output import clean, size_text
from ._command import forge_command
from ._release import parse_release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.advisories import Advisory
    from signing.assessment import Assessment
    from signing.waivers import Waiver


@forge_command("queue")
@click.option("--expiring", is_flag=True, help="Only what ends soon.")
def queue(context: Context, expiring: bool) -> None:
    """List what waits for a reviewer, and what ends soon.

    The list is the registry's own; what counts is in the signed roles: forge review show.
    """
    from ..flows.review_inputs import rows

    api = context.api()
    waiting = [] if expiring else rows(api.get("reviews", "queue"), "queue")
    soon = api.get("reviews", "expiring")
    ending, waivers, roles = (rows(soon, each) for each in ("expiring", "waivers", "roles"))
    context.out.result({"queue": waiting, "expiring": ending, "waivers": waivers, "roles": roles})
    for row in waiting:
        claim = row.get("claimed_by")
        taken = f"  (claimed by {clean(str(claim))})" if claim else ""
        context.out.answer(
            f"{_release(row)}  {clean(str(row.get('level', 'community')))}"
            f"  {clean(str(row.get('why', '')))}{taken}".rstrip()
        )
    for row in ending:
        context.out.answer(
            f"{_release(row)}  the decision of {clean(str(row.get('body')))} ends "
            f"{clean(str(row.get('expires')))}"
        )
    for row in waivers:
        context.out.answer(
            f"{clean(str(row.get('component')))}  the waiver {clean(str(row.get('id')))} of "
            f"{clean(str(row.get('body')))} ends {clean(str(row.get('expires')))}"
        )
    for row in roles:
        context.out.answer(
            f"{clean(str(row.get('body')))}  nothing it signed counts from "
            f"{clean(str(row.get('expires')))} on: it renews by whatever it signs"
        )
    if not any((waiting, ending, waivers, roles)):
        context.out.done("nothing waits")
    elif waiting:
        context.out.next_step(f"forge review show {_release(waiting[0])}")


def _release(row: dict[str, Any]) -> str:
    return clean(f"{row.get('component')}=={row.get('version')}")


@forge_command("claim")
@click.argument("release", metavar="ORG/NAME==VERSION")
@click.option("--as", "body", required=True, metavar="BODY", help="The body that you review for.")
@click.option(
    "--hours", type=click.IntRange(1, 168), default=24, show_default=True, help="For how long."
)
@click.option("--release", "give_up", is_flag=True, help="Give the claim up.")
def claim(context: Context, release: str, body: str, hours: int, give_up: bool) -> None:
    """Say that you look at a release, so that nobody does it twice.

    It is visible to all reviewers and ends by itself.
    """
    name, version = parse_release(release)
    answer = context.api_with_token().post(
        "reviews",
        "claims",
        body={
            "component": str(name),
            "version": str(version),
            "body": body,
            "hours": 0 if give_up else hours,
        },
    )
    context.out.result(answer)
    if give_up:
        context.out.done(f"{name} {version} is free again")
        return
    context.out.done(f"{name} {version} is yours for {hours} hours")
    context.out.next_step(f"forge review show {name}=={version}")


@forge_command("show")
@click.argument("release", metavar="ORG/NAME==VERSION")
def show(context: Context, release: str) -> None:
    """Show a release: signatures, scans, findings, decisions.

    Decisions, advisories and waivers are verified here, from the authority's root. Scans and
    findings are the registry's own word.
    """
    from ..flows.choosing import verified_manifest
    from ..flows.review_inputs import ask, rows
    from ..flows.reviewing import assessment, release_of
    from ..flows.waiving import words

    name, version = parse_release(release)
    entry = release_of(context.view, name, version)
    manifest = verified_manifest(context, name, entry)
    found = assessment(context.view, name, version)
    advisories, waivers = words(context.view, name, entry)
    scans = rows(ask(context, name, version, "scans"), "scans")
    findings = rows(ask(context, name, version, "findings"), "findings")
    risk = (manifest.metadata.get("risk") or {}).get("class")
    out = context.out
    out.result(
        {
            "component": str(name),
            "version": str(version),
            "manifest_sha256": manifest.digest,
            "kind": manifest.kind,
            "license": manifest.metadata["license"],
            "risk_class": risk,
            "level": found.level,
            "until": None if found.until is None else f"{found.until:%Y-%m-%dT%H:%M:%SZ}",
            "rejected_by": list(found.rejected_by),
            "decisions": [_decision(one) for one in found.standing],
            "lapsed": [
                {"body": one.body, "code": one.code, "why": one.why} for one in found.lapsed
            ],
            "advisories": [_advisory(one) for one in advisories],
            "waivers": [_waiver(one) for one in waivers],
            "scans": scans,
            "findings": findings,
        }
    )
    out.answer(f"{name} {version}  {manifest.kind}, {manifest.metadata['license']}")
    out.answer(f"  manifest  sha256:{manifest.digest}")
    out.answer(f"  files     {len(manifest.files)}, {size_text(manifest.total_size)}")
    out.answer(f"  risk      {risk or 'not stated by the publisher'}")
    out.answer(f"  level     {clean(found.summary().split('; ')[0])}")
    _show_decisions(context, found)
    _show_words(context, advisories, waivers)
    _show_scans(context, scans)
    _show_findings(context, findings)
    out.next_step(f"forge review diff {name}=={version}")


def _show_decisions(context: Context, found: Assessment) -> None:
    for one in found.standing:
        what = f"passed, level {one.number}" if one.passed else "REJECTED"
        context.out.answer(
            f"  decision  {one.body}: {what}, {one.at:%Y-%m-%d} until {one.expires:%Y-%m-%d}, "
            f"key {one.keyid[:12]}"
        )
        for title in ("conditions", "scope", "reason"):
            if (text := getattr(one, title)) is not None:
                context.out.answer(f"            {title}: {clean(text)}")
    for lapse in found.lapsed:
        context.out.answer(f"  lapsed    {clean(lapse.body)}: {clean(lapse.why)}")


def _show_words(
    context: Context, advisories: Sequence[Advisory], waivers: Sequence[Waiver]
) -> None:
    for said in advisories:
        context.out.answer(
            f"  advisory  {said.body}: {said.severity}: {clean(said.title)}  ({said.id})"
        )
        context.out.answer(f"            {clean(said.text)}")
    for one in waivers:
        what = ", ".join(clean(each) for each in (*one.findings, *one.formats))
        context.out.answer(
            f"  waiver    {one.body}: {what}, {one.at:%Y-%m-%d} until {one.expires:%Y-%m-%d}  "
            f"({one.id})"
        )
        context.out.answer(f"            reason: {clean(one.reason)}")


def _show_scans(context: Context, scans: list[dict[str, Any]]) -> None:
    if not scans:
        context.out.answer("  scans     none shown by the registry")
    idle: dict[str, list[str]] = {}
    for row in scans:
        tool = clean(f"{row.get('scanner')} {row.get('scanner_version') or ''}".rstrip())
        if row.get("state") == "not-scanned":
            idle.setdefault(clean(str(row.get("detail") or "")), []).append(tool)
            continue
        date = row.get("data_date")
        context.out.answer(
            f"  scan      {tool}: {clean(str(row.get('state')))}"
            + (f", data of {clean(str(date))}" if date else "")
        )
    for why, tools in idle.items():
        context.out.answer(
            f"  scan      not-scanned{f' ({why})' if why else ''}: {', '.join(tools)}"
        )


def _show_findings(context: Context, findings: list[dict[str, Any]]) -> None:
    for row in findings:
        answer = row.get("answer")
        said = answer.get("type") if isinstance(answer, dict) else None
        context.out.answer(
            f"  finding   {clean(str(row.get('severity')))}: {clean(str(row.get('title')))}  "
            f"({clean(str(row.get('id')))}"
            + (f"; {clean(str(said))}" if said else "; not answered")
            + ("; waived)" if row.get("waived") else ")")
        )


def _decision(one: Any) -> dict[str, Any]:
    return {
        "body": one.body,
        "passed": one.passed,
        "level": one.number if one.passed else None,
        "at": f"{one.at:%Y-%m-%dT%H:%M:%SZ}",
        "expires": f"{one.expires:%Y-%m-%dT%H:%M:%SZ}",
        "keyid": one.keyid,
        "conditions": one.conditions,
        "scope": one.scope,
        "reason": one.reason,
        "sha256": one.sha256,
        "inputs": list(one.inputs),
    }


def _advisory(one: Advisory) -> dict[str, Any]:
    return {
        "id": one.id,
        "body": one.body,
        "severity": one.severity,
        "title": one.title,
        "text": one.text,
        "at": f"{one.at:%Y-%m-%dT%H:%M:%SZ}",
        "versions": sorted(one.releases),
    }


def _waiver(one: Waiver) -> dict[str, Any]:
    return {
        **one.predicate(),
        "body": one.body,
        "approver": one.approver,
        "sha256": one.sha256,
    }


COMMANDS = (queue, claim, show)
