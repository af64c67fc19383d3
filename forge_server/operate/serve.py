"""Running the registry under gunicorn: threads, one listening socket, a quiet start.

Everything that can be found wrong is found before the first worker starts. Each worker finishes
what a crash left, then signs again whatever grows old, in a thread of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from ..app import create_app
from ..db.migrate import current_revision, newest_revision
from ..errors import RegistryError
from ..logs import LOGGER, start_logging
from ..services.rolebook import head_version
from ..settings import DataFolder
from ..wiring import Registry, open_registry

_REFRESH_SECONDS = 60.0
_STALE_TEMP_SECONDS = 24 * 3600.0
_GRACE_SECONDS = 30
_HEADER_SECONDS = 20


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


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        RegistryError: the port is taken, or the host is not one of this machine.
    """
    listener = None
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _limit_header_time(listener)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        if listener is not None:
            listener.close()
        taken = error.errno == errno.EADDRINUSE
        raise RegistryError(
            "cannot-listen",
            f"{host}:{port}: {'the port is taken' if taken else error.strerror or error}",
            "choose another with --port, or --port 0 for any free one"
            if taken
            else "--host names an address of this machine, for instance 127.0.0.1 or 0.0.0.0",
        ) from error
    listener.set_inheritable(True)
    return listener


def _limit_header_time(listener: socket.socket) -> None:
    """Lets go of a client that stops in the middle of its headers. Accepted connections inherit
    the option (Linux); while a request is handled, `limit_idle_time` takes its place."""
    with suppress(OSError):
        limit = struct.pack("ll", _HEADER_SECONDS, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def _is_news(record: logging.LogRecord) -> bool:
    """False for gunicorn's report that such a client was let go: a traceback of no interest."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, BlockingIOError | TimeoutError)


def url_of(listener: socket.socket) -> str:
    """The address in a browser's form."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with our settings instead of its command line."""

    def __init__(self, folder: DataFolder, options: dict[str, Any]) -> None:
        self._folder = folder
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:  # older versions know fewer
                self.cfg.set(name, value)

    def load(self) -> Any:
        # Called in the worker: connections and threads must not be shared across a fork.
        registry = open_registry(self._folder)
        start_refreshing(registry)
        return create_app(registry)


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

    def ready(worker: Any) -> None:
        # Ctrl-C reaches the whole process group: the master stops the workers, each when it
        # has finished what it is doing.
        worker.log.error_log.addFilter(_is_news)
        if worker.age == 1:
            on_ready()
            sys.stdout.flush()

    options = {
        "bind": f"fd://{listener.detach()}",  # gunicorn's from here on
        "workers": workers,
        "threads": threads,
        "worker_class": "gthread",
        "worker_connections": max(1000, threads * 4),
        "timeout": 120,
        "graceful_timeout": _GRACE_SECONDS,
        "keepalive": 30,
        "sendfile": True,
        "loglevel": "warning",
        "accesslog": None,
        "errorlog": "-",
        "limit_request_line": 4094,
        "limit_request_fields": 60,
        "limit_request_field_size": 8190,
        "proc_name": "forge-server",
        "control_socket_disable": True,
        "post_worker_init": ready,
    }
    # gunicorn reads more options from the environment, which is not ours to obey.
    os.environ.pop("GUNICORN_CMD_ARGS", None)
    with suppress(KeyboardInterrupt):
        _Server(folder, options).run()
