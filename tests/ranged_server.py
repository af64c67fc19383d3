"""A server of one blob that honours ranges, and counts what it sends; and ways to do it wrong.

``Blob`` is an `Answer` of `StaticServer`. Each fault in ``faults`` is applied to one answer, in
turn; afterwards it serves as it should.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from builders import sha256

Fault = Callable[["Blob", BaseHTTPRequestHandler, int, int], None]
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Blob:
    """``data`` under its digest. ``sent`` counts the bytes of bodies; ``asked`` the ranges."""

    data: bytes
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    sent: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> str:
        return f"/blobs/{sha256(self.data)}"

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        start, end = 0, len(self.data)
        match = _RANGE.fullmatch(handler.headers.get("Range", ""))
        if match and handler.headers.get("If-Range") == f'"{sha256(self.data)}"':
            start = int(match[1])
            end = int(match[2]) + 1 if match[2] else end
        with self._lock:
            self.asked.append((start, end))
            fault = self.faults.pop(0) if self.faults else self.always
        with suppress(OSError):
            (fault or right)(self, handler, start, end)

    def head(
        self, handler: BaseHTTPRequestHandler, start: int, end: int, length: int | None = None
    ) -> None:
        whole = (start, end) == (0, len(self.data))
        handler.send_response(200 if whole else 206)
        handler.send_header("Content-Length", str(end - start if length is None else length))
        if not whole:
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(self.data)}")
        handler.end_headers()

    def body(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        for at in range(0, len(data), 64 << 10):
            handler.wfile.write(data[at : at + (64 << 10)])
            with self._lock:
                self.sent += len(data[at : at + (64 << 10)])


def right(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
    blob.head(handler, start, end)
    blob.body(handler, blob.data[start:end])


def altered(at: int) -> Fault:
    """One bit of the byte ``at`` of the file is another, where the answer has it."""

    def fault(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        data = bytearray(blob.data[start:end])
        if start <= at < end:
            data[at - start] ^= 1
        blob.head(handler, start, end)
        blob.body(handler, bytes(data))

    return fault


def cut(after: int) -> Fault:
    """The connection ends after so many bytes."""

    def fault(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        blob.head(handler, start, end)
        blob.body(handler, blob.data[start : min(end, start + after)])
        handler.close_connection = True

    return fault


def ignoring(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
    """The whole file, whatever was asked for."""
    right(blob, handler, 0, len(blob.data))


def shifted(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
    """Another range than was asked for, and said so."""
    right(blob, handler, max(1, start + 4096) % len(blob.data), len(blob.data))


def swapped(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
    """The halves of the range in the other order."""
    blob.head(handler, start, end)
    middle = (start + end) // 2
    blob.body(handler, blob.data[middle:end] + blob.data[start:middle])


def doubled(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
    """The first block of the range twice, at the cost of the last."""
    blob.head(handler, start, end)
    block = blob.data[start : start + 4096]
    blob.body(handler, (block + blob.data[start:end])[: end - start])


def longer(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
    """More bytes than there are, without a length."""
    handler.send_response(200)
    handler.end_headers()
    blob.body(handler, blob.data + b"more" * 1000)
    handler.close_connection = True


def refusing(status: int, **headers: str) -> Fault:
    def fault(blob: Blob, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault
