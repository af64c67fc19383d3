"""`forge review`."""

from __future__ import annotations

import click

from . import _review_diff


@click.group("review")
def command() -> None:
    """Look at releases for others: compare, decide, withdraw."""


command.add_command(_review_diff.diff)
