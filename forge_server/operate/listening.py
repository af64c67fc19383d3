"""A listening socket, and gunicorn on it: threads, a quiet start, no options from elsewhere.

Knows nothing of what is served, so that the registry and the witness share it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from ..errors import RegistryError
from .patient import PatientWorker

_GRACE_SECONDS = 30
_HEADER_SECONDS = 20


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

    def __init__(self, load: Callable[[], Any], options: dict[str, Any]) -> None:
        self._load = load
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:  # older versions know fewer
                self.cfg.set(name, value)

    def load(self) -> Any:
        return self._load()


def _within_reach(_worker: Any, request: Any) -> None:
    """Lets whoever refuses to read a body say that its connection ends (`api.bodies`)."""
    request.unreader.request = request


def serve_with(
    load: Callable[[], Any],
    *,
    listener: socket.socket,
    workers: int,
    threads: int,
    name: str,
    on_ready: Callable[[], None],
) -> None:
    """Serves the application that ``load`` makes in each worker until it is told to stop.
    ``on_ready`` runs when the first worker can answer; ``name`` is the processes'."""

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
        "worker_class": PatientWorker,
        "worker_connections": max(1000, threads * 4),
        "timeout": 120,
        "graceful_timeout": _GRACE_SECONDS,
        "keepalive": 30,
        "loglevel": "warning",
        "accesslog": None,
        "errorlog": "-",
        "limit_request_line": 4094,
        "limit_request_fields": 60,
        "limit_request_field_size": 8190,
        "proc_name": name,
        "control_socket_disable": True,
        "post_worker_init": ready,
        "pre_request": _within_reach,
    }
    # gunicorn reads more options from the environment, which is not ours to obey. (It sends files
    # by sendfile where that is set nowhere: any value of the option "sendfile" turns it off.)
    for variable in ("GUNICORN_CMD_ARGS", "SENDFILE"):
        os.environ.pop(variable, None)
    with suppress(KeyboardInterrupt):
        _Server(load, options).run()
