"""`forge token`."""

from __future__ import annotations

import click

from ..context import Context
from ..errors import UsageError
from ..output import clean
from ._command import forge_command, parse_option

_ACTIONS = ("read", "publish", "manage", "inventory")


@click.group("token")
def command() -> None:
    """Create, list and revoke access tokens."""


@forge_command("create")
@click.argument("name")
@click.option(
    "--action",
    "actions",
    type=click.Choice(_ACTIONS),
    multiple=True,
    default=("publish",),
    show_default=True,
    help="What it allows; repeatable.",
)
@click.option("--org", metavar="ORG", help="Only for this organisation.")
@click.option("--component", metavar="ORG/NAME", help="Only for this component.")
@click.option(
    "--days", type=click.IntRange(1, 366), default=90, show_default=True, help="Valid for."
)
def create(
    context: Context,
    name: str,
    actions: tuple[str, ...],
    org: str | None,
    component: str | None,
    days: int,
) -> None:
    """Create a token called NAME and print it on standard output.

    Nothing else is printed there.
    """
    from signing.names import ComponentName, parse_org_name

    from ..remote.api import member

    if not name.strip():
        raise UsageError("NAME: expected a name to tell the token by, found nothing")
    if org is not None:
        parse_option("--org", parse_org_name, org)
    if component is not None:
        parse_option("--component", ComponentName.parse, component)
    body = {
        "name": name,
        "actions": list(actions),
        "organisation": org,
        "component": component,
        "expires_in_days": days,
    }
    answer = context.api_with_token().post("tokens", body=body)
    token = member(answer, "token")
    context.out.result(answer)
    context.out.answer(clean(token))
    context.out.done(f"token {name!r} ({clean(answer.get('id'))}), valid for {days} days")
    context.out.say("  it is shown this once; the registry keeps only its hash")


@forge_command("list")
def list_(context: Context) -> None:
    """List your tokens and when each was last used."""
    answer = context.api_with_token().get("tokens")
    rows = answer.get("items", answer.get("tokens")) if isinstance(answer, dict) else answer
    rows = [row for row in rows or () if isinstance(row, dict)]
    context.out.result(rows)
    context.out.table(
        [
            [
                clean(row.get("id")),
                clean(row.get("name")),
                ",".join(map(clean, row.get("actions") or ())),
                clean(row.get("component") or row.get("organisation") or "everything"),
                _state(row),
                _last_used(row),
            ]
            for row in rows
        ]
    )


def _last_used(row: dict[str, object]) -> str:
    # The registry notes it every ten minutes at most: no more digits than are true.
    used = row.get("last_used_at")
    return "never used" if not used else f"last used about {clean(used)[:15]}0Z"


def _state(row: dict[str, object]) -> str:
    if row.get("revoked_at"):
        return "revoked"
    return f"until {clean(row.get('expires_at'))}"


@forge_command("revoke")
@click.argument("token_id", metavar="ID", type=click.IntRange(1))
def revoke(context: Context, token_id: int) -> None:
    """End a token; ID is the one that `forge token list` shows."""
    context.api_with_token().delete("tokens", str(token_id))
    context.out.result({"id": token_id, "revoked": True})
    context.out.done(f"token {token_id} is revoked")


for _each in (create, list_, revoke):
    command.add_command(_each)
