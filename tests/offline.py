"""`forge` on a machine without a network, for tests of what keyholders do there."""

from __future__ import annotations

import socket
import sys
from typing import Any, NoReturn


def main() -> None:
    from forge_cli.main import main as forge

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.create_connection = socket.getaddrinfo = refuse
    forge()


def refuse(*_: Any, **__: Any) -> NoReturn:
    sys.exit("this machine has no network")


if __name__ == "__main__":
    main()
