"""`forge org webhook`."""

from __future__ import annotations

from time import sleep
from typing import Any

import click

from ..context import Context
from ..errors import ForgeError
from ..output import clean
from ._command import forge_command

_EVENTS = click.option(
    "--event",
    "events",
    multiple=True,
    metavar="EVENT",
    help="An event or a family: release, review, expiry, recall, release.yanked … May be repeated "
    "(default: all).",
)
_POLL_SECONDS = 0.5
_POLLS = 40


@click.group("webhook")
def webhook() -> None:
    """Have an address told what happens to your components.

    A message is a hint and no proof: whoever gets one verifies what it is about, with
    `forge verify`.
    """


@forge_command("add")
@click.argument("org", metavar="ORG")
@click.argument("url", metavar="URL")
@_EVENTS
@click.option(
    "--about",
    metavar="ORG[/NAME]",
    help="Whose news to hear: an organisation's, a component's, or everybody's: '*' "
    "(default: ORG's).",
)
def add(context: Context, org: str, url: str, events: tuple[str, ...], about: str | None) -> None:
    """Have URL told what happens; for the owners of ORG.

    The secret that signs the messages is the only line of the answer, and is not shown again.
    """
    body: dict[str, object] = {"url": url, "events": list(events)}
    if about is not None:
        body["about"] = "" if about == "*" else about
    answer = context.api_with_token().post("organisations", org, "webhooks", body=body)
    out = context.out
    out.result(answer)
    out.answer(clean(_text(answer, "secret")))
    hook = clean(_text(answer, "id"))
    out.done(f"{hook}: {clean(url)} hears of {_what(answer)}")
    out.say("  the secret above is shown this once; your receiver checks webhook-signature with it")
    out.next_step(f"forge org webhook test {clean(org)} {hook}")


@forge_command("list")
@click.argument("org", metavar="ORG")
def list_(context: Context, org: str) -> None:
    """List the webhooks of ORG and how they do; for its owners."""
    from ..remote.api import member

    answer = context.api_with_token().get("organisations", org, "webhooks")
    found: list[Any] = member(answer, "webhooks", list)
    out = context.out
    out.result(answer)
    out.table(
        [
            [clean(one.get("id")), _state(one), clean(one.get("url")), _what(one), _waiting(one)]
            for one in found
        ]
    )
    if not found:
        out.say(f"{clean(org)} has no webhooks")
        out.next_step(f"forge org webhook add {clean(org)} https://…")
    for one in found:
        if one.get("ended_at"):
            hook = clean(one.get("id"))
            out.warn(f"{hook} ended on {_day(one['ended_at'])}: {clean(one.get('ended_why'))}")
            out.next_step(f"forge org webhook enable {clean(org)} {hook}")


@forge_command("remove")
@click.argument("org", metavar="ORG")
@click.argument("hook", metavar="ID")
def remove(context: Context, org: str, hook: str) -> None:
    """Forget a webhook, and what it was told; for the owners of ORG."""
    context.out.result(context.api_with_token().delete("organisations", org, "webhooks", hook))
    context.out.done(f"{clean(hook)} is told nothing more")


@forge_command("test")
@click.argument("org", metavar="ORG")
@click.argument("hook", metavar="ID")
def test(context: Context, org: str, hook: str) -> None:
    """Send a webhook a message, and say what came back.

    For the owners of ORG.
    """
    api = context.api_with_token()
    answer = api.post("organisations", org, "webhooks", hook, "test", body={})
    message = _text(answer, "delivery")
    for _ in range(_POLLS):
        found = _deliveries(context, org, hook, 50)
        row: Any = next((one for one in found if one.get("id") == message), {})
        if row.get("tries"):
            break
        sleep(_POLL_SECONDS)
    else:
        raise ForgeError(
            "webhook-not-delivered",
            f"{clean(hook)}: the registry has not sent the message yet",
            hint=f"see later: forge org webhook deliveries {clean(org)} {clean(hook)}",
        )
    if row.get("state") != "delivered":
        raise ForgeError(
            "webhook-not-delivered",
            f"{clean(hook)}: expected an answer of 200 to 299, found: {_came_of(row)}",
            hint="the registry tries again; put the receiver right meanwhile"
            if row.get("next_at")
            else f"see why: forge org webhook list {clean(org)}",
        )
    context.out.result(row)
    context.out.answer(_came_of(row))
    context.out.done(f"{clean(hook)} works")


@forge_command("deliveries")
@click.argument("org", metavar="ORG")
@click.argument("hook", metavar="ID")
@click.option(
    "--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many."
)
def deliveries(context: Context, org: str, hook: str, limit: int) -> None:
    """List the newest messages to a webhook and what came of them."""
    found = _deliveries(context, org, hook, limit)
    out = context.out
    out.result(found)
    out.table(
        [
            [
                clean(one.get("created_at")),
                clean(one.get("event")),
                clean(one.get("subject") or "-"),
                clean(one.get("state")),
                "1 try" if one.get("tries") == 1 else f"{clean(one.get('tries'))} tries",
                _came_of(one),
            ]
            for one in found
        ]
    )
    if not found:
        out.say(f"{clean(hook)} was told nothing yet")
    if found and found[0].get("answer") and found[0].get("state") != "delivered":
        out.say(f"  the last answer began: {clean(str(found[0]['answer'])[:200])}")


@forge_command("rotate")
@click.argument("org", metavar="ORG")
@click.argument("hook", metavar="ID")
def rotate(context: Context, org: str, hook: str) -> None:
    """Make another secret for a webhook.

    The old one signs beside it for a day.
    """
    answer = context.api_with_token().post(
        "organisations", org, "webhooks", hook, "secret", body={}
    )
    context.out.result(answer)
    context.out.answer(clean(_text(answer, "secret")))
    until = clean(_text(answer, "old_secret_until"))
    context.out.done(f"{clean(hook)} has a new secret; the old one signs as well until {until}")


@forge_command("enable")
@click.argument("org", metavar="ORG")
@click.argument("hook", metavar="ID")
def enable(context: Context, org: str, hook: str) -> None:
    """Send again to a webhook that had ended.

    What it missed is not sent.
    """
    answer = context.api_with_token().post(
        "organisations", org, "webhooks", hook, "enable", body={}
    )
    context.out.result(answer)
    context.out.done(f"{clean(hook)} is told again what happens from now on")
    context.out.next_step(f"forge org webhook test {clean(org)} {clean(hook)}")


def _deliveries(context: Context, org: str, hook: str, limit: int) -> list[Any]:
    from ..remote.api import member

    answer = context.api_with_token().get(
        "organisations", org, "webhooks", hook, "deliveries", query={"limit": limit}
    )
    found: list[Any] = member(answer, "deliveries", list)
    return found


def _text(answer: Any, name: str) -> str:
    from ..remote.api import member

    return str(member(answer, name))


def _what(hook: Any) -> str:
    events = ", ".join(clean(each) for each in hook.get("events") or ()) or "everything"
    return f"{events} about {clean(hook.get('about')) or 'everybody'}"


def _state(hook: Any) -> str:
    since = hook.get("failing_since")
    if hook.get("state") == "failing" and since:
        return f"failing since {_day(since)}"
    return clean(hook.get("state"))


def _waiting(hook: Any) -> str:
    number = int(hook.get("waiting") or 0)
    return f"{number} waiting" if number else ""


def _day(text: object) -> str:
    return clean(text)[:10]


def _came_of(row: Any) -> str:
    """``200 in 12 ms``, or why there is no answer, and when it is tried again."""
    if not row.get("tries"):
        return "not sent yet"
    status, problem = row.get("status"), row.get("problem")
    took = f"{clean(status)} in {clean(row.get('milliseconds'))} ms"
    again = f", again at {clean(row['next_at'])}" if row.get("next_at") else ""
    return (clean(problem) if status is None else took) + again


for _each in (add, list_, remove, test, deliveries, rotate, enable):
    webhook.add_command(_each)
