"""gunicorn's worker with threads, in which a client that has not said all of its headers costs no
thread.

gunicorn gives every connection to a thread, which waits for the headers: as many clients as there
are threads that send half of theirs, or nothing, and nobody else is served. Here a thread looks
whether the headers are there as a whole, without waiting and without taking them out of the socket;
if not, the connection goes back to the loop that watches all of them, until more has come
(SO_RCVLOWAT, socket(7)) or its time is up.

A client that begins with TLS is told so at once. Clients of images that may use plain HTTP try TLS
first, and would wait for an answer before each of their requests (Go's: ten seconds).
"""

from __future__ import annotations

import socket
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

from gunicorn.workers.gthread import _DEFER, ThreadWorker  # type: ignore[import-untyped]

HEADER_SECONDS = 20.0
_END: Final = b"\r\n\r\n"
# Beyond it the parser refuses what is too long. Half a receive buffer is the most that a socket
# waits for, and this is less.
_LONGEST: Final = 32 * 1024
_TLS_HANDSHAKE: Final = b"\x16\x03"  # a record's type and version, RFC 8446 §5.1
_NOT_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"
    b"This port speaks plain HTTP: say http:// instead of https://.\n"
)


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Hands out connections whose headers have come."""

    pending_conns: deque[Any]

    def handle(self, conn: Any) -> Any:
        try:
            if _turned_away(conn):
                return False
            if not _have_come(conn):
                # From the opening or the first byte: a byte now and then buys no time.
                conn.headers_due = getattr(conn, "headers_due", time.monotonic() + HEADER_SECONDS)
                return _DEFER
        except OSError:
            return False
        conn.headers_seen = -1
        if hasattr(conn, "headers_due"):
            del conn.headers_due
        conn.data_ready = True  # gunicorn need not wait for it
        return super().handle(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        super().finish_request(conn, fs)
        if self.alive and hasattr(conn, "headers_due"):
            conn.timeout = conn.headers_due

    def murder_pending(self) -> None:
        """gunicorn's looks at the first alone, which need not be the first whose time is up."""
        waiting: list[Any] = sorted(self.pending_conns, key=lambda conn: float(conn.timeout))
        self.pending_conns = deque(waiting)
        super().murder_pending()


def _turned_away(conn: Any) -> bool:
    """Whether the connection began with TLS, and was told that nobody speaks it here."""
    if getattr(conn, "parser", None) is not None:
        return False
    conn.sock.setblocking(False)
    with suppress(BlockingIOError):
        if conn.sock.recv(len(_TLS_HANDSHAKE), socket.MSG_PEEK) == _TLS_HANDSHAKE:
            conn.sock.recv(_LONGEST)  # what is left unread would take the answer with it
            conn.sock.send(_NOT_TLS)
            return True
    return False


def _have_come(conn: Any) -> bool:
    """Whether all headers of the next request are here, or will never be. If not, the socket is not
    readable before more has come than there is now."""
    parser = getattr(conn, "parser", None)
    early = b"" if parser is None else parser.unreader.buf.getvalue()
    seen = getattr(conn, "headers_seen", -1)
    conn.sock.setblocking(False)  # a time limit of the last request would be waited for
    try:
        waiting = conn.sock.recv(_LONGEST, socket.MSG_PEEK)
    except BlockingIOError:
        waiting = b""
    else:
        if len(waiting) in (0, seen):
            return True  # readable, and nothing more: the client has gone, as the parser will see
    whole = _END in early + waiting or len(waiting) >= _LONGEST
    conn.headers_seen = len(waiting)
    # A body may then come byte by byte.
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 if whole else len(waiting) + 1)
    return whole
