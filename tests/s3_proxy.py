"""A proxy between boto3 and an object store, which breaks the requests that it is told to.

It hands requests on as they are, ``Host`` included, because the signature covers it.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pytest
from urllib3.connection import HTTPConnection
from urllib3.util import wait_for_read
from waiting import PAUSE_SECONDS

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"
INTERNAL = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>no</Message></Error>"

# What can be done to a request. Those in DONE carry it out before they break the answer.
REFUSED = ("reset", "error-500", "slow-down")
DONE = ("done-reset", "done-500")  # and "stall", whose answer never comes
READING = ("truncate", "alter")
ALTERED = ("alter-request",)

Plan = Callable[[int, str, str], str | None]
"""From (number of the request from 0, method, path) to the name of a fault, or None."""


def nothing(number: int, method: str, path: str) -> None:
    """The plan that breaks nothing."""


class S3Proxy:
    """Listens on the loopback while it is entered; ``plan`` may be replaced at any time."""

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = nothing
        self.seen: list[tuple[str, str]] = []  # (method, path) since `reset`
        self.authorized: list[str] = []  # the Authorization headers among them
        self.broken: list[tuple[str, str, str]] = []  # (fault, method, path)
        self.stalled: set[int] = set()  # the clients' ports of requests that are never answered
        self.over = threading.Event()  # ends every stall
        self._upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def reset(self, plan: Plan = nothing) -> None:
        """Counts from 0 again."""
        with self._lock:
            self.seen, self.authorized, self.broken, self.plan = [], [], [], plan
            self.stalled = set()

    def once(self, at: int, fault: str) -> None:
        """Breaks request number ``at`` and no other."""
        self.reset(lambda number, *_: fault if number == at else None)

    def no_patience(self, patch: pytest.MonkeyPatch) -> None:
        """From here on clients in this process give up at once what is never answered, as if their
        time was up. Nothing else is given up, however slow the machine is."""
        original = HTTPConnection.getresponse

        def getresponse(connection: HTTPConnection) -> Any:
            port = connection.sock.getsockname()[1]
            while not wait_for_read(connection.sock, PAUSE_SECONDS):
                if port in self.stalled:
                    assert connection.timeout is not None, "it would be waited for without an end"
                    connection.timeout = PAUSE_SECONDS
                    break
            return original(connection)

        patch.setattr(HTTPConnection, "getresponse", getresponse)

    def __enter__(self) -> S3Proxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next_fault(self, method: str, path: str) -> str | None:
        with self._lock:
            fault = self.plan(len(self.seen), method, path)
            self.seen.append((method, path))
            if fault:
                self.broken.append((fault, method, path))
            return fault

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):
                    super().handle_one_request()

            def any_method(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if "Authorization" in self.headers:
                    proxy.authorized.append(self.headers["Authorization"])
                fault = proxy._next_fault(self.command, self.path)
                if fault == "reset":
                    self.hang_up()
                elif fault == "error-500":
                    self.answer(500, INTERNAL)
                elif fault == "slow-down":
                    self.answer(503, SLOW_DOWN)
                else:
                    if fault == "alter-request" and body:
                        body = body[:-1] + bytes([body[-1] ^ 1])
                    self.hand_on(body, fault)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = any_method

            def hand_on(self, body: bytes, fault: str | None) -> None:
                upstream = http.client.HTTPConnection(proxy._upstream)
                try:
                    upstream.putrequest(
                        self.command, self.path, skip_host=True, skip_accept_encoding=True
                    )
                    for name, value in self.headers.items():
                        if name.lower() not in ("expect", "connection"):
                            upstream.putheader(name, value)
                    upstream.endheaders(body)
                    response = upstream.getresponse()
                    data = response.read()
                finally:
                    upstream.close()
                if fault == "stall":
                    proxy.stalled.add(self.client_address[1])
                    proxy.over.wait()
                    self.hang_up()
                elif fault == "done-reset":
                    self.hang_up()
                elif fault == "done-500":
                    self.answer(500, INTERNAL)
                else:
                    self.pass_back(response, data, fault)

            def pass_back(
                self, response: http.client.HTTPResponse, data: bytes, fault: str | None
            ) -> None:
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                length = response.getheader("Content-Length") or str(len(data))
                if response.status != 204:
                    self.send_header("Content-Length", length)
                self.end_headers()
                if fault == "alter" and data:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if fault == "truncate":
                    self.wfile.write(data[: len(data) // 2])
                    self.hang_up()
                else:
                    self.wfile.write(data)

            def answer(self, status: int, data: bytes) -> None:
                self.send_response_only(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/xml")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def hang_up(self) -> None:
                """Ends the connection with a reset, and not with an orderly end."""
                self.close_connection = True
                self.wfile.flush()
                hard = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hard)
                self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
