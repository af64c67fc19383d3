"""Reading what a client sends: with a known length, within a limit, in constant memory."""

from __future__ import annotations

import socket
from typing import Any, BinaryIO

from flask import request

from signing.encoding import Fields, parse_json

from ..errors import RegistryError


def read_json(max_bytes: int) -> Fields:
    """The request's JSON object.

    Raises:
        RegistryError: ``unsupported-media-type``, ``length-required`` or ``too-large``.
        MalformedError: not strict JSON, or not an object.
    """
    media_type = request.mimetype
    if media_type != "application/json":
        raise RegistryError(
            "unsupported-media-type",
            f"Content-Type: expected application/json, found {media_type or 'none'!r:.60}",
        )
    size = content_length(max_bytes)
    stream: BinaryIO = request.environ["wsgi.input"]
    data = bytearray()
    while len(data) < size and (block := stream.read(size - len(data))):
        data += block
    if len(data) < size:
        raise interrupted(size, len(data))
    return Fields.of(parse_json(bytes(data), "request", max_bytes=max_bytes), "request")


def content_length(max_bytes: int) -> int:
    """The announced size of the body, which must be sent as it is (no Content-Encoding)."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise RegistryError(
            "unsupported-media-type", f"Content-Encoding: expected none, found {encoding!r:.60}"
        )
    size = request.content_length
    if size is None or "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise RegistryError("length-required", "Content-Length: expected a number, found none")
    if size > max_bytes:
        raise RegistryError(
            "too-large",
            f"body: expected at most {max_bytes} bytes, found {size}",
            limit_bytes=max_bytes,
        )
    return size


def interrupted(expected: int, found: int) -> RegistryError:
    return RegistryError(
        "upload-interrupted", f"body: expected {expected} bytes, found {found} and then the end"
    )


class UploadStream:
    """The body of an upload; counts what was read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data


class SocketUploadStream(UploadStream):
    """The body of an upload read from gunicorn's socket straight into the caller's buffer.

    gunicorn's own body object copies each byte several times on its way; for large files that
    is most of the work. Its length counter is kept right, so that it knows where the next
    request on the connection begins.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._reader = stream.reader
        self._unreader = stream.reader.unreader
        self._socket: socket.socket = self._unreader.sock

    @staticmethod
    def fits(stream: Any) -> bool:
        """Whether ``stream`` is a body of known length of the gunicorn that we know."""
        reader = getattr(stream, "reader", None)
        unreader = getattr(reader, "unreader", None)
        return (
            type(reader).__name__ == "LengthReader"
            and isinstance(getattr(reader, "length", None), int)
            and hasattr(unreader, "take_buffered")
            and isinstance(getattr(unreader, "sock", None), socket.socket)
            and stream.buf.tell() == 0
        )

    def readinto(self, buffer: memoryview) -> int:
        left: int = self._reader.length
        want = min(len(buffer), left)
        if want == 0:
            return 0
        # What came with the headers; behind the body it is the next request, so it goes back.
        early = self._unreader.take_buffered()
        if early:
            count = min(want, len(early))
            buffer[:count] = early[:count]
            self._unreader.unread(early[count:])
        else:
            count = self._socket.recv_into(buffer[:want])
        self._reader.length -= count
        self.count += count
        return count


def upload_stream() -> UploadStream:
    """The request's body as a stream, by the quickest way that works here."""
    stream = request.environ["wsgi.input"]
    return SocketUploadStream(stream) if SocketUploadStream.fits(stream) else UploadStream(stream)
