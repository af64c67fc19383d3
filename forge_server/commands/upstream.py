"""``upstream``: which projects of another Python index this registry lets through."""

from __future__ import annotations

import re
from typing import Any

import click

from .common import FOLDER, with_registry

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(.*?)\s*")


@click.group("upstream")
def upstream() -> None:
    """Let projects of another Python index through.

    They are pinned copies, no signed releases.

    The index is upstream_url in server.toml. What it names is pinned by digest at first sight, must
    be some days old, and is fetched when somebody asks for it. pip and uv find it under /simple/;
    forge install never takes it. See docs/howto/python-packages.md.
    """


@upstream.command("allow")
@FOLDER
@click.argument("project", metavar="NAME[VERSIONS]")
@click.option(
    "--cooldown",
    metavar="DAYS",
    type=click.IntRange(0, 3650),
    help="How old its files must be (default: upstream_cooldown_days).",
)
@with_registry
def allow(registry: Any, project: str, cooldown: int | None) -> None:
    """Let a project through, like numpy or "numpy>=1.26,<3".

    Again with other bounds changes them.

    A name that a component here has published is refused, and a component cannot publish a name
    that is let through.
    """
    from ..services.callers import OPERATOR

    match = _REQUIREMENT.fullmatch(project)
    if match is None:
        raise click.UsageError(f"expected a project like numpy>=1.26, found {project!r}")
    name = registry.upstream.allow(OPERATOR, match[1], match[2], cooldown)
    click.echo(f"{name} is let through", err=True)
    click.echo(f"see what that is now: forge-server upstream fetch {registry.folder.root} {name}",
               err=True)  # fmt: skip


@upstream.command("remove")
@FOLDER
@click.argument("name")
@with_registry
def remove(registry: Any, name: str) -> None:
    """Let a project through no more.

    Its files answer 404 from now on, also to locks, and forge-server gc deletes them. Their digests
    stay pinned, should it be allowed again.
    """
    from ..services.callers import OPERATOR

    pinned = registry.upstream.remove(OPERATOR, name)
    stay = "1 digest stays" if pinned == 1 else f"{pinned} digests stay"
    click.echo(f"{name} is let through no more; {stay} pinned", err=True)


@upstream.command("fetch")
@FOLDER
@click.argument("name")
@click.option("--version", metavar="VERSION", help="Also fetch the files of this version.")
@with_registry
def fetch(registry: Any, name: str, version: str | None) -> None:
    """Ask the upstream for a project now, and show its versions."""
    offer = registry.upstream.ask(name)
    if offer is None:
        from .common import fail

        fail(f"{name}: is not let through", f"forge-server upstream allow DIR {name}")
    for number in dict.fromkeys(file.version for file in offer.files):
        files = [file for file in offer.files if file.version == number]
        yanked = "  yanked" if all(file.yanked is not None for file in files) else ""
        click.echo(f"{number}  {len(files)} {'file' if len(files) == 1 else 'files'}{yanked}")
    if offer.problem is not None:
        click.echo(f"as of {offer.as_of:%F %H:%M} UTC: {offer.problem}", err=True)
    if not offer.files:
        click.echo("nothing is offered: forge-server upstream list says why", err=True)
    for file in offer.files:
        if file.version == version:
            registry.upstream.copies.store(file.sha256, file.filename)
            click.echo(f"{file.filename}: {file.size} bytes, sha256 {file.sha256}", err=True)


@upstream.command("list")
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@with_registry
def list_(registry: Any, as_json: bool) -> None:
    """List what is let through and how old it is.

    Also what of it is held back, and why.
    """
    import json
    from dataclasses import asdict

    from ..domain.text import harmless

    found = registry.upstream.listed()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    for one in found:
        as_of = "never fetched" if one.fetched_at is None else f"as of {one.fetched_at:%F %H:%M}"
        files = "1 file" if one.pinned == 1 else f"{one.pinned} files"
        click.echo(
            f"{one.name}{one.specifier}  {one.status}  {as_of}  {files} pinned, {one.young} "
            f"younger than {one.cooldown_days} days, {one.stored} here ({one.stored_bytes} bytes)"
        )
        if one.problem is not None:
            click.echo(f"    PROBLEM  {harmless(one.problem)}")
        for filename, why in one.changed.items():
            click.echo(f"    CHANGED  {filename}: {why}")
        for filename, why in one.held_back.items():
            if filename not in one.changed:
                click.echo(f"    held back  {filename}: {harmless(why)}")
    if not found:
        click.echo("nothing is let through", err=True)
    if registry.upstream.http is None:
        click.echo("off: server.toml names no upstream_url", err=True)


COMMANDS = (upstream,)
