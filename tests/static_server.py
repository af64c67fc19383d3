"""A web server over a dictionary: what any mirror, honest or hostile, may answer.

``files`` maps a path to bytes, or to a function that takes the request handler and answers by
itself (truncated, endless, redirected, …). Every request is written down in ``requests``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

Answer = bytes | Callable[[BaseHTTPRequestHandler], None]


class StaticServer:
    """Serves ``files`` on a free loopback port while the ``with`` block lasts."""

    def __init__(self, files: Mapping[str, Answer]) -> None:
        self.files = dict(files)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def paths(self) -> list[str]:
        """The paths asked for so far, in order."""
        return [path for _, path, _ in self.requests]

    def __enter__(self) -> StaticServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                outer.requests.append((self.command, path, dict(self.headers.items())))
                answer = outer.files.get(path)
                if callable(answer):
                    answer(self)
                elif answer is None:
                    self.reply(404, b"not found")
                else:
                    self.reply(200, answer)

            do_HEAD = do_GET
            do_POST = do_GET
            do_PUT = do_GET

            def reply(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
