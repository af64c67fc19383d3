"""Running the registry under gunicorn: threads, one listening socket, a quiet start.

Everything that can be found wrong is found before the first worker starts. Each worker finishes
what a crash left, then signs again whatever grows old, in a thread of its own.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..app import create_app
from ..db.migrate import current_revision, newest_revision
from ..errors import RegistryError
from ..logs import LOGGER, start_logging
from ..services.rolebook import head_version
from ..settings import DataFolder, read_settings
from ..stores import require_usable
from ..wiring import Registry, open_registry
from .listening import serve_with

_REFRESH_SECONDS = 60.0
_STALE_TEMP_SECONDS = 24 * 3600.0


def prepare(folder: DataFolder) -> str | None:
    """Checks that the registry can run and finishes what a crash left; returns why it will be
    read-only, or None.

    Raises:
        RegistryError: it cannot run, with what to do about it.
    """
    folder.require()
    if current_revision(folder.database) != newest_revision():
        raise RegistryError(
            "schema-old",
            "database: expected the newest schema, found another",
            f"make a copy of the folder, then: forge-server migrate {folder.root}",
        )
    require_usable(folder, read_settings(folder.settings))
    registry = open_registry(folder)
    try:
        with registry.database.read() as session:
            adopted = head_version(session, "root") > 0
        if not adopted:
            raise RegistryError(
                "not-adopted",
                f"{folder.root}: expected an adopted authority, found none",
                f"the authority runs: forge authority init A --online-keys {folder.online_keys}\n"
                f"then here: forge-server adopt {folder.root} A/metadata",
            )
        if registry.publication.read_only is None:
            registry.publication.refresh()
        else:
            registry.publication.materialise()
        _sweep(registry)
        return registry.publication.read_only
    finally:
        registry.database.dispose()


def _sweep(registry: Registry) -> None:
    now = datetime.now(UTC)
    registry.blobs.sweep_temp(_STALE_TEMP_SECONDS, now)
    registry.tree.sweep_temp(_STALE_TEMP_SECONDS, now)


def start_refreshing(registry: Registry, interval_seconds: float = _REFRESH_SECONDS) -> None:
    """Keeps the timestamp and the snapshot fresh for as long as the process lives."""
    thread = threading.Thread(
        target=_refresh_forever, args=(registry, interval_seconds), name="refresh", daemon=True
    )
    thread.start()


def _refresh_forever(registry: Registry, interval_seconds: float) -> None:
    pause = threading.Event()
    while True:
        try:
            registry.publication.refresh()
        except Exception:  # the next attempt may succeed; until then installs still work
            LOGGER.exception("could not refresh the timestamp")
        pause.wait(interval_seconds)


def serve(
    folder: DataFolder,
    *,
    listener: socket.socket,
    workers: int,
    threads: int,
    on_ready: Callable[[], None],
) -> None:
    """Serves until it is told to stop. ``on_ready`` runs when the first worker can answer."""
    start_logging()

    def load() -> Any:
        # Called in the worker: connections and threads must not be shared across a fork.
        registry = open_registry(folder)
        start_refreshing(registry)
        return create_app(registry)

    serve_with(
        load,
        listener=listener,
        workers=workers,
        threads=threads,
        name="forge-server",
        on_ready=on_ready,
    )
