"""`forge config`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..config import SETTINGS, config_home
from ..context import Context
from ..errors import UsageError
from ._command import forge_command, parse_option


@click.group("config")
def command() -> None:
    """Read and change settings, ours and those of other clients."""


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


def _for_client(client: str, summary: str) -> click.Command:
    @forge_command(client)
    @click.option("--org", metavar="ORG", help="See the packages of this organisation alone.")
    @click.option("--write", is_flag=True, help="Write the file, unless there is one.")
    def show(context: Context, org: str | None, write: bool) -> None:
        from ..flows.client_settings import settings_of, write_settings

        if org is not None:
            from signing.names import parse_org_name

            parse_option("--org", parse_org_name, org)
        settings = settings_of(client, context.url, org)
        path = None
        if write:
            path = write_settings(settings, client, Path.home(), config_home(os.environ))
        context.out.result({"settings": settings.text, "file": None if path is None else str(path)})
        if path is None:
            context.out.answer(settings.text.rstrip())
        else:
            context.out.answer(str(path))
            context.out.done(f"{client} uses {context.url}")

    show.help = f"{summary}\n\nWithout --write it prints what belongs there."
    return show


_CLIENTS = {
    "pip": "Settings with which pip installs from the registry.",
    "twine": "Settings with which twine uploads what `forge sign` has signed.",
    "uv": "Settings with which uv installs from the registry.",
    "docker": "Settings with which container tools pull from the registry.",
    "hf": "The environment in which Hugging Face's clients use the registry.",
    "mlflow": "The environment in which MLflow and fsspec read forge://.",
}
for _each in (get, set_, list_, *(_for_client(*each) for each in _CLIENTS.items())):
    command.add_command(_each)
