"""`forge key`."""

from __future__ import annotations

import click

from ..context import Context
from ..keystore import DEFAULT_KEY, StoredKey
from ._command import forge_command


@click.group("key")
def command() -> None:
    """Make, show and list signing keys."""


def _row(key: StoredKey) -> dict[str, object]:
    return {
        "name": key.name,
        "keyid": key.public.keyid,
        "algorithm": key.public.algorithm,
        "encrypted": key.encrypted,
        "path": str(key.path),
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
def new(context: Context, name: str, algorithm: str, insecure_unencrypted: bool) -> None:
    """Make a key pair called NAME ('default' unless given)."""
    from ..errors import ForgeError

    if name in context.keys.names():
        raise ForgeError(
            "already-exists",
            f"key {name!r} exists already",
            hint="choose another name: forge key new NAME",
        )
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
        f"  {key.name}: {key.public.algorithm}, "
        f"{'with' if key.encrypted else 'WITHOUT'} a passphrase, {key.path}"
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
                "passphrase" if key.encrypted else "no passphrase",
            ]
            for key in keys
        ]
    )
    if not keys:
        context.out.say("no keys yet")
        context.out.next_step("forge key new")


for _each in (new, show, list_):
    command.add_command(_each)
