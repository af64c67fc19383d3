"""Sending a file, or a range of it, with the kernel's sendfile where the server can.

Werkzeug wraps a range in an iterator of its own and so loses sendfile. Here the file is handed
to ``wsgi.file_wrapper`` (PEP 3333) positioned at the start of the range with an exact
Content-Length: gunicorn sends from the file's position, that many bytes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from flask import Response, request

from .ranges import Span, etag_matches, parse_range, range_is_wanted

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAnswer:
    """A file to send. ``etag`` without quotes; ``open`` gives it positioned at an offset."""

    size: int
    etag: str
    cache_control: str
    content_type: str
    open: Callable[[int], BinaryIO]


def send(file: FileAnswer) -> Response:
    """The answer to this GET or HEAD request.

    Raises:
        RegistryError: the range cannot be satisfied.
    """
    if etag_matches(request.headers.get("If-None-Match"), file.etag):
        return _headers(Response(status=304), file)
    wanted = range_is_wanted(request.headers.get("If-Range"), file.etag)
    # RFC 9110 §14.2: Range means nothing but for GET.
    header = request.headers.get("Range") if wanted and request.method == "GET" else None
    span = parse_range(header, file.size)
    whole = span is None
    span = span or Span(0, file.size, file.size)
    response = Response(status=200 if whole else 206, content_type=file.content_type)
    if not whole:
        response.headers["Content-Range"] = span.content_range
    if request.method != "HEAD" and span.count:
        response.response = _body(file.open(span.start), span.count)
        response.direct_passthrough = True
    response.headers["Content-Length"] = str(span.count)
    return _headers(response, file)


def send_gzipped(file: FileAnswer, data: bytes) -> Response:
    """The answer to this GET or HEAD request with ``data``, the file compressed.

    Another representation has another strong ETag (RFC 9110 §8.8.3.3), and no ranges: so nobody
    puts a part of the one into the other.
    """
    etag = f"{file.etag}-gzip"
    if etag_matches(request.headers.get("If-None-Match"), etag):
        response = Response(status=304)
    else:
        response = Response(data, content_type=file.content_type)
        response.headers["Content-Encoding"] = "gzip"
    response.headers["ETag"] = f'"{etag}"'
    response.headers["Cache-Control"] = file.cache_control
    return response


def _headers(response: Response, file: FileAnswer) -> Response:
    response.headers["ETag"] = f'"{file.etag}"'
    response.headers["Cache-Control"] = file.cache_control
    response.headers["Accept-Ranges"] = "bytes"
    return response


def _body(file: BinaryIO, count: int) -> Iterable[bytes]:
    environ = request.environ
    wrapper = environ.get("wsgi.file_wrapper")
    # Other servers' wrappers read to the end of the file, whatever Content-Length says; and so
    # does gunicorn's where there is no descriptor for sendfile.
    gunicorn = str(environ.get("SERVER_SOFTWARE", "")).startswith("gunicorn")
    if wrapper is not None and gunicorn and _has_descriptor(file):
        body: Iterable[bytes] = wrapper(file, _BLOCK_BYTES)
        return body
    return _Limited(file, count)


def _has_descriptor(file: BinaryIO) -> bool:
    try:
        file.fileno()
    except OSError:
        return False
    return True


class _Limited:
    """Exactly ``count`` bytes of ``file``, which is closed with it."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file = file
        self._left = count

    def __iter__(self) -> Iterator[bytes]:
        while self._left and (block := self._file.read(min(self._left, _BLOCK_BYTES))):
            self._left -= len(block)
            yield block

    def close(self) -> None:
        self._file.close()


def limit_idle_time(environ: dict[str, Any], seconds: int) -> None:
    """Lets a client go that neither takes nor sends a byte for so long; a thread would wait
    for it forever otherwise."""
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket) and seconds:
        connection.settimeout(seconds)
