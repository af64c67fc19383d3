"""``forge-witness``: the commands of a witness's operator. Each imports what it needs."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from signing.left_out import leave_out

from .. import __version__

if TYPE_CHECKING:
    from .memory import LogMemory

_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
_PASSPHRASE = click.option(
    "--passphrase-fd", type=int, help="Read the key's passphrase from this file descriptor."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class _Failing(click.Group):
    """Shows our errors as a message and a hint, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from signing.errors import SigningError

        from ..errors import RegistryError
        from .errors import WitnessError

        try:
            return super().invoke(ctx)
        except (WitnessError, SigningError, RegistryError) as error:
            _fail(error.message, getattr(error, "hint", None))
        except KeyboardInterrupt:
            sys.exit(130)
        except OSError as error:
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", None)


def _fail(message: str, hint: str | None) -> NoReturn:
    from ..domain.text import harmless

    click.echo(f"error: {harmless(message)}", err=True)
    for line in (hint or "").splitlines():
        click.echo(f"hint: {harmless(line)}", err=True)
    sys.exit(1)


@click.group(cls=_Failing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="forge-witness")
def cli() -> None:
    """Witness transparency logs: cosign what grows, refuse what rewrites."""


def main() -> None:
    leave_out()
    cli(prog_name="forge-witness")


@cli.command()
@_FOLDER
@click.option("--name", required=True, help="The witness's name: like a URL without https://.")
@click.option("--insecure-unencrypted", is_flag=True, help="Keep the key without a passphrase.")
@_PASSPHRASE
def init(folder: Path, name: str, insecure_unencrypted: bool, passphrase_fd: int | None) -> None:
    """Make a witness in DIR; prints its verifier key, alone, on stdout."""
    from signing.keys import generate_key

    from .memory import WitnessFolder
    from .passphrase import new_passphrase

    passphrase = None if insecure_unencrypted else new_passphrase(passphrase_fd)
    key = generate_key("ed25519")
    made = WitnessFolder.create(folder, name, key, key.to_pem(passphrase))
    click.echo(made.own.vkey)
    if insecure_unencrypted:
        click.echo(f"{made.key_file} is NOT protected by a passphrase", err=True)
    click.echo("Give this line to the operators of the logs. Next:", err=True)
    click.echo(f"  forge-witness add-log {folder} VKEY-OF-A-LOG", err=True)


@cli.command("add-log")
@_FOLDER
@click.argument("vkey")
def add_log(folder: Path, vkey: str) -> None:
    """Witness the log with the verifier key VKEY from now on.

    A second key of the same name is trusted beside the first: a log may change its key. A running
    witness notices by itself.
    """
    from .memory import WitnessFolder

    keys = WitnessFolder(folder).add_log(vkey)
    click.echo(f"{keys[0].name}: {len(keys)} key{'s' * (len(keys) > 1)} trusted", err=True)


@cli.command("list")
@_FOLDER
def list_logs(folder: Path) -> None:
    """List the logs, each with the size cosigned last."""
    from .memory import WitnessFolder

    for log in WitnessFolder(folder).logs():
        told = _describe(log)
        size = "nothing cosigned yet" if told["size"] is None else told["size"]
        click.echo(f"{told['origin']}  {told['problem'] or size}")


@cli.command()
@_FOLDER
@_JSON
def show(folder: Path, as_json: bool) -> None:
    """Show the verifier key, the logs, and what was cosigned last."""
    from .memory import WitnessFolder

    witness = WitnessFolder(folder)
    logs = [_describe(log) for log in witness.logs()]
    evidence = sorted(str(path) for path in witness.evidence.glob("*.json"))
    if as_json:
        document = {"vkey": witness.own.vkey, "logs": logs, "evidence": evidence}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    click.echo(witness.own.vkey)
    for log in logs:
        click.echo(f"\nlog       {log['origin']}")
        for key in log["keys"]:
            click.echo(f"key       {key}")
        for name in ("size", "root", "problem"):
            if log[name] is not None:
                click.echo(f"{name:9} {log[name]}")
        click.echo(f"monitor   /{log['monitor']}")
    for path in evidence:
        click.echo(f"\nEVIDENCE  {path}")


def _describe(log: LogMemory) -> dict[str, Any]:
    from .errors import UnusableError

    seen = problem = None
    try:
        with log.locked():
            seen = log.seen()
    except UnusableError as error:
        problem = error.message
    keys = log.keys()
    return {
        "origin": keys[0].name,
        "keys": [key.vkey for key in keys],
        "size": seen.head.size if seen else None,
        "root": seen.head.root.hex() if seen else None,
        "monitor": f"{log.root.name}/checkpoint",
        "problem": problem,
    }


@cli.command()
@_FOLDER
@click.argument("checkpoint", type=click.File("rb"))
def recover(folder: Path, checkpoint: Any) -> None:
    """After a loss of memory: remember CHECKPOINT as cosigned last.

    It must be signed by the log and bear this witness's own cosignature, and should be the newest
    such checkpoint that anybody has. Stop the witness first, and ask before you run this: whatever
    was cosigned after that checkpoint is forgotten for good.
    """
    from signing.tlog.checkpoint import parse_tree_head
    from signing.tlog.note import MAX_NOTE_BYTES, parse_note

    from .errors import UnusableError
    from .memory import WitnessFolder

    witness = WitnessFolder(folder)
    raw = checkpoint.read(MAX_NOTE_BYTES + 1)
    origin = parse_tree_head(parse_note(raw).text).origin
    log = witness.log(origin)
    if log is None:
        raise UnusableError(
            f"{origin}: expected a log that this witness knows, found another",
            f"first: forge-witness add-log {folder} VKEY-OF-THE-LOG",
        )
    seen = log.recover(raw)
    click.echo(f"{origin}: size {seen.head.size} is what was cosigned last", err=True)


@cli.command()
@_FOLDER
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True,
              help="Port; 0 takes a free one.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 256), default=16, show_default=True)
@_PASSPHRASE
def run(folder: Path, host: str, port: int, threads: int, passphrase_fd: int | None) -> None:
    """Answer for the witness in DIR until Ctrl-C."""
    from signing.keys import is_encrypted

    from ..logs import start_logging
    from ..operate.listening import listen, serve_with, url_of
    from .app import create_app
    from .memory import WitnessFolder
    from .passphrase import ask_passphrase
    from .service import Witness

    start_logging()
    opened = WitnessFolder(folder.absolute())
    key = opened.load_key(lambda pem: ask_passphrase(passphrase_fd) if is_encrypted(pem) else None)
    witness = Witness(folder=opened, key=key, clock=lambda: datetime.now(UTC))
    witness.require_whole()
    listener = listen(host, port)
    url = url_of(listener)

    def ready() -> None:
        click.echo(f"{opened.own.vkey} on {url}")
        click.echo("Ctrl-C stops it.", err=True)

    serve_with(
        lambda: create_app(witness),
        listener=listener,
        workers=1,
        threads=threads,
        name="forge-witness",
        on_ready=ready,
    )


if __name__ == "__main__":
    main()
