"""`forge key`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..keystore import DEFAULT_KEY, StoredKey
from ..output import clean
from ._command import FILE, forge_command


@click.group("key")
def command() -> None:
    """Make, show and list signing keys."""


def _guard(key: StoredKey) -> str:
    return {
        "passphrase": "with a passphrase",
        "no passphrase": "WITHOUT a passphrase",
        "token": "in a token",
        "command": "behind a command",
    }[key.guarded_by]


def _row(key: StoredKey) -> dict[str, object]:
    return {
        "name": key.name,
        "keyid": key.public.keyid,
        "algorithm": key.public.algorithm,
        "encrypted": key.encrypted,
        "guarded_by": key.guarded_by,
        "path": str(key.path),
        "reference": key.reference,
    }


@forge_command("new", registry=False, signs=True)
@click.argument("name", default=DEFAULT_KEY)
@click.option(
    "--algorithm",
    type=click.Choice(["p256", "ed25519"]),
    default="p256",
    show_default=True,
    help="Releases are signed with p256.",
)
@click.option(
    "--insecure-unencrypted",
    is_flag=True,
    help="Write the key without a passphrase: whoever reads the file can sign as you.",
)
@click.option(
    "--pkcs11",
    "uri",
    metavar="URI",
    help="Make it inside the token that this pkcs11: URI names, which it cannot leave.",
)
def new(
    context: Context, name: str, algorithm: str, insecure_unencrypted: bool, uri: str | None
) -> None:
    """Make a key pair called NAME ('default' unless given)."""
    context.keys.require_free(name)
    if uri is not None:
        _new_in_token(context, name, algorithm, uri)
        return
    passphrase = None if insecure_unencrypted else context.passphrases.new(f"key {name}")
    key = context.keys.create(name, algorithm, passphrase)
    out = context.out
    out.result(_row(key))
    out.answer(key.public.keyid)
    out.done(f"key {key.name!r} is in {key.path}")
    if insecure_unencrypted:
        out.warn("it has no passphrase: whoever can read that file can sign as you")
    else:
        out.say("  there is no way to recover the passphrase: keep a copy of both somewhere safe")
    out.next_step(
        "forge org create NAME --kind startup --display-name 'Your name'",
        "or give this key id to the organisation that you publish for",
    )


def _new_in_token(context: Context, name: str, algorithm: str, uri: str) -> None:
    from ..signers.pkcs11 import generate_in_token

    key = generate_in_token(uri, algorithm, context.passphrases)
    _say_added(context, context.keys.add(name, uri, key.public), "made in the token")


@forge_command("add", registry=False, signs=True)
@click.argument("name")
@click.argument("reference", metavar="pkcs11:URI|exec:COMMAND")
@click.option("--public", type=FILE, help="Its public key in PEM, where it cannot be asked for.")
def add(context: Context, name: str, reference: str, public: Path | None) -> None:
    """Remember as NAME a key in a token, or one that a command signs with.

    Only where it is and its public half are kept here. From then on NAME signs like any other key.
    """
    from ..flows.keys import add_reference

    _say_added(context, add_reference(context, name, reference, public), "added")


def _say_added(context: Context, key: StoredKey, what: str) -> None:
    context.out.result(_row(key))
    context.out.answer(key.public.keyid)
    context.out.done(f"{what}: key {key.name!r}, {key.public.algorithm}")
    context.out.next_step(f"sign with it: --key {key.name}")


@forge_command("show", registry=False)
@click.argument("name", required=False)
@click.option("--pem", is_flag=True, help="Print the public key itself.")
def show(context: Context, name: str | None, pem: bool) -> None:
    """Show a key's id, or its public half."""
    from ..flows.signers import own_key

    key = own_key(context, name)
    out = context.out
    out.result(_row(key) | {"public": key.public.pem.decode()})
    if pem:
        out.answer(key.public.pem.decode().rstrip("\n"))
        return
    out.answer(key.public.keyid)
    out.say(
        f"  {key.name}: {key.public.algorithm}, {_guard(key)}, {clean(key.reference or key.path)}"
    )


@forge_command("list", registry=False)
def list_(context: Context) -> None:
    """List the keys on this machine."""
    keys = list(context.keys.all())
    context.out.result([_row(key) for key in keys])
    context.out.table(
        [
            [
                key.name,
                key.public.keyid[:16],
                key.public.algorithm,
                key.guarded_by,
            ]
            for key in keys
        ]
    )
    if not keys:
        context.out.say("no keys yet")
        context.out.next_step("forge key new")


for _each in (new, add, show, list_):
    command.add_command(_each)
