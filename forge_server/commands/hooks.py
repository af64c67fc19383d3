"""``webhook``: addresses that the operator has told what happens in the registry."""

from __future__ import annotations

from typing import Any

import click

from .common import FOLDER, with_registry


@click.group()
def webhook() -> None:
    """Have addresses told what happens in the whole registry.

    Owners do the same for their organisations: forge org webhook.
    """


@webhook.command("add")
@FOLDER
@click.argument("url", metavar="URL")
@click.option(
    "--event", "events", multiple=True, metavar="EVENT",
    help="An event or a family of them. May be repeated (default: all).",
)  # fmt: skip
@click.option("--about", metavar="ORG[/NAME]", help="Of whom alone (default: everybody).")
@with_registry
def add(registry: Any, url: str, events: tuple[str, ...], about: str | None) -> None:
    """Have URL told what happens. Prints the secret that signs it, this once."""
    from ..services.callers import OPERATOR

    row, secret = registry.webhooks.add(OPERATOR, None, url, events, about)
    click.echo(secret)
    click.echo(f"{row.id} is told what happens; the secret is shown this once", err=True)


@webhook.command("list")
@FOLDER
@with_registry
def list_(registry: Any) -> None:
    """List the operator's own webhooks, and how they do."""
    from ..services.callers import OPERATOR

    found = registry.webhooks.of(OPERATOR, None)
    for row in found:
        click.echo(
            f"{row.id}  {row.state}  {row.url}  {', '.join(row.events) or 'everything'} about "
            f"{row.about or 'everybody'}" + (f"  ({row.ended_why})" if row.ended_why else "")
        )
        for one in registry.webhooks.deliveries(OPERATOR, None, row.id, 5):
            said = one.status if one.status is not None else one.problem or "not sent yet"
            click.echo(f"    {one.created_at:%Y-%m-%d %H:%M}  {one.event}  {one.state}  {said}")
    if not found:
        click.echo("no webhooks of the operator", err=True)


@webhook.command("remove")
@FOLDER
@click.argument("hook", metavar="ID")
@with_registry
def remove(registry: Any, hook: str) -> None:
    """Forget a webhook of the operator, and what it was told."""
    from ..services.callers import OPERATOR

    registry.webhooks.remove(OPERATOR, None, hook)
    click.echo(f"{hook} is told nothing more", err=True)
