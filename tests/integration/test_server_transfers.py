"""Slots for transfers: slow clients never have all the threads, and every slot comes back."""

from __future__ import annotations

import hashlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from server_fixtures import (
    ORG,
    Built,
    Client,
    Live,
    World,
    _fresh_registry,
    client,
    copy_registry,
    sara,
    start_server,
    world,
)
from waiting import PAUSE_SECONDS

from forge_server.app import create_app
from forge_server.errors import RegistryError
from forge_server.services.transfers import SlottedFile, Transfers

__all__ = ["_fresh_registry", "client", "sara", "world"]
BIG = bytes(range(256)) * 4096 * 8  # 8 MiB: more than both sockets' buffers hold
DIGEST = hashlib.sha256(BIG).hexdigest()
SLOW = 200
DOWNLOADS = 32  # of 64 threads


class TestSlots:
    def test_half_of_the_threads_one_way_three_quarters_in_all(self) -> None:
        transfers = Transfers(8)
        down = [transfers.take("download") for _ in range(4)]
        with pytest.raises(RegistryError) as caught:
            transfers.take("download")
        assert caught.value.code == "too-many-transfers"
        up = [transfers.take("upload") for _ in range(2)]
        with pytest.raises(RegistryError):
            transfers.take("upload")
        down[0].give_back()
        transfers.take("upload")
        for slot in (*down, *up):
            slot.give_back()
            slot.give_back()  # a second time changes nothing
        assert transfers.in_progress == 1

    def test_one_thread_is_enough_for_something(self) -> None:
        Transfers(1).take("download").give_back()

    def test_a_file_gives_its_slot_back(self) -> None:
        transfers = Transfers(8)
        with_close = SlottedFile(BytesIO(b"x"), transfers.take("download"))
        forgotten = SlottedFile(BytesIO(b"x"), transfers.take("download"))
        with_close.close()
        with_close.close()
        assert transfers.in_progress == 1
        del forgotten
        assert transfers.in_progress == 0


@pytest.fixture
def published(world: World, sara: Client) -> Client:
    sara.publish(world.release("big", files={"big.bin": BIG}))
    return sara


def taken(client: Client) -> int:
    transfers: Transfers = client.flask.application.extensions["forge-transfers"]
    return transfers.in_progress


class TestInTheApplication:
    def test_a_slot_lasts_as_long_as_the_body(self, published: Client) -> None:
        answer = published.flask.get(f"/blobs/{DIGEST}", buffered=False)
        next(answer.iter_encoded())
        assert taken(published) == 1
        answer.close()
        assert taken(published) == 0

    @pytest.mark.parametrize(
        ("method", "headers", "status"),
        [
            ("HEAD", {}, 200),
            ("GET", {"If-None-Match": f'"{DIGEST}"'}, 304),
            ("GET", {"Range": "bytes=99999999-"}, 416),
            ("GET", {"Range": "bytes=0-9"}, 206),
        ],
    )
    def test_it_comes_back(
        self, published: Client, method: str, headers: dict[str, str], status: int
    ) -> None:
        with published.flask.open(f"/blobs/{DIGEST}", method=method, headers=headers) as answer:
            assert answer.status_code == status
        assert taken(published) == 0

    def test_it_comes_back_when_the_store_fails(
        self, published: Client, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blobs = type(world.registry.blobs)

        def fail(*_: object) -> None:
            raise RegistryError("storage-failed", "injected")

        monkeypatch.setattr(blobs, "open", fail)
        assert published.flask.get(f"/blobs/{DIGEST}").status_code == 503
        assert taken(published) == 0

    def test_it_comes_back_after_an_upload_and_after_a_refused_one(self, published: Client) -> None:
        for body, status in ((b"x" * 100_000, 201), (b"y" * 100_000, 422)):
            digest = hashlib.sha256(b"x" * 100_000).hexdigest()
            if status == 422:
                digest = "0" * 64
            answer = published.flask.put(
                f"/api/v1/blobs/{digest}?component={ORG}/big", data=body,
                headers={"Authorization": f"Bearer {published.token}"},
            )  # fmt: skip
            assert answer.status_code == status
            assert taken(published) == 0

    def test_who_comes_too_late_is_told_when_to_come_again(
        self, published: Client, world: World
    ) -> None:
        busy = create_app(world.registry, threads=2).test_client()
        first = busy.get(f"/blobs/{DIGEST}", buffered=False)
        next(first.iter_encoded())
        refused = busy.get(f"/blobs/{DIGEST}")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.get_json()["code"] == "too-many-transfers"
        with busy.get("/tuf/timestamp.json") as answer:
            assert answer.status_code == 200
        first.close()
        with busy.get(f"/blobs/{DIGEST}") as answer:
            assert answer.status_code == 200


@pytest.fixture
def server(_fresh_registry: Path, tmp_path: Path) -> Iterator[Live]:
    world = World(copy_registry(_fresh_registry, tmp_path))
    token = world.user("sara")
    world.organisation(token)
    first = Client(create_app(world.registry).test_client(), token)
    first.publish(world.release("big", files={"big.bin": BIG}))
    running = start_server(world.root)
    yield Live(world, running, token)
    running.kill()
    world.close()


def begin(live: Live, request: bytes) -> socket.socket:
    """A connection that sends ``request`` and takes hardly anything of the answer."""
    address = urlsplit(live.server.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((address.hostname, address.port))
    connection.sendall(request)
    return connection


def publish(live: Live, built: Built) -> None:
    """As a client does, which comes again when it is told to. What is here as a whole when its turn
    comes waits for nobody; a body that is still on its way may find no slot."""
    blobs = [
        ("PUT", f"/api/v1/blobs/{digest}?component={built.manifest.component}", {"body": data})
        for digest, data in built.blobs().items()
    ]
    for method, path, sent in (*blobs, ("POST", "/api/v1/releases", {"json": built.body()})):
        while (answer := live.request(method, path, **sent)).status == 503:
            time.sleep(PAUSE_SECONDS)
        assert answer.status == 201, answer.data


def test_two_hundred_slow_downloads(server: Live) -> None:
    """Without a proxy in front: half of the threads serve them, the others everybody else."""
    request = f"GET /blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    slow = [begin(server, request) for _ in range(SLOW)]
    try:
        statuses = Counter(connection.recv(12) for connection in slow)
        assert statuses == {b"HTTP/1.1 200": DOWNLOADS, b"HTTP/1.1 503": SLOW - DOWNLOADS}
        assert server.publish(server.world.release("meanwhile")).status == 201
        for _ in range(50):
            assert server.request("GET", "/tuf/timestamp.json").status == 200
        refused = server.request("GET", f"/blobs/{DIGEST}")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    finally:
        for connection in slow:
            connection.close()
    # They went away in the middle, and their slots came back.
    while (answer := server.request("GET", f"/blobs/{DIGEST}")).status == 503:
        time.sleep(PAUSE_SECONDS)
    assert answer.data == BIG


@pytest.mark.parametrize("kind", ["file", "offer"])
def test_two_hundred_slow_uploads(server: Live, kind: str) -> None:
    """Bodies that begin and do not go on, of files and of offers."""
    what, size = ("POST /api/v1/releases", 1000) if kind == "offer" else (
        f"PUT /api/v1/blobs/{'0' * 64}?component={ORG}/big", 10**9,
    )  # fmt: skip
    head = (
        f"{what} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
    slow: list[Any] = [begin(server, head + b"{") for _ in range(SLOW)]
    try:
        refused = 0
        while refused < SLOW - DOWNLOADS:
            time.sleep(PAUSE_SECONDS)
            for connection in slow:
                try:
                    refused += connection.recv(12, socket.MSG_DONTWAIT) == b"HTTP/1.1 503"
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    pytest.fail("refused without an answer")
        late = begin(server, head + b"{")
        answer = b"".join(iter(lambda: late.recv(4096), b""))  # to its end: it is closed
        late.close()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"\r\nConnection: close\r\n" in answer
        for _ in range(50):
            assert server.request("GET", "/tuf/timestamp.json").status == 200
        assert server.request("GET", f"/blobs/{DIGEST}").data == BIG
        publish(server, server.world.release("meanwhile"))
    finally:
        for connection in slow:
            connection.close()
