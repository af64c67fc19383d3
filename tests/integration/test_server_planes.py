"""The static plane and uploads over real connections to a real server process."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gunicorn.http.wsgi import FileWrapper
from server_fixtures import (
    ORG,
    Client,
    Live,
    World,
    _fresh_registry,
    client,
    copy_registry,
    live,
    sara,
    start_server,
    world,
)

from forge_server.app import create_app

__all__ = ["_fresh_registry", "client", "live", "sara", "world"]
BIG = bytes(range(256)) * 4096 * 5  # 5 MiB, in which every offset can be told from its neighbours


@pytest.fixture(scope="module")
def big(live: Live) -> str:
    """The digest of a published blob."""
    answer = live.publish(live.world.release("big", files={"big.bin": BIG}))
    assert answer.status == 201, answer.data
    return hashlib.sha256(BIG).hexdigest()


class TestBlobs:
    @pytest.mark.parametrize(
        ("header", "span"),
        [
            ("bytes=0-0", (0, 1)),
            ("bytes=3000001-", (3_000_001, len(BIG))),
            ("bytes=-7", (len(BIG) - 7, len(BIG))),
            ("bytes=1048575-2097153", (1_048_575, 2_097_154)),
        ],
    )
    def test_ranges(self, live: Live, big: str, header: str, span: tuple[int, int]) -> None:
        answer = live.request("GET", f"/blobs/{big}", headers={"Range": header})
        assert answer.status == 206
        assert answer.data == BIG[slice(*span)]
        assert answer.headers["Content-Range"] == f"bytes {span[0]}-{span[1] - 1}/{len(BIG)}"
        assert answer.headers["ETag"] == f'"{big}"'
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    def test_whole(self, live: Live, big: str) -> None:
        answer = live.request("GET", f"/blobs/{big}")
        assert (answer.status, answer.data == BIG) == (200, True)
        assert answer.headers["Accept-Ranges"] == "bytes"

    @pytest.mark.parametrize("header", [f"bytes={len(BIG)}-", "bytes=0-1,5-6"])
    def test_unsatisfiable(self, live: Live, big: str, header: str) -> None:
        answer = live.request("GET", f"/blobs/{big}", headers={"Range": header})
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(BIG)}"
        assert answer.json()["code"] == "range-not-satisfiable"

    def test_conditions(self, live: Live, big: str) -> None:
        def get(**headers: str) -> Any:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return live.request("GET", f"/blobs/{big}", headers=names)

        assert get(If_None_Match=f'"{big}"').status == 304
        assert get(If_None_Match='"other"').status == 200
        assert get(Range="bytes=0-9", If_Range=f'"{big}"').status == 206
        assert get(Range="bytes=0-9", If_Range='"other"').status == 200

    def test_head(self, live: Live, big: str) -> None:
        answer = live.request("HEAD", f"/blobs/{big}", headers={"Range": "bytes=0-9"})
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(BIG)))
        assert live.request("GET", f"/blobs/{big}", headers={"Range": "bytes=0-9"}).status == 206

    @pytest.mark.parametrize(
        "path", ["a" * 64, "A" * 64, "x", "..%2f..%2fregistry.db", "%2e%2e", "a" * 63 + "%00"]
    )
    def test_not_there(self, live: Live, path: str) -> None:
        answer = live.request("GET", f"/blobs/{path}")
        assert answer.status == 404
        assert answer.json()["code"] in ("blob-not-found", "not-found")

    def test_an_empty_file(self, live: Live) -> None:
        assert live.publish(live.world.release("empty", files={"nothing": b""})).status == 201
        digest = hashlib.sha256(b"").hexdigest()
        answer = live.request("GET", f"/blobs/{digest}")
        assert (answer.status, answer.data) == (200, b"")
        headers = {"Range": "bytes=0-"}
        assert live.request("GET", f"/blobs/{digest}", headers=headers).status == 416

    def test_ranges_leave_by_sendfile(self, world: World, sara: Client) -> None:
        """What gunicorn needs for it: its own wrapper around a file at the right position."""
        sara.publish(world.release(files={"big.bin": BIG}))
        positions: list[int] = []

        class Wrapper(FileWrapper):
            def __init__(self, file: Any, size: int) -> None:
                super().__init__(file, size)
                assert file.fileno() > 0
                positions.append(file.tell())

        digest = hashlib.sha256(BIG).hexdigest()
        environ = {"wsgi.file_wrapper": Wrapper, "SERVER_SOFTWARE": "gunicorn/x"}
        with sara.flask.get(
            f"/blobs/{digest}", headers={"Range": "bytes=1000-1999"}, environ_overrides=environ
        ) as answer:
            assert answer.content_length == 1000
        assert positions == [1000]


class TestMetadata:
    def test_versioned_files_are_immutable(self, live: Live) -> None:
        answer = live.request("GET", "/tuf/1.root.json")
        assert answer.headers["Cache-Control"].endswith("immutable")
        again = {"If-None-Match": answer.headers["ETag"]}
        assert live.request("GET", "/tuf/1.root.json", headers=again).status == 304

    def test_timestamp_is_asked_for_each_time(self, live: Live) -> None:
        answer = live.request("GET", "/tuf/timestamp.json")
        assert answer.headers["Cache-Control"] == "no-cache"
        again = {"If-None-Match": answer.headers["ETag"]}
        assert live.request("GET", "/tuf/timestamp.json", headers=again).status == 304
        assert live.publish(live.world.release("newer")).status == 201
        assert live.request("GET", "/tuf/timestamp.json", headers=again).status == 200

    @pytest.mark.parametrize(
        "path",
        ["99.root.json", "", "..%2fregistry.db", "../registry.db", "%2e%2e/registry.db", ".tmp/x",
         "targets", "targets/", "//etc/passwd", "1.root.json/", "1.root.json%00", "é.json"],
    )  # fmt: skip
    def test_nothing_else_is_served(self, live: Live, path: str) -> None:
        # Raw, because clients tidy such paths up before they send them.
        status, _, body = talk(live, f"GET /tuf/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status in (400, 404)
        assert b"SQLite" not in body
        if path == "99.root.json":
            assert live.request("GET", f"/tuf/{path}").headers["Cache-Control"] == "no-store"


def connect(live: Live) -> socket.socket:
    address = urlsplit(live.server.url)
    connection = socket.create_connection((str(address.hostname), address.port or 80), 30)
    connection.settimeout(30)
    return connection


def read_answer(connection: socket.socket) -> tuple[int, str, bytes]:
    """(status, headers, body) of one answer. What comes behind it stays for the next call: two
    answers may arrive together."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"closed after {data[:200]!r}"
        data += byte
    head, body = data[:-4], b""
    if head.startswith(b"HTTP/1.1 100"):
        return 100, head.decode("latin-1"), body
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        block = connection.recv(int(length[1]) - len(body))
        if not block:
            break
        body += block
    return int(head.split()[1]), head.decode("latin-1"), body


def talk(live: Live, request: bytes) -> tuple[int, str, bytes]:
    with connect(live) as connection:
        connection.sendall(request)
        return read_answer(connection)


def put_head(live: Live, data: bytes, *, token: str | None = None, extra: str = "") -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return (
        f"PUT /api/v1/blobs/{digest}?component={ORG}/up HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token or live.token}\r\nContent-Length: {len(data)}\r\n"
        f"{extra}\r\n"
    ).encode()


GET_API = b"GET /api/v1/ HTTP/1.1\r\nHost: x\r\n\r\n"


class TestUploads:
    def test_the_next_request_on_the_connection(self, live: Live) -> None:
        """Whatever was read of a body, and however it arrived, the next request begins where
        the body ends."""
        data = b"keep alive" * 1000
        with connect(live) as connection:
            for expected in (201, 200):  # read, and left unread because it is there
                connection.sendall(put_head(live, data) + data)
                assert read_answer(connection)[0] == expected
                connection.sendall(GET_API)
                status, _, body = read_answer(connection)
                assert (status, json.loads(body)["api"]) == (200, 1)

    def test_a_request_behind_the_body(self, live: Live) -> None:
        data = b"pipelined"
        with connect(live) as connection:
            connection.sendall(put_head(live, data) + data + GET_API)
            assert read_answer(connection)[0] == 201
            assert read_answer(connection)[0] == 200

    def test_in_small_pieces(self, live: Live) -> None:
        data = b"0123456789" * 50
        message = put_head(live, data) + data
        with connect(live) as connection:
            for start in range(0, len(message), 97):
                connection.sendall(message[start : start + 97])
                time.sleep(0.001)
            assert read_answer(connection)[0] == 201

    def test_expect_100_continue(self, live: Live) -> None:
        data = b"expected"
        with connect(live) as connection:
            connection.sendall(put_head(live, data, extra="Expect: 100-continue\r\n"))
            status, _, rest = read_answer(connection)
            assert (status, rest) == (100, b"")
            connection.sendall(data)
            assert read_answer(connection)[0] == 201

    @pytest.mark.parametrize("size", [10, 20_000_000])
    def test_a_refusal_is_seen_before_the_body_is_taken(self, live: Live, size: int) -> None:
        data = b"x" * size
        with connect(live) as connection:
            connection.sendall(put_head(live, data, token="forge_wrong"))
            status, headers, body = read_answer(connection)
            assert (status, json.loads(body)["code"]) == (401, "token-invalid")
            # What nobody reads to its end, ends the connection, and the client is told.
            assert ("Connection: close" in headers) == (size > 10)

    def test_a_refusal_before_all_chunks_came_ends_the_connection(self, live: Live) -> None:
        path = f"/api/v1/blobs/{'a' * 64}?component={ORG}/up"
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        with connect(live) as connection:
            connection.sendall(head.encode() + b"5\r\nfirst\r\n")
            status, headers, _ = read_answer(connection)
            assert status == 401
            assert "Connection: close" in headers

    def test_cut_uploads_leave_nothing(self, live: Live) -> None:
        data = b"never whole" * 10_000
        digest = hashlib.sha256(data).hexdigest()
        for part in (0, 1, len(data) // 2, len(data) - 1):
            with connect(live) as connection:
                connection.sendall(put_head(live, data) + data[:part])
                connection.shutdown(socket.SHUT_WR)
                status, _, body = read_answer(connection)
                assert (status, json.loads(body)["code"]) == (400, "upload-interrupted")
        path = f"/api/v1/blobs/{digest}?component={ORG}/up"
        assert live.request("HEAD", path).status == 404
        assert not list((live.world.root / "blobs" / "tmp").iterdir())

    def test_wrong_bytes(self, live: Live) -> None:
        data = b"announced"
        with connect(live) as connection:
            connection.sendall(put_head(live, data) + b"different")
            status, _, body = read_answer(connection)
            assert (status, json.loads(body)["code"]) == (422, "digest-mismatch")

    @pytest.mark.parametrize(
        ("extra", "status"),
        [
            ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 411}),
            ("Content-Length: abc\r\n\r\n", {400}),
            ("Content-Length: -1\r\n\r\n", {400}),
            ("Content-Length: 5\r\nContent-Length: 6\r\n\r\n", {400}),
            ("Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\nxxxxx", {415}),
            ("Content-Length: 900000000000000\r\n\r\n", {413}),
            ("\r\n", {411}),
        ],
    )
    def test_bodies_that_are_not_taken(self, live: Live, extra: str, status: set[int]) -> None:
        path = f"/api/v1/blobs/{'a' * 64}?component={ORG}/up"
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {live.token}\r\n"
        assert talk(live, (head + extra).encode())[0] in status

    def test_header_floods(self, live: Live) -> None:
        flood = "".join(f"X-{number}: y\r\n" for number in range(200))
        assert talk(live, f"GET / HTTP/1.1\r\nHost: x\r\n{flood}\r\n".encode())[0] in (400, 431)
        long = "x" * 20_000
        assert talk(live, f"GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n".encode())[0] in (400, 414)
        assert live.request("GET", "/api/v1/").status == 200


def test_slow_readers_do_not_stop_others(live: Live, big: str) -> None:
    """Forty clients that take nothing while others publish and read."""
    request = f"GET /blobs/{big} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    slow = []
    try:
        for _ in range(40):
            connection = connect(live)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request)
            slow.append(connection)
        assert live.publish(live.world.release("meanwhile")).status == 201
        assert live.request("GET", "/tuf/timestamp.json").status == 200
    finally:
        for connection in slow:
            connection.close()


def test_fifty_publishers_and_two_processes(
    _fresh_registry: Path,  # noqa: PT019
    tmp_path: Path,
) -> None:
    """Threads of two worker processes race for one version; exactly one of fifty wins."""
    world = World(copy_registry(_fresh_registry, tmp_path))
    token = world.user("sara")
    world.organisation(token)
    first = Client(create_app(world.registry).test_client(), token)
    first.publish(world.release("raced", "0.9.0"))
    offers = [world.release("raced", files={"w": str(number).encode()}) for number in range(50)]
    world.close()
    server = start_server(world.root, "--workers", "2")
    running = Live(world, server, token)
    try:
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(running.publish, offers))
        assert Counter(answer.status for answer in answers) == {201: 1, 409: 49}
        codes = {answer.json()["code"] for answer in answers if answer.status == 409}
        assert codes <= {"version-taken", "role-version"}
        same = next(o for o, a in zip(offers, answers, strict=True) if a.status == 201)
        with ThreadPoolExecutor(20) as pool:
            again = list(pool.map(lambda _: running.publish(same), range(20)))
        assert {answer.status for answer in again} == {200}
        assert len({answer.data for answer in again}) == 1
    finally:
        server.kill()
    from forge_server.operate.check import check_registry

    assert check_registry(world.reopen(), deep=True).problems == ()
    world.close()


def test_the_test_client_sends_ranges_too(world: World, sara: Client) -> None:
    """Without gunicorn's wrapper: exactly the range, and the file is closed."""
    sara.publish(world.release(files={"big.bin": BIG}))
    digest = hashlib.sha256(BIG).hexdigest()
    part = sara.get(f"/blobs/{digest}", headers={"Range": "bytes=5-9"}, expect=206)
    assert part == BIG[5:10]
    assert BytesIO(sara.text(f"/blobs/{digest}")).read() == BIG
