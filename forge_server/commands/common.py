"""What the commands of `forge-server` share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


def fail(message: str, hint: str | None, code: int = 1) -> NoReturn:
    from ..domain.text import harmless

    click.echo(f"error: {harmless(message)}", err=True)
    if hint:
        for line in hint.splitlines():
            click.echo(f"hint: {harmless(line)}", err=True)
    sys.exit(code)


def with_registry(command: Callable[..., None]) -> Callable[..., None]:
    """Hands the opened registry in DIR to the command as its first argument."""

    @wraps(command)
    def run(folder: Path, **options: Any) -> None:
        from ..settings import DataFolder
        from ..wiring import open_registry

        registry = open_registry(DataFolder(folder))
        try:
            command(registry, **options)
        finally:
            registry.database.dispose()

    return run


def publishing(command: Callable[..., None]) -> Callable[..., None]:
    """Shows the world at once what the command added to the public log, where that can be done."""

    @wraps(command)
    def run(registry: Any, **options: Any) -> None:
        from storage.errors import StorageError

        from ..errors import RegistryError

        command(registry, **options)
        try:
            registry.publication.materialise()
        except (RegistryError, StorageError) as error:
            click.echo(f"recorded; not in the published log yet: {error.message}", err=True)

    return run
