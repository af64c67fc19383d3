"""What `forge install` and `forge sync` have in common: options and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..output import count_text, duration_text, size_text
from ._command import Function
from ._permission import explain, permission_json

if TYPE_CHECKING:
    from ..flows.hf_cache import Snapshot
    from ..flows.install import Forecast, Installed


def pip_options(function: Function) -> Function:
    """``--no-pip`` and ``--python``."""
    function = click.option(
        "--python",
        type=click.Path(path_type=Path),
        metavar="PYTHON",
        help="Install wheels into this Python (default: the active environment, or .venv).",
    )(function)
    return click.option("--pip/--no-pip", default=True, help="Hand wheels to pip or uv.")(function)


def report(
    context: Context,
    done: Installed,
    *,
    pip: bool,
    python: Path | None,
    explained: bool = False,
    snapshots: Sequence[Snapshot] | None = None,
) -> None:
    """Hand the wheels over, and say what is where now; ``snapshots`` are those that were put into
    the Hugging Face cache, None where nobody asked for it."""
    from ..flows.permission import open_gate

    wheels: list[str] = []
    used = ""
    if pip and any(component.kind == "library" for component in done.lock.components):
        from ..flows.handover import hand_wheels

        handed = hand_wheels(context, done, python)
        wheels, used = [wheel.path.name for wheel in handed.wheels], handed.python
    out, site = context.out, done.site
    gate = open_gate(context, site.into)
    from ..flows.inventory import tell

    tell(context, site.into, done.lock.components)
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
            "removed": [str(name) for name in done.plan.remove],
            "fetched_bytes": done.plan.fetch_bytes,
            "received_bytes": done.fetched.received,
            "reused_bytes": done.fetched.reused,
            "known_at": done.known_at,
            "wheels": wheels,
            "python": used or None,
            "permission": permission_json(gate, done.lock.components),
            "hf_cache": [
                {"component": one.component, "commit": one.commit, "path": str(one.path)}
                for one in snapshots or ()
            ],
        }
    )
    if explained:
        explain(context, gate, done.lock.components)
    for component in done.lock.components:
        out.answer(f"{component.component}=={component.version} {site.tree(component.component)}")
    _show_snapshots(context, snapshots)
    _say_age(context, done.known_at)
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


def _show_snapshots(context: Context, snapshots: Sequence[Snapshot] | None) -> None:
    if snapshots is None:
        return
    for one in snapshots:
        context.out.done(f"{one.component} is in the Hugging Face cache: {one.path}")
    if not snapshots:
        context.out.warn(
            "the Hugging Face cache holds models and datasets, and none is among these"
        )


def _say_age(context: Context, known_at: str) -> None:
    """How old all is that was said, where nobody was asked."""
    if not context.offline:
        return
    from datetime import datetime

    from signing.ages import ago

    at = datetime.fromisoformat(known_at)
    context.out.say(
        f"nobody was asked (offline): what was published, yanked or withheld after "
        f"{at:%Y-%m-%d %H:%M} UTC, {ago(context.now - at)} ago, is not known here"
    )


def show_forecast(context: Context, forecast: Forecast) -> None:
    """What an installation would move, how long that takes, and from where."""
    out = context.out
    out.result(
        {
            "components": [str(build.locked) for build in forecast.plan.build],
            "removed": [str(name) for name in forecast.plan.remove],
            "fetch_bytes": forecast.fetch_bytes,
            "reuse_bytes": forecast.reuse_bytes,
            "disk_bytes": forecast.disk_bytes,
            "bytes_per_second": forecast.speed,
            "seconds": forecast.seconds,
            "known_at": forecast.known_at,
            "sources": list(forecast.sources),
        }
    )
    for line in forecast.plan.lines()[: len(forecast.plan.build) + len(forecast.plan.remove)]:
        out.answer(line)
    if forecast.plan.idle:
        _say_age(context, forecast.known_at)
        out.done(f"nothing to do: {count_text(len(forecast.plan.keep), 'component')} in place")
        return
    if context.offline:
        missing = forecast.fetch_bytes
        out.answer(
            f"missing    {size_text(missing)}" + (", so it cannot be installed" if missing else "")
        )
        out.answer(f"reused     {size_text(forecast.reuse_bytes)}")
        _say_age(context, forecast.known_at)
        out.say("nothing was fetched or changed")
        return
    seconds = forecast.seconds
    speed = "not measured yet" if forecast.speed is None else f"{size_text(int(forecast.speed))}/s"
    took = "" if seconds is None else f"about {duration_text(seconds)} at "
    if not forecast.fetch_bytes:
        took, speed = "none", ""
    out.answer(f"to fetch   {size_text(forecast.fetch_bytes)}")
    out.answer(f"reused     {size_text(forecast.reuse_bytes)}")
    out.answer(f"time       {took}{speed}")
    out.answer(f"disk       {size_text(forecast.disk_bytes)} in {context.cache.work_dir}")
    out.answer(f"from       {', '.join(forecast.sources)}")
    out.say("nothing was fetched or changed")
