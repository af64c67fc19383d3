"""What `forge install` and `forge sync` have in common: options and the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..output import count_text
from ._command import Function

if TYPE_CHECKING:
    from ..flows.install import Installed


def pip_options(function: Function) -> Function:
    """``--no-pip`` and ``--python``."""
    function = click.option(
        "--python",
        type=click.Path(path_type=Path),
        metavar="PYTHON",
        help="Install wheels into this Python (default: the active environment, or .venv).",
    )(function)
    return click.option("--pip/--no-pip", default=True, help="Hand wheels to pip or uv.")(function)


def report(context: Context, done: Installed, *, pip: bool, python: Path | None) -> None:
    """Hand the wheels over, and say what is where now."""
    wheels: list[str] = []
    used = ""
    if pip and any(component.kind == "library" for component in done.lock.components):
        from ..flows.handover import hand_wheels

        handed = hand_wheels(context, done, python)
        wheels, used = [wheel.path.name for wheel in handed.wheels], handed.python
    out, site = context.out, done.site
    if context.asked_registry:
        from ..flows.renew import warn_expiring

        warn_expiring(context)
    built = {str(build.locked.component) for build in done.plan.build}
    out.result(
        {
            "into": str(site.into),
            "components": [
                {
                    "component": str(component.component),
                    "version": str(component.version),
                    "manifest_sha256": component.manifest_sha256,
                    "path": str(site.tree(component.component)),
                    "state": "installed" if str(component.component) in built else "unchanged",
                }
                for component in done.lock.components
            ],
            "removed": list(done.plan.remove),
            "fetched_bytes": done.plan.fetch_bytes,
            "wheels": wheels,
            "python": used or None,
        }
    )
    for component in done.lock.components:
        out.answer(f"{component.component}=={component.version} {site.tree(component.component)}")
    if done.plan.idle:
        out.done(f"nothing to do: {count_text(len(done.plan.keep), 'component')} in place")
        return
    how = ", ".join(
        f"{count_text(number, kind)}".replace("copys", "copies")
        for kind, number in done.placed.items()
        if number
    )
    out.done(
        f"verified and installed {count_text(len(done.plan.build), 'component')}"
        + (f" ({how})" if how else "")
    )
    if done.plan.build:
        tree = site.tree(done.plan.build[0].locked.component)
        out.next_step(f"forge verify {tree}")
