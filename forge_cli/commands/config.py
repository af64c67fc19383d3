"""`forge config`."""

from __future__ import annotations

import click

from ..config import SETTINGS
from ..context import Context
from ..errors import UsageError
from ._command import forge_command


@click.group("config")
def command() -> None:
    """Read and change settings."""


@forge_command("get", registry=False)
@click.argument("name")
def get(context: Context, name: str) -> None:
    """Print one setting; exit code 5 when it is not set."""
    from ..errors import ForgeError

    value = context.config.get(name)
    if value is None:
        raise ForgeError("not-found", f"{name} is not set")
    context.out.result({name: value})
    context.out.answer(value)


@forge_command("set", registry=False)
@click.argument("name")
@click.argument("value")
def set_(context: Context, name: str, value: str) -> None:
    """Change one setting; an empty VALUE takes it out."""
    if name == "key" and value and value not in context.keys.names():
        raise UsageError(f"key: there is no key {value!r} here", hint="see them: forge key list")
    context.config.set_value(name, value or None)
    context.out.result({name: value or None})
    context.out.done(f"{name} = {context.config.get(name)}" if value else f"{name} is not set")


@forge_command("list", registry=False)
def list_(context: Context) -> None:
    """List all settings, and where they are kept."""
    values = {name: context.config.get(name) for name in SETTINGS}
    context.out.result(values)
    context.out.table([[name, values[name] or "-", text] for name, text in SETTINGS.items()])
    context.out.say(f"in {context.places.config}")


for _each in (get, set_, list_):
    command.add_command(_each)
