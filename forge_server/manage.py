"""``forge-server``: the operator's commands. Each imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from signing.left_out import leave_out

from . import __version__
from .commands import access, backup, desk, hooks, scanning, upkeep, upstream
from .commands.common import FOLDER as _FOLDER
from .commands.common import fail as _fail
from .commands.common import with_registry as _with_registry


class _Failing(click.Group):
    """Shows our errors as a message and a hint, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from signing.errors import SigningError
        from storage.errors import StorageError

        from .errors import RegistryError

        try:
            return super().invoke(ctx)
        except (RegistryError, SigningError, StorageError) as error:
            _fail(error.message, error.hint)
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            sys.exit(130)
        except OSError as error:
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", None)


@click.group(cls=_Failing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="forge-server", message="%(prog)s %(version)s")
def cli() -> None:
    """Make, run and look after a registry."""


def main() -> None:
    """What the console script calls; a wrong command line is told like every other refusal."""
    leave_out()
    try:
        code = cli.main(prog_name="forge-server", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = None if context is None else f"see {context.command_path} --help"
        _fail(" ".join(error.format_message().split()), hint, 2)
    except click.Abort:
        click.echo("\ninterrupted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


@cli.command()
@_FOLDER
@click.option("--dev", is_flag=True, help="Also make a development authority in DIR-authority.")
@click.option(
    "--log-origin",
    metavar="NAME",
    help="The public log's name for ever, for instance registry.example/log (default: made up).",
)
@click.option(
    "--with-status",
    is_flag=True,
    help="With --dev: also name a status host, whose word must be renewed every 48 hours.",
)
@click.option(
    "--database",
    metavar="URL",
    help="An empty PostgreSQL database, postgresql://USER@HOST/NAME (default: SQLite in DIR). "
    "The password comes from ~/.pgpass, PGPASSFILE or PGPASSWORD.",
)
@click.option(
    "--settings",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Begin with these settings, for instance an object store (default: all defaults).",
)
def init(
    folder: Path,
    dev: bool,
    log_origin: str | None,
    with_status: bool,
    database: str | None,
    settings: Path | None,
) -> None:
    """Make a new registry in DIR."""
    from .operate.initialise import initialise

    if with_status and not dev:
        raise click.UsageError("--with-status goes with --dev")
    made = initialise(
        folder,
        dev=dev,
        log_origin=log_origin,
        with_status=with_status,
        database=database,
        settings=settings,
    )
    click.echo(f"registry   {folder}")
    if database is not None:
        click.echo(f"database   {database}")
    if made.authority is not None:
        authority = folder.with_name(f"{folder.name}-authority")
        click.echo(
            f"authority  {authority}   DEVELOPMENT ONLY: every key in one place, unprotected"
        )
        click.echo(f"root       {made.fingerprint}   (also in {folder}/root.fingerprint)")
        click.echo("\nnext:", err=True)
        click.echo(f"  forge-server user add {folder} NAME > NAME.token", err=True)
        click.echo(f"  forge-server run {folder}", err=True)
        if with_status:
            click.echo(f"  forge authority status --key {authority}/status.pem", err=True)
            click.echo("  (clients refuse the registry before, and 48 hours after)", err=True)
        return
    keys = folder / "online-keys.json"
    click.echo(f"its keys   {keys}   (public, for the authority)")
    click.echo("\nnext, where the authority's keys shall be:", err=True)
    click.echo(f"  forge authority plan-first … --online-keys {keys}   (k of n people)", err=True)
    click.echo(f"  forge authority init A --online-keys {keys}   (one, to try it)", err=True)
    click.echo("and then here:", err=True)
    click.echo(f"  forge-server adopt {folder} A/metadata", err=True)


@cli.command()
@_FOLDER
@click.argument("metadata", type=click.Path(path_type=Path))
def adopt(folder: Path, metadata: Path) -> None:
    """Take over what the authority signed, from the folder METADATA."""
    from .operate import adopt as adoption
    from .settings import DataFolder

    done = adoption.adopt(DataFolder(folder), metadata)
    click.echo(f"root {done.fingerprint}")
    for name in done.files:
        click.echo(f"  {name}", err=True)
    if not done.files:
        click.echo("nothing new", err=True)
    if done.read_only is not None:
        click.echo(f"READ-ONLY: {done.read_only}", err=True)
    else:
        click.echo(f"next: forge-server run {folder}   (or restart it)", err=True)
    if done.status_missing:
        click.echo(
            "The authority names a status host. Until it has signed (forge authority status, on "
            "its own machine) clients refuse this registry.",
            err=True,
        )


@cli.command()
@_FOLDER
@click.option("--host", help="Address to listen on (default: 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes (default: 1).")
def run(folder: Path, host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the registry in DIR until Ctrl-C."""
    from .operate.listening import listen, url_of
    from .operate.serve import prepare, serve
    from .settings import DataFolder, read_settings
    from .wiring import read_fingerprint

    data = DataFolder(folder.absolute()).require()
    settings = read_settings(data.settings)
    read_only = prepare(data)
    listener = listen(host or settings.host, settings.port if port is None else port)
    url = url_of(listener)

    def ready() -> None:
        click.echo(f"{settings.name} on {url}")
        click.echo(f"root {read_fingerprint(data)}")
        if read_only is not None:
            click.echo(f"READ-ONLY: {read_only}", err=True)
        click.echo("Ctrl-C stops it.", err=True)

    serve(
        data,
        listener=listener,
        workers=workers or settings.workers,
        threads=settings.threads,
        on_ready=ready,
    )


@cli.command()
@_FOLDER
@click.option("--once", is_flag=True, help="Do what there is to do, and exit; 1 when prevented.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds from one look to the next.",
)
@_with_registry
def worker(registry: Any, once: bool, interval: float) -> None:
    """Sign again what grows old in DIR, until SIGTERM.

    Ctrl-C ends it as well.

    For registries of several servers that say embedded_worker = false in server.toml. Any number
    of workers may run. While the keys are not those that the root names, a worker says so and
    waits.
    """
    from .logs import start_logging
    from .operate.worker import Worker, stop_on_signals

    start_logging()
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        click.echo(line)

    work = Worker(registry, say)
    if once:
        free = work.once()
        if not told:
            click.echo("nothing to do")
        sys.exit(0 if free else 1)
    stop = stop_on_signals()
    click.echo(f"looking every {interval:g} seconds; Ctrl-C stops it", err=True)
    work.run(interval, stop)


@cli.command()
@click.option(
    "--once", is_flag=True, help="Exit at the end instead of serving on, as without a terminal."
)
@click.option("--real-model", is_flag=True, help="Also publish a 90 MB model (downloads it).")
@click.option(
    "--examples",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the example components (default: the checkout's).",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port (default: any free).")
def demo(once: bool, real_model: bool, examples: Path | None, port: int) -> None:
    """Show the whole way: publish, verify, install, run."""
    from .operate.demo import demonstrate, find_examples

    demonstrate(examples=find_examples(examples), port=port, once=once, real_model=real_model)


@cli.command()
@_FOLDER
@click.option("--finish", is_flag=True, help="First publish what a crash left unpublished.")
@click.option("--deep", is_flag=True, help="Also read and hash every blob of every release.")
@_with_registry
def check(registry: Any, finish: bool, deep: bool) -> None:
    """Compare database, blobs and published files.

    Exit code 1 when something is wrong.
    """
    from .domain.text import harmless
    from .operate.check import check_registry

    if finish:
        written = registry.publication.materialise()
        click.echo(f"published {written} role files that were waiting", err=True)

    def tell(what: str) -> None:
        if sys.stderr.isatty():  # somebody waits, perhaps for hours
            click.echo(f"looking at {what}", err=True)

    report = check_registry(registry, deep=deep, tell=tell)
    for note in report.notes:
        click.echo(f"note: {harmless(note)}", err=True)
    for problem in report.problems:
        click.echo(harmless(problem))
    if report.problems:
        count = len(report.problems) + report.more
        if report.more:
            click.echo(f"and {report.more} more")
        click.echo("1 problem" if count == 1 else f"{count} problems", err=True)
        sys.exit(1)
    click.echo(f"{report.releases} releases, {report.roles} roles: nothing wrong", err=True)


@cli.command()
@_FOLDER
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--action", help="Only events of this action, like release.publish.")
@click.option("--request", metavar="ID", help="Only the events of this request.")
@_with_registry
def audit(registry: Any, limit: int, action: str | None, request: str | None) -> None:
    """Print the newest events, oldest first."""
    import json

    from .domain.text import one_log_line

    rows = registry.audit.newest(limit, action, request)
    for row in rows:
        line = (
            f"{row.at:%FT%TZ}  {row.actor or row.address or '-':12}  {row.action:20}  "
            f"{row.subject or '-'}  {row.outcome}  {row.request_id or '-'}  "
            f"{json.dumps(dict(row.detail))}"
        )
        click.echo(one_log_line(line))
    if not rows:
        click.echo("no such event", err=True)


@cli.command()
@_FOLDER
def migrate(folder: Path) -> None:
    """Bring the database to the schema of this version. Make a copy first."""
    from .db import migrate as migration
    from .settings import DataFolder, database_of, read_settings

    data = DataFolder(folder).require()
    before, after = migration.migrate(database_of(data, read_settings(data.settings)))
    click.echo("nothing to do" if before == after else f"{before} -> {after}", err=True)


for _command in (
    *access.COMMANDS, *upkeep.COMMANDS, *scanning.COMMANDS, *backup.COMMANDS, *desk.COMMANDS,
    *upstream.COMMANDS,
):  # fmt: skip
    cli.add_command(_command)
cli.add_command(hooks.webhook)


if __name__ == "__main__":
    main()
