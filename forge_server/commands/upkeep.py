"""``gc``, ``scrub``, ``stats``, ``reindex``, ``read-only`` and ``quota``: looking after a registry
that runs."""

from __future__ import annotations

import sys
from typing import Any

import click

from .common import FOLDER, publishing, with_registry


@click.command()
@FOLDER
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option(
    "--grace",
    metavar="HOURS",
    type=click.FloatRange(0, 24 * 366),
    default=48.0,
    show_default=True,
    help="How long a blob stays that was sent and not published.",
)
@with_registry
def gc(registry: Any, dry_run: bool, grace: float) -> None:
    """Delete blobs that no release refers to, and dead files.

    Dead is what was published and nobody can ask for any more.

    The server may run meanwhile, and publishers too. When it is stopped, the next one goes on where
    it was. A blob that nobody sent for a while is first found, and deleted by a later run.

    Snapshots and unfinished tiles of the log go 72 hours after others took their place; the
    server's worker removes them too.
    """
    from datetime import timedelta

    from ..domain.amounts import show_bytes
    from ..services.callers import OPERATOR
    from ..services.collection import Collected

    def tell(state: Collected) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{state.looked} looked at, {state.deleted} deleted", err=True, nl=False)

    done = registry.collection.collect(OPERATOR, timedelta(hours=grace), dry_run=dry_run, tell=tell)
    if sys.stderr.isatty():
        click.echo("\r", err=True, nl=False)
    click.echo(
        f"looked at {done.looked} blobs: {done.unreferenced} "
        f"({show_bytes(done.unreferenced_bytes)}) belong to no release"
    )
    if done.waiting:
        click.echo(f"{done.waiting} of them came or were found less than {grace:g} hours ago: kept")
    if dry_run:
        click.echo(f"{done.unreferenced - done.waiting} would be deleted")
    else:
        click.echo(f"{done.deleted} deleted, {show_bytes(done.deleted_bytes)} freed")
    files = registry.superseded.remove(dry_run=dry_run)
    click.echo(f"superseded published files: {files} {'would be ' if dry_run else ''}deleted")
    for digest in done.lost:
        click.echo(f"blob {digest}: deleted although a release needs it: forge-server scrub --from")
    if done.lost:
        sys.exit(1)


def _amount(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    from signing.errors import MalformedError

    from ..domain.amounts import parse_bytes

    if text is None:
        return None
    try:
        return parse_bytes(text, str(parameter.opts[0]))
    except MalformedError as error:
        raise click.BadParameter(
            f"expected {error.expected}, found {error.found}", ctx=context, param=parameter
        ) from None


@click.command()
@FOLDER
@click.option(
    "--max-rate", metavar="SPEED", callback=_amount, help="Bytes a second, like 20M (default: any)."
)
@click.option(
    "--from", "source", metavar="URL_OR_FOLDER",
    help="Repair from there: a registry or mirror, or a folder of blobs.",
)  # fmt: skip
@with_registry
def scrub(registry: Any, max_rate: int | None, source: str | None) -> None:
    """Read and hash every stored blob.

    Exit code 1 when something is damaged and stays so.

    The server may run meanwhile. When it is stopped, the next one goes on where it was. What is
    damaged stays written down until it is repaired. With --from only bytes of the right digest are
    taken, so the source need not be trusted.
    """
    from ..domain.amounts import show_bytes
    from ..operate.scrub import Pace, Scrub
    from ..operate.sources import parse_source

    place = None if source is None else parse_source(source, registry.folder.locks)
    work = Scrub.of(registry, Pace(max_rate or 0))
    done = work.walk(click.echo)
    click.echo(
        f"{done.blobs} blobs read, {show_bytes(done.bytes)}: {done.damaged} damaged", err=True
    )
    if place is not None:
        work.repair(place, click.echo)
    left = work.damaged()
    if not left:
        return
    for digest, problem in left:
        click.echo(f"blob {digest}: not repaired ({problem})")
    if place is None:
        click.echo("repair them: forge-server scrub DIR --from URL_OR_FOLDER", err=True)
    sys.exit(1)


@click.command()
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@with_registry
def stats(registry: Any, as_json: bool) -> None:
    """Count what the registry holds, by organisation and month."""
    import json
    from dataclasses import asdict

    from ..services.stats import count, lines

    found = count(registry.database)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
        return
    for line in lines(found):
        click.echo(line)


@click.command()
@FOLDER
@with_registry
def reindex(registry: Any) -> None:
    """Make the indexes of search and Python again.

    Both are made from the registry.

    It keeps up by itself, and holds nothing that is not elsewhere: this is for one that was
    damaged, or that you do not trust. The server may run; meanwhile a search finds what is back in
    it. When this is stopped, the server's worker goes on.
    """
    registry.releases.distributions.rebuild()
    count = registry.index.rebuild()
    click.echo(f"{count} component{'' if count == 1 else 's'} indexed", err=True)


@click.command("read-only")
@FOLDER
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--reason", metavar="TEXT", help="Why, and until when; everybody reads it.")
@with_registry
@publishing
def read_only(registry: Any, state: str, reason: str | None) -> None:
    """Take no changes from publishers (on), or take them (off).

    Reading and installing go on, and so does signing the timestamp again. The switch is an entry of
    the public log.
    """
    from ..services.callers import OPERATOR

    if state == "on":
        if reason is None:
            raise click.UsageError("read-only on needs --reason TEXT")
        registry.switch.on(OPERATOR, reason)
        click.echo("no changes are taken from now on", err=True)
        return
    if reason is not None:
        raise click.UsageError("--reason goes with on")
    if not registry.switch.off(OPERATOR):
        click.echo("changes were not switched off", err=True)
    left = registry.publication.read_only
    if left is None:
        click.echo("changes are taken", err=True)
    else:
        click.echo(f"READ-ONLY still: {left}", err=True)


@click.command()
@FOLDER
@click.argument("organisation", metavar="ORG")
@click.option("--max-bytes", metavar="SIZE", callback=_amount, help="Like 500G; 0 is no limit.")
@click.option("--max-releases", type=click.IntRange(0), help="0 is no limit.")
@click.option("--reset", is_flag=True, help="The limits of server.toml again.")
@with_registry
def quota(
    registry: Any, organisation: str, max_bytes: int | None, max_releases: int | None, reset: bool
) -> None:
    """Show how much ORG may publish and has, or change it.

    What counts is the sum of all its releases. The limits of those that have none of their own
    stand in server.toml.
    """
    from ..domain.amounts import show_bytes
    from ..services.callers import OPERATOR

    if reset and (max_bytes is not None or max_releases is not None):
        raise click.UsageError("--reset goes alone")
    if reset:
        state = registry.quotas.reset(OPERATOR, organisation)
    elif max_bytes is None and max_releases is None:
        state = registry.quotas.of(organisation)
    else:
        state = registry.quotas.set(OPERATOR, organisation, max_bytes, max_releases)
    may = show_bytes(state.max_bytes) if state.max_bytes else "no limit"
    click.echo(f"bytes     {show_bytes(state.used_bytes)} of {may}")
    click.echo(f"releases  {state.used_releases} of {state.max_releases or 'no limit'}")


COMMANDS = (gc, scrub, stats, reindex, read_only, quota)
