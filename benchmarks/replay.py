"""Clients that cost next to nothing: what they send was made before, and one thread serves all.

A benchmark of a server whose clients, and whose database, share its cores measures them as well. So
a request is the bytes of it, an answer is its status, and the connections are watched by one
selector; what is left is what the kernel takes to carry the bytes.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit


def prepared(method: str, url: str, headers: Mapping[str, str], body: object) -> bytes:
    """A request with ``body`` as JSON, as it goes over the wire (RFC 9112 §3)."""
    address, data = urlsplit(url), json.dumps(body).encode()
    lines = {"Host": address.netloc, "Content-Type": "application/json", **headers}
    lines["Content-Length"] = str(len(data))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {address.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data


class _Line:
    """One client: a connection, and the requests that it sends one after the other."""

    def __init__(self, url: str, requests: Sequence[bytes]) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        self._address = (address.hostname, address.port or 80)
        self._requests = list(reversed(requests))
        self.began: list[float] = []
        self.seconds: list[float] = []
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self._address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> bool:
        """Sends the next request; False when there is none."""
        if not self._requests:
            return False
        self._got = b""
        self.began.append(time.perf_counter())
        self.socket.sendall(self._requests[-1])
        return True

    def receive(self) -> tuple[int, bytes] | None:
        """(status, answer) once it is whole."""
        more = self.socket.recv(1 << 16)
        if not more:
            raise RuntimeError(f"the server hung up after {self._got[:300]!r}")
        self._got += more
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return None
        return int(head.split(None, 2)[1]), self._got

    def done(self) -> None:
        self.seconds.append(time.perf_counter() - self.began[-1])
        self._requests.pop()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"an answer without a length: {head[:300]!r}")


def replay(url: str, chains: Sequence[Sequence[bytes]]) -> list[float]:
    """Sends each chain over a connection of its own, all at the same time; returns how many seconds
    each answer took. Who is told to come later (503) comes at once.

    Raises:
        RuntimeError: an answer that is no success.
    """
    watched = selectors.DefaultSelector()
    lines = [_Line(url, chain) for chain in chains]
    for line in lines:
        if line.send():
            watched.register(line.socket, selectors.EVENT_READ, line)
    try:
        while watched.get_map():
            for key, _ in watched.select():
                line = key.data
                answer = line.receive()
                if answer is None:
                    continue
                status, text = answer
                if status in (200, 201):
                    line.done()
                elif status != 503:
                    raise RuntimeError(f"{status}: {text[-500:]!r}")
                if not line.send():
                    watched.unregister(line.socket)
    finally:
        watched.close()
        for line in lines:
            line.socket.close()
    return [each for line in lines for each in line.seconds]
