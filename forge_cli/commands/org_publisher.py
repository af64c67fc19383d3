"""`forge org publisher`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..context import Context
from ..output import clean
from ._command import Function, forge_command

if TYPE_CHECKING:
    from ..flows.publishers import Changed


@click.group("publisher")
def publisher() -> None:
    """Say which keys publish a component, and take them back."""


def _keys(function: Function) -> Function:
    return click.option(
        "--key",
        "keys",
        multiple=True,
        required=True,
        metavar="PUBLIC",
        help="A public key: a PEM file, or a key of this machine. May be repeated.",
    )(function)


@forge_command("list")
@click.argument("component", metavar="ORG/NAME")
def list_(context: Context, component: str) -> None:
    """List the keys that publish ORG/NAME, and those that did."""
    from signing.names import ComponentName

    from ..flows.publishers import publishers

    found = publishers(context.view, ComponentName.parse(component))
    rows = [{"keyid": key.keyid, "state": "current"} for key in found.keys]
    rows += [{"keyid": key.keyid, "state": "retired"} for key in found.former.retired]
    rows += [
        {"keyid": item.key.keyid, "state": "revoked", **item.to_json()}
        for item in found.former.revoked
    ]
    context.out.result({"threshold": found.threshold, "keys": rows})
    context.out.table(
        [
            [row["state"], row["keyid"], row.get("at", ""), clean(row.get("reason", ""))]
            for row in rows
        ]
    )
    context.out.say(f"{found.threshold} of {len(found.keys)} current keys sign together")


@forge_command("add", signs=True)
@click.argument("component", metavar="ORG/NAME")
@_keys
def add(context: Context, component: str, keys: tuple[str, ...]) -> None:
    """Let further keys publish ORG/NAME."""
    from signing.names import ComponentName

    from ..flows import publishers as flow

    name = ComponentName.parse(component)
    _say(context, component, flow.add(context, name, keys))


@forge_command("remove", signs=True)
@click.argument("component", metavar="ORG/NAME")
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="KEYID",
    help="The beginning of a key id, or a public key. May be repeated.",
)
def remove(context: Context, component: str, keys: tuple[str, ...]) -> None:
    """Let keys no longer publish ORG/NAME. What they signed stays good; else revoke them."""
    from signing.names import ComponentName

    from ..flows import publishers as flow

    name = ComponentName.parse(component)
    _say(context, component, flow.remove(context, name, keys))


@forge_command("replace", signs=True)
@click.argument("component", metavar="ORG/NAME")
@_keys
@click.option("--threshold", type=int, metavar="N", help="How many of them sign together.")
def replace(context: Context, component: str, keys: tuple[str, ...], threshold: int | None) -> None:
    """Let exactly these keys publish ORG/NAME. What the others signed stays good."""
    from signing.names import ComponentName

    from ..flows import publishers as flow

    name = ComponentName.parse(component)
    _say(context, component, flow.replace(context, name, keys, threshold))


@forge_command("revoke", signs=True)
@click.argument("component", metavar="ORG/NAME")
@click.argument("keyid")
@click.option("--at", metavar="INSTANT", help="Since when, like 2026-01-31T12:00:00Z (now).")
@click.option("--reason", default="", metavar="TEXT", help="Shown to everybody.")
def revoke(context: Context, component: str, keyid: str, at: str | None, reason: str) -> None:
    """Take a key back, for good.

    Releases that it alone signed stop installing.

    They install again once a publisher with another key has run `forge resign`.
    """
    from signing.names import ComponentName
    from signing.publisher_keys import parse_instant

    from ..flows import publishers as flow

    name = ComponentName.parse(component)
    since = None if at is None else parse_instant(at, "--at")
    _say(context, component, flow.revoke(context, name, keyid, since, reason), resign=True)


def _say(context: Context, component: str, done: Changed, *, resign: bool = False) -> None:
    out, after = context.out, done.delegation
    out.result(
        {
            "component": component,
            "threshold": after.threshold,
            "keyids": [key.keyid for key in after.keys],
            "retired": [key.keyid for key in after.former.retired],
            "revoked": [item.to_json() for item in after.former.revoked],
            "sent": done.file is None,
            "file": str(done.file) if done.file else None,
            "missing": done.missing or None,
        }
    )
    if done.file is not None:
        out.done(f"written to {done.file}: others must sign it too, one of {done.missing}")
        out.next_step(f"carry {done.file} to one of them: forge org sign {done.file}")
        return
    keys = ", ".join(key.keyid[:12] for key in after.keys)
    out.done(f"{component} is published by {after.threshold} of {len(after.keys)}: {keys}")
    if resign:
        out.say("  releases that only the revoked key signed stop installing now")
    out.next_step(f"a publisher signs the index anew: forge resign {component}")


for _each in (list_, add, remove, replace, revoke):
    publisher.add_command(_each)
