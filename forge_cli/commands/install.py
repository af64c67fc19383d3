"""`forge install`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..errors import UsageError
from ._command import forge_command, into_option, parse_option
from ._installing import pip_options, report, show_forecast
from ._permission import explain_option, override_options
from ._transfer import download_options, offline_option


@forge_command("install")
@click.argument("requirements", nargs=-1, metavar="ORG/NAME[RANGE]...")
@into_option
@click.option("--locked", is_flag=True, help="Refuse to change forge.lock.")
@click.option("-U", "--upgrade", is_flag=True, help="Take newer versions than the locked ones.")
@click.option("--force", is_flag=True, help="Replace folders that forge did not make.")
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Install only files whose path matches, such as 'weights/*'; leaves forge.lock alone.",
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Leave out files whose path matches."
)
@click.option(
    "--hf-cache",
    is_flag=True,
    help="Put models and datasets into the Hugging Face cache as well, for its clients offline.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be moved, and stop.")
@override_options
@explain_option
@download_options
@offline_option
@pip_options
def command(
    context: Context,
    requirements: tuple[str, ...],
    into: Path,
    locked: bool,
    upgrade: bool,
    force: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    hf_cache: bool,
    only_plan: bool,
    overrides: tuple[str, ...],
    reason: str | None,
    explain: bool,
    pip: bool,
    python: Path | None,
) -> None:
    """Resolve, fetch, verify and install components.

    Requirements look like minds-lab/my-model, 'minds-lab/my-model>=1,<2' or
    minds-lab/my-model==1.0.0. Files go to FOLDER/forge_components, exact versions to
    FOLDER/forge.lock; wheels of libraries are handed to pip or uv after verification.
    """
    from signing.names import Requirement

    from ..flows.install import install, plan
    from ..flows.permission import parse_overrides
    from ..transfer import Selection

    wanted = [parse_option("ORG/NAME", Requirement.parse, text) for text in requirements]
    selection = Selection(include=include, exclude=exclude)
    aside = parse_overrides(overrides, reason, (requirement.component for requirement in wanted))
    if aside and (locked or selection):
        raise UsageError(
            "--override writes forge.lock, and --locked, --include and --exclude leave it alone",
            hint="put the rule aside first: forge lock ORG/NAME --override RULE --reason TEXT",
        )
    if hf_cache and (only_plan or selection):
        raise UsageError(
            "--hf-cache puts whole releases into the Hugging Face cache: "
            "not with --plan, --include or --exclude"
        )
    if only_plan:
        show_forecast(
            context,
            plan(
                context,
                wanted,
                into,
                locked_only=locked,
                upgrade=upgrade,
                selection=selection,
                overrides=aside,
            ),
        )
        return
    done = install(
        context,
        wanted,
        into,
        locked_only=locked,
        upgrade=upgrade,
        force=force,
        selection=selection,
        overrides=aside,
    )
    snapshots = None
    if hf_cache:
        from ..flows.hf_cache import fill_hf_cache

        snapshots = fill_hf_cache(context, done)
    report(context, done, pip=pip, python=python, explained=explain, snapshots=snapshots)
