"""Whether this process should get requests: what a proxy or an orchestrator asks every few seconds.

``/healthz`` says that the process answers at all, ``/readyz`` that it reaches what it needs. A
read-only registry is ready: whoever installs from it misses nothing. `/health` is for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from storage import PathNotFoundError
from storage.errors import StorageError

from ..errors import RegistryError
from ..logs import LOGGER
from ..services.rolebook import head_version

if TYPE_CHECKING:
    from ..wiring import Registry

_NOT_THERE = "0" * 64  # no file has this digest


def readiness(services: Registry) -> Mapping[str, bool]:
    """``{part: whether it answers}`` for the database, the published tree and the blobs. Why one
    does not is in the server's log and nowhere else."""
    parts: dict[str, Callable[[], object]] = {
        "database": lambda: _ask_database(services),
        "published": lambda: _ask_tree(services),
        "blobs": lambda: services.blobs.missing([_NOT_THERE]),
    }
    return {name: _answers(name, ask) for name, ask in parts.items()}


def _answers(name: str, ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (RegistryError, StorageError, SQLAlchemyError, OSError) as error:
        LOGGER.error("not ready: %s: %s", name, error)
        return False
    return True


def _ask_database(services: Registry) -> None:
    with services.database.read() as session:
        session.execute(text("SELECT 1"))


def _ask_tree(services: Registry) -> None:
    try:
        services.tree.open("timestamp.json").close()
    except PathNotFoundError:
        with services.database.read() as session:
            if head_version(session, "timestamp"):  # else nothing was ever published
                raise
