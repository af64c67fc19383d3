"""Waiting for a process of the tests' own, without taking the processor that it needs."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PAUSE_SECONDS = 0.02
"""Between two looks: short beside the start of any program."""


def wait_until(true: Callable[[], bool]) -> None:
    """Looks again and again; ``true`` fails where it can never become so."""
    while not true():
        time.sleep(PAUSE_SECONDS)


def wait_for_server(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until somebody listens on the loopback ``port``, as ``process`` is to."""

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    wait_until(listens)
