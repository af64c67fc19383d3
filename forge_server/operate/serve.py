"""Running the registry under gunicorn: threads, one listening socket, a quiet start.

Everything that can be found wrong is found before the first worker starts. Each worker finishes
what a crash left, then signs again whatever grows old, in a thread of its own; where
``embedded_worker`` is false, `forge-server worker` does that.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..app import create_app
from ..errors import RegistryError
from ..logs import LOGGER, start_logging
from ..observe import metrics
from ..services.rolebook import head_version
from ..settings import DataFolder, read_settings
from ..stores import require_usable
from ..wiring import Registry, open_registry
from .listening import serve_with
from .worker import INTERVAL_SECONDS, Worker

_STALE_TEMP_SECONDS = 24 * 3600.0


def prepare(folder: DataFolder) -> str | None:
    """Checks that the registry can run and finishes what a crash left; returns why it will be
    read-only, or None.

    Raises:
        RegistryError: it cannot run, with what to do about it.
    """
    require_usable(folder, read_settings(folder.require().settings))
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
        if registry.settings.embedded_worker:
            registry.publication.sign_again()
        registry.publication.materialise()
        _sweep(registry)
        return registry.publication.read_only
    finally:
        registry.database.dispose()


def _sweep(registry: Registry) -> None:
    now = datetime.now(UTC)
    registry.blobs.sweep_temp(_STALE_TEMP_SECONDS, now)
    registry.tree.sweep_temp(_STALE_TEMP_SECONDS, now)


def start_refreshing(registry: Registry, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Keeps the timestamp and the snapshot fresh for as long as the process lives."""
    work = Worker(registry, LOGGER.info)
    thread = threading.Thread(
        target=work.run, args=(interval_seconds, threading.Event()), name="refresh", daemon=True
    )
    thread.start()


def serve(
    folder: DataFolder,
    *,
    listener: socket.socket,
    workers: int,
    threads: int,
    on_ready: Callable[[], None],
) -> None:
    """Serves until it is told to stop. ``on_ready`` runs when the first worker can answer."""
    settings = read_settings(folder.settings)
    start_logging(form=settings.log_format)
    metrics.prepare(folder.counts, workers)

    def load() -> Any:
        # Called in the worker: connections and threads must not be shared across a fork.
        registry = open_registry(folder)
        if registry.settings.embedded_worker:
            start_refreshing(registry)
        return create_app(registry, threads=threads)

    serve_with(
        load,
        listener=listener,
        workers=workers,
        threads=threads,
        name="forge-server",
        on_ready=on_ready,
    )
