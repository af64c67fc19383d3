"""The commands of `forge authority` by which a plan becomes signed metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import ForgeError
from ..output import clean
from ._command import FILE, FOLDER, Function, forge_command

if TYPE_CHECKING:
    from signing.ceremony import Ceremony


def output_option(function: Function) -> Function:
    return click.option(
        "-o", "--output", "out", type=FILE, required=True, help="The file to carry."
    )(function)


def from_option(function: Function) -> Function:
    return click.option(
        "--from",
        "folder",
        type=FOLDER,
        required=True,
        metavar="FOLDER",
        help="The authority's metadata: every root, targets, registrar.",
    )(function)


def dev_option(function: Function) -> Function:
    return click.option(
        "--dev", is_flag=True, help="Allow a root that one theft or one loss destroys."
    )(function)


def show_words(context: Context, ceremony: Ceremony, *, answer: bool) -> None:
    """The ceremony in words: as the answer, or beside it."""
    from signing.ceremony_words import describe, follows_from

    write = context.out.answer if answer else context.out.say
    write(f"follows from {follows_from(ceremony)}")
    for item in describe(ceremony):
        write("")
        write(item.title)
        for line in item.lines:
            write(f"  {clean(line)}")
        for one in item.signatures:
            state = "complete" if not one.missing else f"{one.missing} more needed"
            write(f"  signatures by {one.by}: {len(one.signed)} of {one.threshold}, {state}")
            for keyid in one.signed:
                write(f"    signed {keyid}")
    write("")
    write(f"digest {ceremony.digest}")


def _progress(context: Context, ceremony: Ceremony, path: Path) -> None:
    from signing.ceremony_words import describe

    from ..flows.ceremony import missing

    waiting = missing(describe(ceremony))
    for line in waiting:
        context.out.say(f"  still needed: {line}")
    if waiting:
        context.out.next_step(
            f"carry {path} to the next keyholder: forge authority sign {path} --key KEY"
        )
    elif ceremony.roots:
        context.out.next_step(f"where there is a network: forge authority submit {path}")
    else:
        context.out.next_step(f"forge authority finish {path} --into FOLDER")


@forge_command("inspect", registry=False)
@click.argument("file", type=FILE)
def inspect(context: Context, file: Path) -> None:
    """Say what FILE would change, and who has signed it."""
    from ..flows import ceremony as flow

    ceremony = flow.inspect(context, file)
    context.out.result(flow.as_json(ceremony))
    show_words(context, ceremony, answer=True)


@forge_command("sign", registry=False, signs=True)
@click.argument("file", type=FILE)
@click.option(
    "--key",
    "references",
    multiple=True,
    required=True,
    metavar="KEY",
    help="A key of `forge key list`, a key file, or a token; repeat it for several.",
)
@click.option("--fingerprint", metavar="SHA256", help="Of the authority's first root, from paper.")
@click.option("--digest", metavar="SHA256", help="Refuse unless the ceremony has this digest.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
@dev_option
@click.option("-o", "--output", "out", type=FILE, help="Write another file instead of FILE.")
def sign(
    context: Context,
    file: Path,
    references: tuple[str, ...],
    fingerprint: str | None,
    digest: str | None,
    yes: bool,
    dev: bool,
    out: Path | None,
) -> None:
    """Sign FILE with your key, after saying what it changes."""
    from ..flows import ceremony as flow

    ceremony = flow.inspect(context, file)
    asks = context.interactive and not yes
    mark = flow.require_stated(ceremony, fingerprint, digest, asked=asks)
    show_words(context, ceremony, answer=False)
    if asks and not context.ask("Is this what you want to sign, and the digest the others read?"):
        raise ForgeError("usage", "not signed; nothing was written")
    done = flow.sign(context, file, references, mark=mark, digest=digest, dev=dev, out=out)
    context.out.result({"file": str(out or file), **flow.as_json(done)})
    context.out.answer(done.digest)
    context.out.done(f"signed; {out or file} holds the signature")
    _progress(context, done, out or file)


@forge_command("merge", registry=False)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@output_option
def merge(context: Context, files: tuple[Path, ...], out: Path) -> None:
    """Put the signatures of several files into one."""
    from ..flows import ceremony as flow

    merged = flow.merge(context, files, out)
    context.out.result({"file": str(out), **flow.as_json(merged)})
    context.out.answer(merged.digest)
    context.out.done(f"{out} holds all signatures")
    _progress(context, merged, out)


@forge_command("finish", registry=False)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option(
    "--into", "folder", type=FOLDER, required=True, metavar="FOLDER", help="The metadata folder."
)
@click.option("--fingerprint", metavar="SHA256", help="Of the authority's first root.")
def finish(
    context: Context, files: tuple[Path, ...], folder: Path, fingerprint: str | None
) -> None:
    """Write the metadata that enough keyholders signed."""
    from ..flows import ceremony as flow

    mark, new = flow.finish_into(context, files, folder, fingerprint)
    context.out.result({"folder": str(folder), "fingerprint": mark, "files": list(new)})
    context.out.answer(mark)
    context.out.done(f"{folder}: {', '.join(new) or 'nothing new'}")
    if "1.root.json" in new:
        context.out.next_step(
            f"take {folder} to the server: forge-server adopt DIR {folder}",
            "publish the fingerprint where people can compare it",
        )


@forge_command("submit", signs=True)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option(
    "--status-key",
    "status_keys",
    multiple=True,
    metavar="KEY",
    help="On the status host, where its keys change: sign what it says along with it.",
)
@click.option(
    "--forget-withheld",
    is_flag=True,
    help="With --status-key: the old host's key was stolen, so withhold nothing of what it said.",
)
def submit(
    context: Context,
    files: tuple[Path, ...],
    status_keys: tuple[str, ...],
    forget_withheld: bool,
) -> None:
    """Send what a ceremony finished to the registry."""
    from ..flows import ceremony as flow

    sent = flow.submit(context, files, status_keys, forget_withheld=forget_withheld)
    context.out.result({"accepted": sent})
    for role, version in sent.items():
        context.out.answer(f"{role} {version}")
    context.out.done(f"{context.url} shows it, and it verifies")


@forge_command("fetch")
@click.argument("folder", type=FOLDER)
def fetch(context: Context, folder: Path) -> None:
    """Bring the authority's metadata into FOLDER.

    It is the current one, to carry to a planning machine.
    """
    from ..flows import ceremony as flow

    chain, new = flow.fetch(context, folder)
    context.out.result({"folder": str(folder), "root": len(chain.roots), "files": list(new)})
    context.out.answer(f"root {len(chain.roots)}")
    context.out.done(f"{folder}: {', '.join(new) or 'nothing new'}")


@forge_command("public-key", registry=False, signs=True)
@click.argument("key")
def public_key(context: Context, key: str) -> None:
    """Print the public half of KEY, for whoever plans."""
    from ..flows.keys import open_key

    public = open_key(context, key).public
    context.out.result({"keyid": public.keyid, "public": public.pem.decode()})
    context.out.answer(public.pem.decode().rstrip("\n"))
    context.out.say(f"key id {public.keyid}")


COMMANDS = (inspect, sign, merge, finish, submit, fetch, public_key)
