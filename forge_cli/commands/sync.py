"""`forge sync`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ._command import forge_command, into_option
from ._installing import pip_options, report
from ._permission import explain_option
from ._transfer import download_options, offline_option


@forge_command("sync")
@into_option
@click.option("--force", is_flag=True, help="Replace folders that forge did not make.")
@explain_option
@download_options
@offline_option
@pip_options
def command(
    context: Context, into: Path, force: bool, explain: bool, pip: bool, python: Path | None
) -> None:
    """Make FOLDER hold exactly what its forge.lock says.

    Nothing is asked of the registry when everything is cached.
    """
    from ..flows.install import sync

    done = sync(context, into, force=force)
    report(context, done, pip=pip, python=python, explained=explain)
