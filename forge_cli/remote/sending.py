"""Bodies on their way to the registry or its store: from a file, or a part of one, to the socket.

Where the connection is plain HTTP and goes there without a proxy, the kernel copies the file
(sendfile); over TLS or a proxy it goes through 1 MiB blocks. A request is repeated when the
connection broke or the registry was busy: all of them mean the same however often they come.
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from urllib3.response import HTTPResponse

from .. import __version__
from ..errors import NetworkError
from ..output import Progress
from .api import Api
from .crew import Crew, Stopped
from .http import BLOCK_BYTES, Sent, host_of, lost, pause_seconds, proxy_for, retry_after
from .pace import Pace

_ATTEMPTS: Final = 5
_RETRY_STATUS: Final = frozenset({429, 502, 503, 504})
_MAX_WAIT_SECONDS: Final = 120.0
_CONNECT_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 300.0
_SENDFILE_BYTES: Final = 8 * BLOCK_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """``size`` bytes of ``source`` from ``start`` on."""

    source: Path | bytes
    size: int
    start: int = 0


@dataclass(slots=True, kw_only=True)
class Sender:
    """Sends bodies with the rights of ``api``'s token; one connection for each thread and host."""

    api: Api
    crew: Crew
    progress: Progress
    pace: Pace
    _local: threading.local = field(default_factory=threading.local)

    def put(
        self,
        path: str,
        query: str,
        body: Body,
        headers: Mapping[str, str] | None = None,
        *,
        attempts: int = _ATTEMPTS,
    ) -> None:
        """PUT ``body`` to ``path`` (below ``/api/v1``, quoted).

        Raises:
            RemoteError: refused, for instance ``digest-mismatch`` or a missing right.
            NetworkError: the registry could not be reached often enough.
        """
        own = {
            "Authorization": f"Bearer {self.api.token}",
            "Content-Type": "application/octet-stream",
        }
        url = f"{self.api.url}/api/v1/{path}?{query}"
        self.api.require_success(self._patiently(url, own | dict(headers or {}), body, attempts))

    def put_elsewhere(
        self, url: str, headers: Mapping[str, str], body: Body, *, attempts: int = _ATTEMPTS
    ) -> None:
        """PUT ``body`` to an address that needs no other right. The token does not go there.

        Raises:
            NetworkError: not reached often enough, or refused.
        """
        response = self._patiently(url, headers, body, attempts)
        if not 200 <= response.status < 300:
            raise NetworkError(f"{host_of(url)} answered {response.status} to a part of a file")

    def _patiently(
        self, url: str, headers: Mapping[str, str], body: Body, attempts: int
    ) -> HTTPResponse:
        for attempt in range(1, attempts + 1):
            if self.crew.stop.is_set():
                raise Stopped
            last = attempt == attempts
            counted = _Counted(self.progress)
            try:
                response = self._put(url, headers, body, counted)
            except (OSError, http.client.HTTPException) as error:
                self._drop_connection(url)
                counted.take_back()
                if isinstance(error, OSError) and error.filename is not None:
                    raise  # the file, not the network
                if last:
                    raise lost(url, error) from error
                self.crew.sleep(pause_seconds(attempt))
                continue
            if response.status >= 300:
                counted.take_back()
            if response.status not in _RETRY_STATUS or last:
                return response
            seconds = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            if seconds is not None and seconds > _MAX_WAIT_SECONDS:
                if response.status == 503:
                    return response  # read-only: the reason is what people need
                raise NetworkError(
                    f"{host_of(url)} asks to wait {seconds:.0f} seconds",
                    hint="run the same command again later; what is there is not sent again",
                    code="too-many-requests",
                )
            self.crew.sleep(pause_seconds(attempt) if seconds is None else seconds)
        raise AssertionError("unreachable")

    def _put(
        self, url: str, headers: Mapping[str, str], body: Body, counted: _Counted
    ) -> HTTPResponse:
        """One attempt. The whole answer is read, so that the connection can be used again."""
        connection = self._connection(url)
        parts = urlsplit(url)
        self.api.http.sent.append(Sent("PUT", url.partition("?")[0]))
        connection.putrequest("PUT", f"{parts.path}?{parts.query}", skip_accept_encoding=True)
        connection.putheader("User-Agent", f"forge/{__version__}")
        connection.putheader("Content-Length", str(body.size))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        # A server that refuses early answers and closes: its answer is worth more than
        # our broken pipe.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._stream(url, connection, body, counted)
        answer = connection.getresponse()
        data = answer.read(1 << 20)
        if answer.will_close:
            self._drop_connection(url)
        return HTTPResponse(body=data, headers=dict(answer.getheaders()), status=answer.status)

    def _stream(
        self, url: str, connection: http.client.HTTPConnection, body: Body, counted: _Counted
    ) -> None:
        sock = connection.sock
        if isinstance(body.source, bytes):
            data = memoryview(body.source)[body.start : body.start + body.size]
            while data:
                block = self.pace.take(min(BLOCK_BYTES, len(data)))
                sock.sendall(data[:block])
                counted.advance(block)
                data = data[block:]
            return
        plain = type(sock) is socket.socket and hasattr(os, "sendfile")
        buffer = memoryview(bytearray(0 if plain else BLOCK_BYTES))
        sent = 0
        with body.source.open("rb", buffering=0) as file:
            while sent < body.size:
                if self.crew.stop.is_set():
                    self._drop_connection(url)
                    raise Stopped
                at, left = body.start + sent, body.size - sent
                if plain:
                    block = self.pace.take(min(_SENDFILE_BYTES, left))
                    count = sock.sendfile(file, at, block)
                else:
                    block = self.pace.take(min(BLOCK_BYTES, left))
                    count = os.preadv(file.fileno(), [buffer[:block]], at)
                    sock.sendall(buffer[:count])
                if not count:
                    # The file became shorter: the registry must not wait for the rest.
                    self._drop_connection(url)
                    raise NetworkError("a file became shorter while it was sent")
                sent += count
                counted.advance(count)

    def _connections(self) -> dict[str, http.client.HTTPConnection]:
        """This thread's connections, by host, kept alive between files."""
        found: dict[str, http.client.HTTPConnection] | None
        found = getattr(self._local, "connections", None)
        if found is None:
            found = self._local.connections = {}
        return found

    def _connection(self, url: str) -> http.client.HTTPConnection:
        connections, host = self._connections(), host_of(url)
        if host not in connections:
            connections[host] = _connect(url)
        return connections[host]

    def _drop_connection(self, url: str) -> None:
        connection = self._connections().pop(host_of(url), None)
        if connection is not None:
            connection.close()


class _Counted:
    """What one attempt has reported, so that a repeated one is not counted twice."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._sent = 0

    def advance(self, size: int) -> None:
        self._sent += size
        self._progress.advance(size)

    def take_back(self) -> None:
        self._progress.advance(-self._sent)
        self._sent = 0


def _connect(url: str) -> http.client.HTTPConnection:
    """A connection that is there within seconds, and then may be silent for minutes."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = proxy_for(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    gate = parts if proxy is None else urlsplit(proxy)
    connection = kind(
        gate.hostname or "", gate.port, timeout=_CONNECT_SECONDS, blocksize=BLOCK_BYTES
    )
    if proxy is not None:
        connection.set_tunnel(host, parts.port or (443 if parts.scheme == "https" else 80))
    connection.connect()
    connection.sock.settimeout(_SILENT_SECONDS)
    return connection
