"""`forge install`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ._command import forge_command, into_option
from ._installing import pip_options, report


@forge_command("install")
@click.argument("requirements", nargs=-1, metavar="ORG/NAME[RANGE]...")
@into_option
@click.option("--locked", is_flag=True, help="Refuse to change forge.lock.")
@click.option("-U", "--upgrade", is_flag=True, help="Take newer versions than the locked ones.")
@click.option("--force", is_flag=True, help="Replace folders that forge did not make.")
@pip_options
def command(
    context: Context,
    requirements: tuple[str, ...],
    into: Path,
    locked: bool,
    upgrade: bool,
    force: bool,
    pip: bool,
    python: Path | None,
) -> None:
    """Resolve, fetch, verify and install components.

    Requirements look like minds-lab/my-model, 'minds-lab/my-model>=1,<2' or
    minds-lab/my-model==1.0.0. Files go to FOLDER/forge_components, exact versions to
    FOLDER/forge.lock; wheels of libraries are handed to pip or uv after verification.
    """
    from signing.names import Requirement

    from ..flows.install import install

    wanted = [Requirement.parse(text) for text in requirements]
    done = install(context, wanted, into, locked_only=locked, upgrade=upgrade, force=force)
    report(context, done, pip=pip, python=python)
