"""`forge review`."""

from __future__ import annotations

import click

from . import _review_decide, _review_diff, _review_look, _review_words


@click.group("review")
def command() -> None:
    """Look at releases for others: compare, decide, waive, withdraw."""


for _each in (
    *_review_look.COMMANDS,
    _review_diff.diff,
    *_review_decide.COMMANDS,
    *_review_words.COMMANDS,
):
    command.add_command(_each)
