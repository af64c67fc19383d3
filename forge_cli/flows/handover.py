"""The last step of an installation: the wheels of its libraries, into a Python environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..context import Context
from ..output import count_text
from ..wheels import Wheel, choose_environment, find_wheels, hand_over, pending
from .install import Installed


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What was handed over: ``python`` is empty when there was nothing to hand."""

    wheels: tuple[Wheel, ...] = ()
    python: str = ""


def hand_wheels(context: Context, done: Installed, python: Path | None) -> Handed:
    """Give the wheels of the installed libraries to pip or uv, unless they are there already."""
    site = done.site
    wheels: list[Wheel] = []
    for component in done.lock.components:
        if component.kind != "library":
            continue
        record = site.record(component.component)
        if record is None:
            continue
        files = [(entry.path, entry.sha256) for entry in record.manifest().files]
        wheels += find_wheels(site.tree(component.component), files)
    if not wheels:
        return Handed()
    environment = choose_environment(python, site.into, os.environ, Path.cwd())
    record_path = site.private / "wheels.json"
    missing = pending(wheels, environment, record_path)
    if missing:
        installer = hand_over(missing, environment, record_path)
        where = str(environment.prefix)
        context.out.done(
            f"{installer} installed {count_text(len(missing), 'wheel')} into "
            + (where if where in environment.why else f"{where} ({environment.why})")
        )
    return Handed(wheels=tuple(missing), python=str(environment.python))
