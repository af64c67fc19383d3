"""``backup``, ``restore`` and ``confirm``: a copy of the registry, and the way back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .common import FOLDER, publishing, with_registry

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_PLACE = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@FOLDER
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--with-keys", is_flag=True, help="Also the signing keys: whoever reads it can then sign."
)
@with_registry
def backup(registry: Any, target: Path, with_keys: bool) -> None:
    """Add a backup to the folder TARGET.

    The server may run meanwhile, and publishers too. What TARGET has from earlier backups is not
    copied again. A backup that was killed does not count; the same command again goes on.
    """
    from ..domain.amounts import show_bytes
    from ..operate.backup import back_up

    done = back_up(registry, target, with_keys=with_keys, tell=click.echo)
    manifest = done.manifest
    click.echo(done.name)
    click.echo(
        f"{manifest.releases} releases, {manifest.log_size} log entries; {done.copied} blobs "
        f"copied, {show_bytes(done.copied_bytes)}",
        err=True,
    )
    if with_keys:
        click.echo("The signing keys are in it: keep it as you keep them.", err=True)
    if manifest.absent:
        click.echo(
            f"{len(manifest.absent)} blobs are damaged or gone: forge-server scrub", err=True
        )
        sys.exit(1)


@click.command()
@click.argument("target", type=_PLACE)
@FOLDER
@click.option("--backup", "name", metavar="NAME", help="Which one (default: the newest).")
@click.option("--database", metavar="URL", help="An empty PostgreSQL database (default: SQLite).")
@click.option(
    "--settings", metavar="FILE", type=_FILE,
    help="A server.toml that says where everything shall be (default: all of it in DIR).",
)  # fmt: skip
@click.option("--keys", metavar="FOLDER", type=_PLACE, help="The server's keys, kept elsewhere.")
@click.option(
    "--checkpoint", metavar="FILE", type=_FILE,
    help="The newest checkpoint of the public log that a client or a witness has.",
)  # fmt: skip
@click.option("--newest", is_flag=True, help="Nobody can have seen anything newer; be sure.")
def restore(
    target: Path,
    folder: Path,
    name: str | None,
    database: str | None,
    settings: Path | None,
    keys: Path | None,
    checkpoint: Path | None,
    newest: bool,
) -> None:
    """Bring a registry back from TARGET into the empty folder DIR.

    Until somebody says that the world has seen nothing newer, with --checkpoint or --newest here or
    with forge-server confirm later, it signs nothing: an old copy that signs is a second history.
    """
    from ..operate.restore import Wishes, restore
    from ..wiring import utc_now

    if newest and checkpoint is not None:
        raise click.UsageError("--newest and --checkpoint: one of them")
    wishes = Wishes(
        backup=name, settings=settings, database=database, keys=keys, checkpoint=checkpoint,
        newest=newest,
    )  # fmt: skip
    done = restore(target, folder, wishes, utc_now, click.echo)
    manifest = done.manifest
    click.echo(f"{done.name}: {manifest.releases} releases, {manifest.log_size} log entries")
    click.echo(f"next: forge-server check {folder} --finish --deep", err=True)
    if not done.keys:
        click.echo(
            f"The server's keys are not in the backup: put them into {folder}/keys first.", err=True
        )
    if done.why is not None:
        click.echo(f"READ-ONLY: {done.why}", err=True)
    if done.missing:
        click.echo(f"{len(done.missing)} blobs are missing: forge-server scrub --from", err=True)
        sys.exit(1)


@click.command()
@FOLDER
@click.option(
    "--checkpoint", metavar="FILE", type=_FILE,
    help="The newest checkpoint of the public log that a client or a witness has.",
)  # fmt: skip
@click.option("--newest", is_flag=True, help="Nobody can have seen anything newer; be sure.")
@with_registry
@publishing
def confirm(registry: Any, checkpoint: Path | None, newest: bool) -> None:
    """Let a restored registry sign again: nothing newer was seen."""
    from ..operate.restore import confirm_registry

    if newest == (checkpoint is not None):
        raise click.UsageError("say --checkpoint FILE or --newest")
    why = confirm_registry(registry, checkpoint)
    if why is not None:
        click.echo(f"READ-ONLY: {why}", err=True)
        sys.exit(1)
    click.echo("it signs", err=True)


COMMANDS = (backup, restore, confirm)
