"""``reports``, ``quarantine``, ``release``, ``takedown`` and ``recall``: what the operator does
about releases that should not be used."""

from __future__ import annotations

from typing import Any

import click

from .common import FOLDER, publishing, with_registry

_RELEASE = click.argument("release", metavar="ORG/NAME==VERSION")
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Shown to everybody.")


def _parsed(release: str) -> tuple[Any, str]:
    from signing.names import ComponentName

    name, separator, version = release.partition("==")
    if not separator:
        raise click.UsageError(f"expected one release like org/name==1.0.0, found {release!r}")
    return ComponentName.parse(name.strip()), version.strip()


@click.command()
@FOLDER
@click.option("--all", "everything", is_flag=True, help="Also those that were dealt with.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@with_registry
def reports(registry: Any, everything: bool, as_json: bool) -> None:
    """List what was reported about releases, newest first.

    A report is credible when its author answers for it: a member of another organisation, or an
    account of the CERT. Two credible ones that have no organisation in common hold a release back.
    """
    import json
    from dataclasses import asdict

    from ..domain.text import harmless

    found = registry.reports.newest(closed=everything)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    for one in found:
        who = one.by or f"a stranger at {one.address or 'an unknown address'}"
        marks = ["credible"] if one.credible else []
        marks += ["closed"] if one.closed_at is not None else []
        click.echo(
            f"{one.number}  {one.created_at:%Y-%m-%d %H:%M}  {one.release}  {one.kind}  by {who}"
            + (f"  ({', '.join(marks)})" if marks else "")
        )
        for line in one.text.splitlines():
            click.echo(f"    {harmless(line)}")
    if not found:
        click.echo("no reports" if everything else "no open reports", err=True)


@click.command()
@FOLDER
@_RELEASE
@_REASON
@with_registry
@publishing
def quarantine(registry: Any, release: str, reason: str) -> None:
    """Hold a release back until `release`: nobody gets it.

    This is the registry's own unsigned word; it reaches whoever fetches files from here and from
    mirrors that follow. Where a status host is named, its signed word reaches every client:
    forge authority quarantine.
    """
    from ..services.callers import OPERATOR

    name, version = _parsed(release)
    begun = registry.quarantine.begin(OPERATOR, name, version, reason)
    click.echo(f"{release} is {'held back' if begun else 'held back already'}", err=True)


@click.command("release")
@FOLDER
@_RELEASE
@_REASON
@with_registry
@publishing
def release_(registry: Any, release: str, reason: str) -> None:
    """Hand a release out again, and close the reports about it."""
    from ..services.callers import OPERATOR

    name, version = _parsed(release)
    ended = registry.quarantine.end(OPERATOR, name, version, reason)
    was = "is handed out again" if ended else "was not held back; reports about it are closed"
    click.echo(f"{release} {was}", err=True)


@click.command()
@FOLDER
@_RELEASE
@_REASON
@click.option("--order", required=True, metavar="TEXT", help="Which order: authority and number.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_registry
@publishing
def takedown(registry: Any, release: str, reason: str, order: str, yes: bool) -> None:
    """Delete a release's files for good, by order of an authority.

    A tombstone with reason and order stays, and so do manifest and signature; the version is never
    published again. Files that other releases hold as well stay with those. Backups and mirrors are
    not reached: see docs/howto/report-and-recall.md.
    """
    from ..services.callers import OPERATOR

    name, version = _parsed(release)
    if not yes:
        click.confirm(f"delete the files of {release} for good?", abort=True, err=True)
    done = registry.takedown.remove(OPERATOR, name, version, reason, order)
    click.echo(f"{release} is taken down: {done.deleted} of {done.blobs} files deleted", err=True)
    if done.deleted < done.blobs:
        click.echo(
            f"{done.blobs - done.deleted} belong to other releases too, and stay with those",
            err=True,
        )


@click.command("recall")
@FOLDER
@_RELEASE
@_REASON
@with_registry
@publishing
def recall(registry: Any, release: str, reason: str) -> None:
    """Begin the recall of a release from every host that has it.

    Told are the hosts that said they have it.
    """
    from ..services.callers import OPERATOR

    name, version = _parsed(release)
    row = registry.recalls.start(OPERATOR, name, version, reason)
    click.echo(
        f"{release} is recalled: {row.counts.hosts} hosts of {row.counts.agencies} agencies",
        err=True,
    )


COMMANDS = (reports, quarantine, release_, takedown, recall)
