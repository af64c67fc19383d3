"""Whether this process should get requests: what a proxy or an orchestrator asks every few seconds.

``/healthz`` says that the process answers at all, ``/readyz`` that it reaches what it needs. A
read-only registry is ready: whoever installs from it misses nothing. `/health` is for people.

Who asks waits for some seconds, and takes no answer for a broken process: so an object store is
asked once and has a second, while the requests of others wait for it as long as they ever do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from storage import PathNotFoundError
from storage.errors import StorageError

from ..errors import TABLE, RegistryError
from ..logs import LOGGER
from ..services.rolebook import head_version

if TYPE_CHECKING:
    from ..wiring import Registry

_NOT_THERE = "0" * 64  # no file has this digest


def readiness(services: Registry) -> Mapping[str, str | None]:
    """``{part: why it does not answer, None where it does}`` for the database, the published tree
    and the blobs, in words that name no machine, folder or account: those are in the server's log.
    """
    parts: dict[str, Callable[[], object]] = {
        "database": lambda: _ask_database(services),
        "published": lambda: _ask_tree(services),
        "blobs": lambda: services.probed.blobs.missing([_NOT_THERE]),
    }
    return {name: _why_silent(name, ask) for name, ask in parts.items()}


def _why_silent(name: str, ask: Callable[[], object]) -> str | None:
    try:
        ask()
    except (RegistryError, StorageError, SQLAlchemyError, OSError) as error:
        LOGGER.error("not ready: %s: %s", name, error)
        if isinstance(error, RegistryError | StorageError):
            return error.message  # what was tried and what came of it; no path but published ones
        return TABLE["storage-failed"].help
    return None


def _ask_database(services: Registry) -> None:
    with services.database.read() as session:
        session.execute(text("SELECT 1"))


def _ask_tree(services: Registry) -> None:
    try:
        services.probed.tree.open("timestamp.json").close()
    except PathNotFoundError:
        with services.database.read() as session:
            if head_version(session, "timestamp"):  # else nothing was ever published
                raise
