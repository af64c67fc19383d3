"""Clients that never say all of what they want cost the others nothing."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_fixtures import Live, World, _fresh_registry, copy_registry, start_server, world
from test_server_transfers import begin

__all__ = ["_fresh_registry", "world"]
CLIENTS = 200  # three times as many as there are threads
HALF = b"GET /api/v1/ HTTP/1.1\r\nHost: x\r\nX-Slow: "
REST = b"no more\r\n\r\n"


def waiting(seconds: float) -> list[str]:
    """A `forge-server` that waits so long for headers."""
    text = (
        f"import forge_server.operate.patient as patient; patient.HEADER_SECONDS = {seconds}; "
        "from forge_server.manage import main; main()"
    )
    return [sys.executable, "-c", text]


@pytest.fixture(scope="module")
def server(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    world = World(copy_registry(_fresh_registry, tmp_path_factory.mktemp("loris")))
    token = world.user("sara")
    world.organisation(token)
    running = start_server(world.root, program=waiting(10**6))  # no test depends on a time limit
    yield Live(world, running, token)
    running.kill()
    world.close()


@pytest.mark.parametrize("said", [b"", HALF, b"G"], ids=["nothing", "half", "one letter"])
def test_slow_loris(server: Live, said: bytes) -> None:
    """More of them than threads, and others publish at once. What they say in the end is heard."""
    slow = [begin(server, said) for _ in range(CLIENTS)]
    try:
        version = f"1.{len(said)}"
        assert server.publish(server.world.release("meanwhile", version)).status == 201
        for _ in range(20):
            assert server.request("GET", "/tuf/timestamp.json").status == 200
        whole = HALF + REST
        for connection in slow[:20]:
            for at in range(len(said), len(whole)):
                connection.sendall(whole[at : at + 1])
            assert connection.recv(12) == b"HTTP/1.1 200"
    finally:
        for connection in slow:
            connection.close()


def test_half_of_the_second_request_came_with_the_first(server: Live) -> None:
    """Then it is not in the socket any more, where it would be looked for."""
    first = b"GET /api/v1/ HTTP/1.1\r\nHost: x\r\n\r\n"
    slow = [begin(server, first + HALF) for _ in range(CLIENTS)]
    try:
        assert server.publish(server.world.release("pipelined")).status == 201
        for connection in slow[:20]:
            connection.sendall(REST)
            answers = b""
            while answers.count(b"HTTP/1.1 200") < 2:
                more = connection.recv(65536)
                assert more, answers
                answers += more
    finally:
        for connection in slow:
            connection.close()


def test_who_leaves_in_the_middle(server: Live) -> None:
    connections = [begin(server, HALF) for _ in range(CLIENTS)]
    for connection in connections:
        connection.shutdown(socket.SHUT_WR)
    for connection in connections:
        assert connection.recv(12) in (b"", b"HTTP/1.1 400")  # and not when its time is up
        connection.close()
    assert server.request("GET", "/api/v1/").status == 200


def test_a_byte_now_and_then_buys_no_time(world: World) -> None:
    """Their time is that of all headers, and then they are let go."""
    running = start_server(world.root, program=waiting(0.3))
    live = Live(world, running, "")
    try:
        with begin(live, HALF) as dripping:
            dripping.settimeout(0.05)
            while True:
                try:
                    dripping.sendall(b"x")
                    if dripping.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        assert live.request("GET", "/api/v1/").status == 200
    finally:
        running.kill()


def test_100_000_headers(server: Live) -> None:
    """Refused while they come; none of them is kept."""
    connection = begin(server, b"GET / HTTP/1.1\r\nHost: x\r\n")
    connection.settimeout(60)
    try:
        for start in range(0, 100_000, 1000):
            lines = b"".join(b"X-%d: y\r\n" % number for number in range(start, start + 1000))
            connection.sendall(lines)
        connection.sendall(b"\r\n")
        answer = connection.recv(12)
    except ConnectionError:
        answer = b""  # let go in the middle of it
    connection.close()
    assert answer in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431")
    assert server.request("GET", "/api/v1/").status == 200
