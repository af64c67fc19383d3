"""The shipped configuration of nginx, in Debian's nginx, in front of two real servers."""

from __future__ import annotations

import gzip
import hashlib
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from deployed import deployed, front, machine, require_nginx
from server_fixtures import ORG, Live
from sqlalchemy import select
from waiting import wait_until

from forge_server.db.models import Event
from forge_server.services.callers import OPERATOR
from signing.names import ComponentName

__all__ = ["deployed", "front", "machine"]
BIG = bytes(range(256)) * 4096 * 5
DIGEST = hashlib.sha256(BIG).hexdigest()


@pytest.fixture(scope="module")
def big(front: Live) -> Any:
    """A published release with a blob of 5 MiB."""
    built = front.world.release("big", files={"big.bin": BIG})
    assert front.publish(built).status == 201
    return built


def direct(machine: Any, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    """What a server says without nginx."""
    return urllib3.request("GET", f"http://127.0.0.1:{machine.ports[0]}{path}", headers=headers)


class TestSignedFiles:
    def test_nginx_sends_what_the_server_would(self, front: Live, machine: Any, big: Any) -> None:
        tree = machine.data / "public"
        files = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file()]
        kinds = {path.parts[0] if len(path.parts) > 1 else path.name for path in files}
        assert {"targets", "log", "timestamp.json", "1.root.json"} <= kinds
        for path in files:
            if path.name == "swap.lock":
                continue
            address = f"/{path}" if path.parts[0] == "log" else f"/tuf/{path}"
            by_nginx, by_server = (
                front.http.request("GET", machine.url + address),
                direct(machine, address),
            )
            assert (by_nginx.status, by_nginx.data) == (200, by_server.data), address
            for name in ("Content-Type", "Cache-Control", "X-Content-Type-Options"):
                assert by_nginx.headers[name] == by_server.headers[name], (address, name)
        log = (machine.folder / "nginx" / "access.log").read_text()
        sent = [line.split() for line in log.splitlines() if " /tuf/" in line or " /log/" in line]
        assert {fields[6] for fields in sent} == {"-"}, "passed on to a server"

    @pytest.mark.parametrize("path", ["/tuf/timestamp.json", "/log/checkpoint"])
    def test_what_changes_has_no_validator(self, front: Live, path: str) -> None:
        """Two of one second may have the same length, and so nginx's same ETag and time."""
        answer = front.request("GET", path)
        assert not {"ETag", "Last-Modified"} & set(answer.headers)
        later = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT", "If-None-Match": '"x"'}
        assert front.request("GET", path, headers=later).status == 200

    def test_metadata_is_compressed(self, front: Live) -> None:
        def get(**headers: str) -> urllib3.BaseHTTPResponse:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return front.request("GET", "/tuf/1.root.json", headers=names, decode_content=False)

        plain, packed = get(), get(Accept_Encoding="gzip")
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.data) == plain.data
        # Another representation: not the same strong ETag (RFC 9110 §8.8.3.3).
        assert packed.headers["ETag"] == f"W/{plain.headers['ETag']}"
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert get(If_None_Match=packed.headers["ETag"]).status == 304
        assert get(Range="bytes=0-9").data == plain.data[:10]

    @pytest.mark.parametrize(
        "path",
        ["/tuf/.tmp/x", "/tuf/.tmp/", "/tuf/swap.lock", "/tuf/log/checkpoint", "/tuf/", "/log/",
         "/log/swap.lock", "/tuf/9999.root.json", "/tuf/targets", "/tuf//etc/passwd",
         "/tuf/targets/..%2f..%2f..%2fserver.toml", "/log/tile/..%2f..%2f..%2fserver.toml",
         "/metrics", "/healthz", "/readyz", "/internal-blobs/", f"/internal-blobs/aa/{DIGEST}"],
    )  # fmt: skip
    def test_nothing_else_is_there(self, front: Live, path: str) -> None:
        answer = front.request("GET", path)
        assert answer.status in (400, 404), answer.data
        if answer.status == 404:
            assert answer.json()["code"] == "not-found"
            assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


class TestBlobs:
    def test_only_nginx_is_sent_to_the_file(self, machine: Any, big: Any) -> None:
        place = f"/internal-blobs/{DIGEST[:2]}/{DIGEST}"
        told = direct(machine, f"/blobs/{DIGEST}", X_Forwarded_For="192.0.2.1")
        assert "X-Accel-Redirect" not in told.headers  # that was no header of a proxy
        headers = {"X-Forwarded-For": "192.0.2.1"}
        told = direct(machine, f"/blobs/{DIGEST}", **headers)
        assert (told.headers["X-Accel-Redirect"], told.data) == (place, b"")
        assert direct(machine, f"/blobs/{DIGEST}").data == BIG

    @pytest.mark.parametrize(
        ("header", "span"),
        [
            (None, (0, len(BIG))),
            ("bytes=0-0", (0, 1)),
            ("bytes=3000001-", (3_000_001, len(BIG))),
            ("bytes=-7", (len(BIG) - 7, len(BIG))),
        ],
    )
    def test_ranges(self, front: Live, big: Any, header: str | None, span: tuple[int, int]) -> None:
        headers = {"Range": header} if header else {}
        answer = front.request("GET", f"/blobs/{DIGEST}", headers=headers)
        assert answer.status == (206 if header else 200)
        assert answer.data == BIG[slice(*span)]
        assert answer.headers["ETag"] == f'"{DIGEST}"'
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert {"Last-Modified", "X-Accel-Redirect"}.isdisjoint(answer.headers)

    def test_conditions(self, front: Live, big: Any) -> None:
        def status(method: str = "GET", **headers: str) -> int:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return front.request(method, f"/blobs/{DIGEST}", headers=names).status

        assert status(If_None_Match=f'"{DIGEST}"') == 304
        assert status(If_None_Match='"other"') == 200
        assert status(Range="bytes=0-9", If_Range=f'"{DIGEST}"') == 206
        assert status(Range="bytes=0-9", If_Range='"other"') == 200
        assert status(Range=f"bytes={len(BIG)}-") == 416
        assert status(Range="bytes=0-1,5-6") == 416
        assert status("HEAD") == 200

    def test_what_no_release_contains_is_not_served(self, front: Live, big: Any) -> None:
        """It is in the folder that nginx reads, and so only the server stands in front of it."""
        data = b"uploaded, and in no release" * 1000
        digest = hashlib.sha256(data).hexdigest()
        path = f"/api/v1/blobs/{digest}?component={ORG}/big"
        assert front.request("PUT", path, body=data).status == 201
        blobs = front.world.registry.blobs
        assert blobs.stat(digest).size == len(data)
        for address in (f"/blobs/{digest}", f"/internal-blobs/{digest[:2]}/{digest}"):
            assert front.request("GET", address).status == 404

    def test_what_is_withheld_stops_with_the_next_request(self, front: Live, big: Any) -> None:
        """nginx learns of a file from a server alone, and so of its quarantine."""
        quarantine, name = front.world.registry.quarantine, ComponentName.parse(f"{ORG}/big")
        assert front.request("GET", f"/blobs/{DIGEST}").status == 200
        quarantine.begin(OPERATOR, name, "1.0.0", "looks odd")
        try:
            for headers in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": f'"{DIGEST}"'}):
                answer = front.request("GET", f"/blobs/{DIGEST}", headers=headers)
                assert (answer.status, answer.json()["code"]) == (451, "withheld")
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert answer.headers["Cache-Control"] == "no-store"
            listed = front.request("GET", "/api/v1/withheld")
            assert DIGEST in listed.json()["blobs"]
            again = {"If-None-Match": listed.headers["ETag"]}
            assert front.request("GET", "/api/v1/withheld", headers=again).status == 304
        finally:
            quarantine.end(OPERATOR, name, "1.0.0", "was nothing")
        assert front.request("GET", f"/blobs/{DIGEST}").data == BIG


class TestRequests:
    def test_who_asks_is_known_and_cannot_lie(self, front: Live, machine: Any) -> None:
        headers = {"X-Forwarded-For": "192.0.2.1", "X-Request-Id": "0123456789abcdef"}
        log, line = machine.folder / "nginx" / "access.log", " POST /api/v1/releases 400 "
        before = log.read_text().count(line)
        answer = front.request("POST", "/api/v1/releases", json={}, headers=headers)
        assert answer.status == 400
        number = answer.headers["X-Request-Id"]
        assert number != headers["X-Request-Id"]
        wait_until(lambda: log.read_text().count(line) > before)  # written when the answer has gone
        assert number in log.read_text()
        with front.world.registry.database.read() as session:
            event = session.scalars(select(Event).where(Event.request_id == number)).one()
        assert event.address == "127.0.0.1"

    @pytest.mark.parametrize("path", ["/legacy/", "/api/v1/uploads/x"])
    def test_what_is_too_large_the_server_says(self, machine: Any, path: str) -> None:
        """It knows what it takes; and nobody sends it all before he is told."""
        address = urlsplit(machine.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {100 * 2**20}\r\n"
                "Content-Type: application/octet-stream\r\n\r\n".encode()
            )
            assert connection.recv(12) in (b"HTTP/1.1 401", b"HTTP/1.1 405")

    def test_two_hundred_slow_readers(self, front: Live, machine: Any, big: Any) -> None:
        """Each is nginx's own business: no server has a thread that waits for one."""
        host, port = urlsplit(machine.url).hostname, urlsplit(machine.url).port
        request = f"GET /blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        slow = []
        for _ in range(200):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((host, port))
            connection.sendall(request)
            slow.append(connection)
        begun = [connection.recv(12) for connection in slow]
        assert set(begun) == {b"HTTP/1.1 200"}
        assert front.publish(front.world.release("meanwhile")).status == 201
        assert front.request("GET", "/tuf/timestamp.json").status == 200
        for connection in slow:  # all of them are still at it
            assert connection.recv(1) != b""
            connection.close()


def test_without_any_server_the_signed_files_are_still_there(
    front: Live, machine: Any, tmp_path: Path
) -> None:
    require_nginx()
    for server in machine.servers:
        server.kill()
    try:
        assert front.request("GET", "/tuf/timestamp.json").status == 200
        answer = front.request("GET", "/api/v1/")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["code"] == "busy"
    finally:
        for server, port in zip(machine.servers, machine.ports, strict=True):
            server.start()
            server.wait_for(port)
    while front.request("GET", "/api/v1/").status != 200:  # until nginx tries them again
        pass
