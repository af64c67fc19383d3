"""Answers that are asked for again and again, given before Flask is reached.

Installers ask for index pages each time anew, and Hugging Face's clients for the headers of each
file. What the application answered is given again, header for header, for as long as nothing in the
registry has changed; all but the one question whether it has is spared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from flask import Response, request

from ..db.engine import Database
from ..errors import RegistryError
from ..observe.metrics import Metrics
from ..static_plane.files import limit_idle_time
from ..static_plane.ranges import etag_matches
from .kept import Kept
from .serving import stamp

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_MAX_KEPT: Final = 1000
_MAX_BYTES: Final = 64 * 1024
_MAX_KEY_CHARS: Final = 400
_ASKED: Final = "forge.quick"
_NOT_IN_304: Final = frozenset(("content-length", "content-type"))


def not_kept() -> None:
    """Says of the answer to this request that it depends on more than `stamp` looks at: it is made
    anew each time."""
    request.environ.pop(_ASKED, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """An answer as it was given. ``rule`` is what metrics count it under."""

    headers: tuple[tuple[str, str], ...]
    etag: str
    body: bytes
    rule: str


@dataclass(slots=True)
class Quick:
    """The WSGI application in front of ``application``."""

    application: Application
    database: Database
    metrics: Metrics
    idle_seconds: int
    _kept: Kept[_Given] = field(default_factory=lambda: Kept(_MAX_KEPT))

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        key = _key_of(environ)
        if key is None:
            return self.application(environ, start_response)
        began = monotonic()
        try:
            now = stamp(self.database)
        except RegistryError:  # said by the application, in the client's form
            return self.application(environ, start_response)
        given = self._kept.find(key, now)
        if given is None:
            # Looked up before the answer is made: what changes meanwhile makes it too old at once.
            environ[_ASKED] = (key, now)
            return self.application(environ, start_response)
        limit_idle_time(environ, self.idle_seconds)
        return self._answer(given, environ, start_response, began)

    def keep(self, response: Response) -> Response:
        """To be the last that sees an answer of the application."""
        asked: tuple[Hashable, Hashable] | None = request.environ.get(_ASKED)
        if asked is None or response.status_code != 200 or response.direct_passthrough:
            return response
        body = b"" if request.method == "HEAD" else response.get_data()
        etag, cache_control = response.headers.get("ETag"), response.headers.get("Cache-Control")
        if etag is None or not cache_control or len(body) > _MAX_BYTES:
            return response
        own = {"x-request-id"} if request.method == "HEAD" else {"x-request-id", "content-length"}
        headers = [item for item in response.headers if item[0].lower() not in own]
        if request.method != "HEAD":
            headers.append(("Content-Length", str(len(body))))
        rule = request.url_rule.rule if request.url_rule is not None else "unknown"
        given = _Given(headers=tuple(headers), etag=etag.strip('"'), body=body, rule=rule)
        self._kept.keep(*asked, given)
        return response

    def _answer(
        self,
        given: _Given,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        began: float,
    ) -> Iterable[bytes]:
        headers = [*given.headers, ("X-Request-Id", os.urandom(8).hex())]
        body, status = given.body, "200 OK"
        if etag_matches(environ.get("HTTP_IF_NONE_MATCH"), given.etag):
            headers = [item for item in headers if item[0].lower() not in _NOT_IN_304]
            body, status = b"", "304 NOT MODIFIED"
        self.metrics.answered(
            environ["REQUEST_METHOD"], given.rule, int(status[:3]), monotonic() - began
        )
        start_response(status, headers)
        return [body]


def _key_of(environ: dict[str, Any]) -> Hashable | None:
    """What an answer depends on besides the registry; None where it depends on more."""
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
    if environ.get("QUERY_STRING") or "HTTP_RANGE" in environ:
        return None
    if method == "GET" and path.startswith("/simple/"):
        pass
    elif method != "HEAD" or not path.startswith("/hf/"):
        return None
    accept = environ.get("HTTP_ACCEPT")
    if len(path) + len(accept or "") > _MAX_KEY_CHARS:
        return None
    return method, path, accept
