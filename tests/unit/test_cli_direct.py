"""Parts that go straight to a store: what goes there, what does not, and when it is given up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from static_server import StaticServer

from forge_cli.errors import ForgeError, NetworkError
from forge_cli.output import SilentProgress
from forge_cli.recipes import Segment
from forge_cli.remote.api import Api
from forge_cli.remote.crew import Crew
from forge_cli.remote.direct import DirectParts, DirectWay
from forge_cli.remote.http import Http
from forge_cli.remote.pace import Pace
from forge_cli.remote.sending import Body, Sender

PART = b"0123456789" * 100
COUNT = 40
FILE = PART * COUNT
TODO = [(n, Segment(at=n * len(PART), length=len(PART))) for n in range(COUNT)]
HEADERS = {"Content-Length": "7", "x-amz-content-sha256": hashlib.sha256(PART).hexdigest()}


@dataclass
class Store:
    """Takes parts at ``/part``, and answers ``status``."""

    status: int = 200
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.taken.append((dict(handler.headers.items()), body))
        handler.send_response(self.status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeApi(Api):
    """A registry that gives ``give`` for each part that it is asked about."""

    give: Callable[[int], dict[str, Any] | None]
    asked: list[list[int]] = field(default_factory=list)

    def post(self, *path: str, body: Any) -> Any:  # type: ignore[override]
        numbers = [number for number, _, _ in body["parts"]]
        assert [sha for _, _, sha in body["parts"]] == [hashlib.sha256(PART).hexdigest()] * len(
            numbers
        )
        self.asked.append(numbers)
        given = [made for n in numbers if (made := self.give(n)) is not None]
        return {"addresses": given, "seconds": 900}


OPEN: list[Sender] = []


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """The command ends with its process; tests do not."""
    yield
    while OPEN:
        for connection in OPEN.pop()._connections().values():
            connection.close()


@pytest.fixture
def store() -> Iterator[tuple[Store, StaticServer]]:
    answers = Store()
    with StaticServer({"/part": answers}) as server:
        yield answers, server


def direct(
    url: str,
    *,
    registry: str = "http://registry.test",
    now: Callable[[], float] = lambda: 0.0,
    headers: dict[str, Any] = HEADERS,
    none: bool = False,
) -> tuple[DirectParts, FakeApi]:
    def give(number: int) -> dict[str, Any] | None:
        return None if none else {"number": number, "url": url, "headers": headers}

    api = FakeApi(http=Http(), url=registry, token="forge_secret", give=give)
    crew = Crew(1)
    crew.sleep = lambda seconds: None  # type: ignore[method-assign]
    sender = Sender(api=api, crew=crew, progress=SilentProgress(), pace=Pace())
    OPEN.append(sender)
    parts = DirectParts(
        api=api,
        component="minds-lab/model",
        upload="a" * 64,
        todo=TODO,
        sha256=lambda segment: hashlib.sha256(FILE[segment.at : segment.end]).digest(),
        sender=sender,
        way=DirectWay(open=True),
        monotonic=now,
    )
    return parts, api


def send(parts: DirectParts, number: int) -> bool:
    segment = TODO[number][1]
    return parts.send(number, Body(source=FILE, size=segment.length, start=segment.at))


def test_the_part_and_its_signed_headers_go_there_and_the_token_does_not(
    store: tuple[Store, StaticServer],
) -> None:
    answers, server = store
    parts, _ = direct(f"{server.url}/part?signature=x")
    assert send(parts, 3)
    ((headers, body),) = answers.taken
    assert body == PART
    assert headers["x-amz-content-sha256"] == HEADERS["x-amz-content-sha256"]
    assert headers["Content-Length"] == str(len(PART))
    assert "Authorization" not in headers
    assert "forge_secret" not in str(headers)


def test_addresses_come_in_batches(store: tuple[Store, StaticServer]) -> None:
    parts, api = direct(f"{store[1].url}/part")
    assert all(send(parts, number) for number in range(COUNT))
    assert api.asked == [list(range(16)), list(range(16, 32)), list(range(32, 40))]


def test_an_address_is_not_used_in_the_second_half_of_its_life(
    store: tuple[Store, StaticServer],
) -> None:
    time = [0.0]
    parts, api = direct(f"{store[1].url}/part", now=lambda: time[0])
    assert send(parts, 0)
    time[0] = 449
    assert send(parts, 1)
    assert len(api.asked) == 1
    time[0] = 451
    assert send(parts, 2)
    assert api.asked[1:] == [list(range(2, 18))]


@pytest.mark.parametrize("status", [302, 400, 403, 404, 500, 503])
def test_two_refusals_in_a_row_end_it(store: tuple[Store, StaticServer], status: int) -> None:
    answers, server = store
    parts, _ = direct(f"{server.url}/part")
    answers.status = status
    assert not send(parts, 0)
    answers.status = 200
    assert send(parts, 1)  # once is an accident
    answers.status = status
    assert not send(parts, 2)
    assert parts.way.open
    assert not send(parts, 3)
    assert not parts.way.open
    assert str(status) in str(parts.way.closed)
    sent = len(answers.taken)
    assert not send(parts, 4)
    assert len(answers.taken) == sent


def test_a_registry_without_addresses_is_asked_once() -> None:
    parts, api = direct("http://store.test/part", none=True)
    assert not send(parts, 0)
    assert not send(parts, 1)
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    "url", ["http://store.test/part", "file:///etc/passwd", "ftp://store.test/x", "https:///part"]
)
def test_nothing_leaves_the_safety_of_tls(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: pytest.fail("it connected"))
    parts, _ = direct(url, registry="https://registry.test")
    assert not send(parts, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer x"), ("Cookie", "x"), ("Host", "x"), ("x-amz-a", "x\r\nB: x"),
        ("x-amz-a", 5), ("x-amz-a:", "x"), ("Transfer-Encoding", "chunked"), ("x-amz-a", "é"),
    ],
)  # fmt: skip
def test_a_registry_cannot_make_us_say_more_to_others(
    store: tuple[Store, StaticServer], name: str, value: Any
) -> None:
    parts, _ = direct(f"{store[1].url}/part", headers={**HEADERS, name: value})
    with pytest.raises(ForgeError) as caught:
        send(parts, 0)
    assert caught.value.code == "registry-malformed"
    assert store[0].taken == []


def test_a_window_that_closes_ends_the_command_not_the_way(
    store: tuple[Store, StaticServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Pace, wanted: int) -> int:
        raise NetworkError("closed", hint="", code="window-closed")

    monkeypatch.setattr(Pace, "take", closed)
    parts, _ = direct(f"{store[1].url}/part")
    with pytest.raises(NetworkError):
        send(parts, 0)
    assert parts.way.open
