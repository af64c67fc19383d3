"""What the worker says to a client that will never say what a server of HTTP waits for."""

from __future__ import annotations

import socket
import ssl
from types import SimpleNamespace

import pytest
from gunicorn.workers.gthread import _DEFER

from forge_server.operate.patient import PatientWorker


def client_hello() -> bytes:
    """The first bytes of a client of TLS."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="forge")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


def test_a_client_that_begins_with_tls_is_told_at_once() -> None:
    """Not when the time for headers is up, which skopeo would wait for before each request."""
    worker, hello = PatientWorker.__new__(PatientWorker), client_hello()
    client, ours = socket.socketpair()
    with client, ours:
        connection = SimpleNamespace(sock=ours, parser=None)
        client.sendall(hello[:1])
        assert worker.handle(connection) is _DEFER, "one byte says nothing yet"
        client.sendall(hello[1:])
        assert worker.handle(connection) is False, "the connection ends"
        ours.close()
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"http://" in answer


def test_such_bytes_in_the_middle_of_a_connection_are_the_parsers() -> None:
    worker = PatientWorker.__new__(PatientWorker)
    client, ours = socket.socketpair()
    parser = SimpleNamespace(unreader=SimpleNamespace(buf=SimpleNamespace(getvalue=lambda: b"")))
    with client, ours:
        client.sendall(client_hello())
        assert worker.handle(SimpleNamespace(sock=ours, parser=parser)) is _DEFER
