"""Reading what a client sends: with a known length, within a limit, in constant memory."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import Any, BinaryIO

from flask import g, request

from signing.encoding import Fields, parse_json

from ..errors import RegistryError
from ..services.transfers import Slot
from .requests import transfers

_ARRIVED_BYTES = 64 * 1024  # what a socket holds without anybody reading
_DRAINED_BYTES = 64 * 1024  # gunicorn takes less than this of a body that was not read


def read_json(max_bytes: int, *, declared: bool = True) -> Fields:
    """The request's JSON object; ``declared`` False where clients of others do not say that it is.

    Raises:
        RegistryError: ``unsupported-media-type``, ``length-required``, ``too-large`` or
            ``too-many-transfers``.
        MalformedError: not strict JSON, or not an object.
    """
    media_type = request.mimetype
    if declared and media_type != "application/json":
        raise RegistryError(
            "unsupported-media-type",
            f"Content-Type: expected application/json, found {media_type or 'none'!r:.60}",
        )
    size = content_length(max_bytes)
    stream: BinaryIO = request.environ["wsgi.input"]
    _take_slot(stream)
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

    def has_arrived(self) -> bool:
        """Whether all of a small body is in the buffers of this machine. Takes nothing out."""
        size: int = self._reader.length
        if size > _ARRIVED_BYTES:
            return False
        early = self._unreader.take_buffered()
        self._unreader.unread(early)
        # Not recv with MSG_DONTWAIT: Python itself would wait before it.
        (waiting,) = struct.unpack("i", fcntl.ioctl(self._socket, termios.FIONREAD, bytes(4)))
        return len(early) + int(waiting) >= size

    def refuse_rest(self) -> None:
        """Takes nothing more from the client, whose connection ends with the answer.

        gunicorn would wait for the rest of the body for seconds, in the very thread that the
        refusal was to save. The answer says that it ends: a client that sent its next request on it
        would find that read as if it broke off.
        """
        _end_connection(self._unreader)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

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


def take_slot() -> None:
    """A slot for reading the body of this request, where that may take a while.

    Raises:
        RegistryError: too many are on their way already (``too-many-transfers``).
    """
    _take_slot(request.environ["wsgi.input"])


def _take_slot(stream: Any) -> None:
    """A slot until `end_upload`, unless all of the body is here already: then nobody waits for
    the client, and many small files at once are no reason to refuse any."""
    ours = SocketUploadStream(stream) if SocketUploadStream.fits(stream) else None
    if ours is not None and ours.has_arrived():
        return
    try:
        g.upload_slot = transfers().take("upload")
    except RegistryError:
        if ours is not None:
            ours.refuse_rest()
        raise


def end_upload(_error: BaseException | None = None) -> None:
    """Gives back what reading a body took in this request; runs at the end of every one."""
    slot: Slot | None = g.pop("upload_slot", None)
    if slot is not None:
        slot.give_back()


def announce_end(status: int) -> None:
    """Lets the answer say that its connection ends, where much of the request was not read.

    gunicorn takes no more than a little of such a rest and then closes. A client that is not told
    may send its next request on that connection and get no answer (RFC 9112, section 9.6).
    """
    reader = getattr(request.environ["wsgi.input"], "reader", None)
    left = getattr(reader, "length", 0)
    if isinstance(left, int) and left >= _DRAINED_BYTES:
        _end_connection(getattr(reader, "unreader", None))
    elif status >= 400 and getattr(reader, "parser", None) is not None:  # in chunks, not to the end
        _end_connection(getattr(getattr(reader, "req", None), "unreader", None))


def _end_connection(unreader: Any) -> None:
    message = getattr(unreader, "request", None)  # `operate.listening` puts it there
    if message is not None:
        message.force_close()


def upload_stream() -> UploadStream:
    """The request's body as a stream, by the quickest way that works here.

    Raises:
        RegistryError: too many are on their way already (``too-many-transfers``).
    """
    stream = request.environ["wsgi.input"]
    _take_slot(stream)
    return SocketUploadStream(stream) if SocketUploadStream.fits(stream) else UploadStream(stream)
