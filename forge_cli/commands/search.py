"""`forge search`."""

from __future__ import annotations

import click

from ..context import Context
from ..nearby import NOT_REVIEWED, REVIEWS
from ..output import Output, align, clean
from ._command import forge_command


@forge_command("search")
@click.argument("words", nargs=-1)
@click.option(
    "--limit",
    type=click.IntRange(1, 100),
    default=20,
    show_default=True,
    help="Show at most so many.",
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out the first ones.")
def command(context: Context, words: tuple[str, ...], limit: int, offset: int) -> None:
    """Find components by WORDS; without any, list them all.

    What is listed is the registry's word; `forge info` and `forge verify` show what is signed.
    """
    from ..remote.api import member

    query = {"q": " ".join(words), "limit": limit, "offset": offset}
    answer = context.api().get("components", query=query)
    items = member(answer, "items", list)
    out = context.out
    out.result(answer)
    rows = [
        [
            clean(item.get("component")),
            clean(item.get("latest") or "-") + _mark(item),
            clean(item.get("kind")),
            _shortened(clean(item.get("summary"))),
        ]
        for item in items
        if isinstance(item, dict)
    ]
    out.table(rows)
    total = answer.get("total")
    if not rows:
        out.say(f"nothing matches {' '.join(words)!r}" if words else "the registry is empty")
        _say_near(out, answer.get("near"))
    elif isinstance(total, int) and total > offset + len(rows):
        out.say(f"{len(rows)} of {total}; more with --offset {offset + len(rows)}")


def _say_near(out: Output, near: object) -> None:
    """What was perhaps meant, each with whose it is: names are made to be mistaken for others."""
    items = [item for item in near if isinstance(item, dict)] if isinstance(near, list) else []
    if not items:
        return
    out.say("near it, and perhaps somebody else's:")
    rows = [
        [
            clean(item.get("component")),
            clean(item.get("latest") or "-"),
            "by " + _shortened(clean(item.get("organisation_display_name")), 40),
            ", ".join((REVIEWS.get(str(item.get("review")), NOT_REVIEWED), *_states(item))),
        ]
        for item in items
    ]
    for line in align(rows):
        out.say(f"  {line}")
    out.next_step("forge info NAME, which says who signed it")


def _states(item: dict[str, object]) -> list[str]:
    states = item.get("states")
    return [clean(state) for state in states] if isinstance(states, list) else []


def _mark(item: dict[str, object]) -> str:
    """What stands behind a version that nobody installs without asking for it."""
    withheld = item.get("withheld")
    if isinstance(withheld, dict):
        return f" ({clean(withheld.get('state'))})"
    if item.get("yanked"):
        return " (yanked)"
    said = item.get("deprecated")
    if not isinstance(said, dict):
        return ""
    successor = said.get("successor")
    return f" (deprecated → {clean(successor)})" if successor else " (deprecated)"


def _shortened(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
