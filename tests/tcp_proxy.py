"""A line between a client and a server: counts the bytes each way, and breaks when told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType


class Line:
    """Forwards a free loopback port to ``port`` while the ``with`` block lasts.

    ``up`` and ``down`` count bytes to and from the server. ``cuts`` holds numbers of bytes: when so
    many went up since the last cut, every connection breaks and the next number counts.
    ``moved`` is called with the bytes that just went up, before they do.
    """

    def __init__(self, port: int, *, cuts: list[int] | None = None) -> None:
        self.port = port
        self.up = 0
        self.down = 0
        self.cuts = cuts or []
        self.moved: Callable[[int], object] = lambda count: None
        self._since = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def reset(self) -> None:
        self.up = self.down = self._since = 0

    def __enter__(self) -> Line:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            for end in (client, server):  # what arrives in two writes leaves in two at once
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            for source, target, upwards in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pump, args=(source, target, upwards), daemon=True
                ).start()

    def _pump(self, source: socket.socket, target: socket.socket, upwards: bool) -> None:
        with suppress(OSError):
            while data := source.recv(64 << 10):
                if upwards and self._count(len(data)):
                    break
                target.sendall(data)
                if not upwards:
                    with self._lock:
                        self.down += len(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            with self._lock:
                self._open.discard(end)

    def _count(self, count: int) -> bool:
        """True when the line breaks here."""
        self.moved(count)
        with self._lock:
            self.up += count
            self._since += count
            broken = bool(self.cuts) and self._since >= self.cuts[0]
            if broken:
                self.cuts.pop(0)
                self._since = 0
        if broken:
            self._break()
        return broken

    def _break(self) -> None:
        with self._lock:
            ends = list(self._open)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
