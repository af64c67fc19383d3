"""`forge trust`."""

from __future__ import annotations

import click

from ..config import normalise_url
from ..context import Context
from ..errors import ForgeError, UsageError
from ._command import forge_command


@click.group("trust")
def command() -> None:
    """Pin registries by the fingerprint of their root."""


@forge_command("add", registry=False)
@click.argument("url")
@click.option("--fingerprint", metavar="SHA256", help="From the registry's operator.")
def add(context: Context, url: str, fingerprint: str | None) -> None:
    """Trust the registry at URL, for reading; no account is needed."""
    from ..flows.trusting import pin_registry

    pin = pin_registry(context, normalise_url(url), fingerprint)
    context.out.result({"registry": pin.url, "fingerprint": pin.fingerprint})
    context.out.answer(pin.fingerprint)
    context.out.done(f"{pin.url} is trusted")
    context.out.next_step("forge search WORDS", "forge install ORG/NAME")


@forge_command("list", registry=False)
def list_(context: Context) -> None:
    """List the trusted registries."""
    pins = context.trust.pins()
    context.out.result([{"registry": url, "fingerprint": pin} for url, pin in pins.items()])
    context.out.table([[url, pin] for url, pin in pins.items()])
    if not pins:
        context.out.say("no registry is trusted yet")
        context.out.next_step("forge trust add URL --fingerprint sha256:…")


@forge_command("show", registry=False)
@click.argument("url", required=False)
def show(context: Context, url: str | None) -> None:
    """Show the pinned root of a registry."""
    import json

    pin = context.trust.require(normalise_url(url) if url else context.url)
    signed = json.loads(pin.root)["signed"]
    out = context.out
    roles = {
        name: {"threshold": role["threshold"], "keyids": role["keyids"]}
        for name, role in signed["roles"].items()
    }
    out.result(
        {
            "registry": pin.url,
            "fingerprint": pin.fingerprint,
            "version": signed["version"],
            "expires": signed["expires"],
            "roles": roles,
        }
    )
    out.answer(f"{pin.url}")
    out.answer(f"  root       {pin.fingerprint}")
    out.answer(f"  version    {signed['version']} pinned, valid until {signed['expires']}")
    for name, role in roles.items():
        ids = ", ".join(keyid[:12] for keyid in role["keyids"])
        out.answer(f"  {name:10} {role['threshold']} of {len(role['keyids'])}: {ids}")


@forge_command("witnesses", registry=False)
@click.argument("url", required=False)
@click.option(
    "--witness", "vkeys", multiple=True, metavar="VKEY", help="Require this witness; repeat it."
)
@click.option("--quorum", type=click.IntRange(0), help="How many of them (more than half).")
@click.option("--reset", is_flag=True, help="Go back to the witnesses that the authority names.")
def witnesses(
    context: Context, url: str | None, vkeys: tuple[str, ...], quorum: int | None, reset: bool
) -> None:
    """Show or choose the witnesses of the registry's public log.

    The authority names witnesses, and they count unless others are chosen here: an authority that
    chooses every witness could also choose what they say.
    """
    from signing.tlog.note import COSIGNATURE
    from signing.tlog.policy import Witnesses, default_quorum, parse_keys

    pin = context.trust.require(normalise_url(url) if url else context.url)
    if reset and vkeys:
        raise UsageError("--reset and --witness contradict each other")
    if reset:
        context.trust.set_witnesses(pin.fingerprint, None)
    elif vkeys:
        keys = parse_keys(vkeys, COSIGNATURE, "--witness")
        needed = default_quorum(len(keys)) if quorum is None else quorum
        if needed > len(keys):
            raise UsageError(f"--quorum {needed}: only {len(keys)} witnesses are named")
        context.trust.set_witnesses(pin.fingerprint, Witnesses(keys=keys, quorum=needed))
    elif quorum is not None:
        raise UsageError("--quorum needs --witness: the authority's quorum is the authority's")
    chosen = context.trust.witnesses(pin.fingerprint)
    out = context.out
    out.result(
        {
            "registry": pin.url,
            "own": chosen is not None,
            "witnesses": [key.vkey for key in chosen.keys] if chosen else [],
            "quorum": chosen.quorum if chosen else None,
        }
    )
    if chosen is None:
        out.answer("the witnesses that the registry's authority names")
        return
    out.answer(f"{chosen.quorum} of {len(chosen.keys)}")
    out.table([[key.vkey] for key in chosen.keys], indent="  ")


@forge_command("remove", registry=False)
@click.argument("url")
def remove(context: Context, url: str) -> None:
    """Trust a registry no longer."""
    url = normalise_url(url)
    if not context.trust.remove(url):
        raise ForgeError("not-found", f"{url} is not trusted anyway")
    context.out.result({"registry": url, "removed": True})
    context.out.done(f"{url} is no longer trusted")


for _each in (add, list_, show, witnesses, remove):
    command.add_command(_each)
