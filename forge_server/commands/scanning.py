"""``scan``: asking the scanners about releases now."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click

from .common import FOLDER, with_registry


@click.command()
@FOLDER
@click.argument("release", metavar="[ORG/NAME[==VERSION]]", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="Every release, also those that are not due."
)
@with_registry
def scan(registry: Any, release: str | None, everything: bool) -> None:
    """Ask the scanners about releases, and show what they say.

    Exit code 1 when one failed.

    Without a name: those that were not scanned yet, or by other scanners or with older data than
    there are now. The server may run, and workers too.
    """
    from signing.names import ComponentName

    from ..domain.text import harmless

    if release is not None and everything:
        raise click.UsageError("--all goes without a name")
    failed, count = False, 0
    todo: Iterable[Any]
    if release is not None:
        name, _, version = release.partition("==")
        todo = registry.scans.of(ComponentName.parse(name, "ORG/NAME"), version or None)
    else:
        todo = registry.scans.everything() if everything else registry.scans.all_due()
    for due in todo:
        states = registry.scans.scan(due)
        if states is None:
            click.echo(f"{due.component} {due.version}: another worker scans it", err=True)
            continue
        count += 1
        click.echo(f"{due.component} {due.version}")
        for each in states:
            failed = failed or each.state == "failed"
            detail = f"  {harmless(each.detail)}" if each.detail else ""
            click.echo(f"  {each.scanner:12} {each.scanner_version:8} {each.state}{detail}")
    click.echo(f"{count} release{'' if count == 1 else 's'} scanned", err=True)
    if failed:
        sys.exit(1)


COMMANDS = (scan,)
