"""`forge recall`."""

from __future__ import annotations

from typing import Any

import click

from ..context import Context
from ..output import clean, count_text
from ._command import forge_command
from ._release import parse_release

_ORGANISATION = click.option(
    "--organisation", required=True, metavar="ORG", help="Your agency, as the registry knows it."
)


@click.group("recall")
def command() -> None:
    """Recall a release, and answer recalls.

    A recall reaches the hosts that told the registry that they have the release: forge inventory.
    Everybody sees how many were notified, acknowledged it and are remedied; only an agency sees its
    own hosts.
    """


@forge_command("start")
@click.argument("release", metavar="ORG/NAME==VERSION")
@click.option("--reason", required=True, metavar="TEXT", help="Shown to everybody.")
def start(context: Context, release: str, reason: str) -> None:
    """Recall a release of yours from every host that has it.

    It stops nobody from installing it: yank it as well, or have the CERT withhold it.
    """
    name, version = parse_release(release)
    body = {"component": str(name), "version": str(version), "reason": reason}
    answer = context.api_with_token().post("recalls", body=body)
    context.out.result(answer)
    _counts(context, answer)
    context.out.done(f"{name} {version} is recalled")
    context.out.next_step(f"forge recall show {release}   shows how it goes")


@forge_command("show")
@click.argument("release", metavar="ORG/NAME==VERSION")
def show(context: Context, release: str) -> None:
    """Show how far the recall of a release has come."""
    name, version = parse_release(release)
    answer = context.api().get("recalls", name.org, name.name, str(version))
    context.out.result(answer)
    _counts(context, answer)


@forge_command("list")
@click.option("--organisation", metavar="ORG", help="What reached the hosts of this agency.")
def list_(context: Context, organisation: str | None) -> None:
    """List all recalls, or those that reached your hosts.

    With --organisation they are listed host by host.

    Whoever asks for an agency is told in its name: its hosts count as notified from then on.
    """
    from ..remote.api import member

    out = context.out
    if organisation is None:
        answer = context.api().get("recalls")
        found = member(answer, "recalls", list)
        out.result(answer)
        for one in found:
            _counts(context, one)
        if not found:
            out.say("nothing was recalled")
        return
    answer = context.api_with_token().get("inventory", organisation, "recalls")
    notices = member(answer, "notices", list)
    out.result(answer)
    out.table([[clean(one.get("release")), clean(one.get("host")), _state(one),
                clean(one.get("reason"))] for one in notices])  # fmt: skip
    if not notices:
        out.say(f"no recall reached a host of {organisation}")


@forge_command("ack")
@click.argument("release", metavar="ORG/NAME==VERSION")
@_ORGANISATION
@click.option("--host", metavar="LABEL", help="Only this host (default: all that it reached).")
def ack(context: Context, release: str, organisation: str, host: str | None) -> None:
    """Say that your agency knows of the recall and acts on it."""
    _settle(context, release, organisation, host, "acknowledged")


@forge_command("remedied")
@click.argument("release", metavar="ORG/NAME==VERSION")
@_ORGANISATION
@click.option("--host", metavar="LABEL", help="Only this host (default: all that it reached).")
def remedied(context: Context, release: str, organisation: str, host: str | None) -> None:
    """Say that your hosts are safe from the release.

    It is gone from them, or they are safe in another way.

    A host that reports what it has, without the release, counts as remedied by itself.
    """
    _settle(context, release, organisation, host, "remedied")


def _settle(
    context: Context, release: str, organisation: str, host: str | None, state: str
) -> None:
    name, version = parse_release(release)
    body = {"organisation": organisation, "state": state} | ({"host": host} if host else {})
    answer = context.api_with_token().post(
        "recalls", name.org, name.name, str(version), "answers", body=body
    )
    context.out.result(answer)
    count = answer.get("hosts") if isinstance(answer, dict) else None
    context.out.done(f"{name} {version}: {state} on {count_text(int(count or 0), 'more host')}")


def _state(notice: dict[str, Any]) -> str:
    for state in ("remedied", "acknowledged", "notified"):
        if notice.get(f"{state}_at"):
            return state
    return "reached"


def _counts(context: Context, recall: dict[str, Any]) -> None:
    def number(name: str) -> int:
        value = recall.get(name)
        return value if isinstance(value, int) else 0

    out = context.out
    out.answer(f"{clean(recall.get('release'))}  recalled {clean(recall.get('started_at'))}: "
               f"{clean(recall.get('reason'))}")  # fmt: skip
    out.answer(
        f"  {count_text(number('hosts'), 'host')} in "
        f"{count_text(number('agencies'), 'organisation')}: "
        f"{number('notified')} notified, {number('acknowledged')} acknowledged, "
        f"{number('remedied')} remedied"
    )


for _each in (start, show, list_, ack, remedied):
    command.add_command(_each)
