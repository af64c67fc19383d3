"""Starting is cheap, and nothing of the server ever comes along."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest
from programs import loaded_by

from forge_cli.lazy import COMMANDS

HEAVY = {"rich", "urllib3", "tuf", "cryptography", "packaging", "resolvelib", "securesystemslib"}
FOREIGN = {"flask", "sqlalchemy", "boto3", "alembic", "gunicorn", "forge_server", "werkzeug"}


def test_help_imports_nothing_heavy() -> None:
    assert not loaded_by("--help") & (HEAVY | FOREIGN)


@pytest.mark.parametrize("args", [("install", "--help"), ("publish", "--help")])
def test_help_of_a_command_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    assert not loaded_by(*args) & (HEAVY | FOREIGN)


def test_no_module_of_the_client_imports_the_server_or_its_libraries() -> None:
    program = (
        "import sys, pkgutil, importlib, forge_cli;"
        "from signing.left_out import leave_out; leave_out();"
        "[importlib.import_module(m.name) for m in"
        " pkgutil.walk_packages(forge_cli.__path__, 'forge_cli.')"
        " if not m.name.startswith('forge_cli.plugins.')];"  # each for a program that is not here
        "print('\\n'.join({n.partition('.')[0] for n, m in sys.modules.items() if m is not None}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & FOREIGN


def leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        found = []
        for name, child in command.commands.items():
            found += leaves(child, f"{path} {name}")
        return found
    return [(path, command)]


ALL = [
    leaf
    for name, entry in COMMANDS.items()
    for leaf in leaves(import_module(f"forge_cli.commands.{entry.module}").command, name)
]


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_has_help_and_json(path: str, command: click.Command) -> None:
    assert command.help
    assert any("--json" in parameter.opts for parameter in command.params), path
    undocumented = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert not undocumented


@pytest.mark.parametrize(("name", "entry"), COMMANDS.items(), ids=list(COMMANDS))
def test_the_table_tells_what_the_module_holds(name: str, entry: object) -> None:
    command = import_module(f"forge_cli.commands.{COMMANDS[name].module}").command
    assert command.name == name
