"""What a publisher, or anybody who sends a request, can write reaches database, terminal and log as
text and nothing else. (Pages: `test_server_publishing`. No output of ours is CSV.)"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from click.testing import CliRunner
from server_fixtures import (
    ORG,
    Client,
    Live,
    World,
    _fresh_registry,
    client,
    live,
    sara,
    world,
)

from forge_server.manage import cli
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR
from signing.errors import SigningError

__all__ = ["_fresh_registry", "client", "live", "sara", "world"]
EVIL = {
    "sql": "'; DROP TABLE releases; --",
    "sql like": "%_\\%",
    "html": "<script>alert(1)</script>",
    "formula": "=cmd|'/C calc'!A0",
    "format": "%s%n{0.__class__}",
    "terminal": "\x1b]0;owned\x07\x1b[2J",
    "c1 control": "\x9b31m",
    "log line": "x\n2026-01-01 00:00:00,000 INFO everything is fine",
    "carriage return": "good\rbad",
    "overriding": "abc\u202egpj.exe",
    "line separator": "x\u2028y",
    "nul": "x\x00y",
    "half a pair": "x\ud800y",
}
# What is text like any other, and may be in a summary.
HARMLESS = ("sql", "sql like", "html", "formula", "format")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")


def shown(world: World) -> Iterator[str]:
    """Everything that the operator's commands print of what is there."""
    for words in (
        ["audit", "--limit", "50"],
        ["check"],
        ["stats"],
        ["user", "list"],
        ["token", "list"],
    ):
        command, rest = words[:1], words[1:]
        if command[0] in ("user", "token"):
            command, rest = words, []
        result = CliRunner().invoke(cli, [*command, str(world.root), *rest])
        assert result.exit_code == 0, (words, result.output)
        yield result.stdout
        yield result.stderr


def assert_harmless(world: World) -> None:
    world.registry.publication.materialise()
    for text in shown(world):
        assert not _CONTROL.search(text), repr(text)
        assert "\n2026-01-01 00:00:00,000" not in text
    assert check_registry(world.registry, deep=True).problems == ()


def test_summaries_of_releases(world: World, sara: Client) -> None:
    """Taken as they are, or the publisher's own client will not sign them."""
    signed = 0
    for number, (kind, evil) in enumerate(EVIL.items()):
        try:
            built = world.release(version=f"1.{number}", summary=evil)
        except (SigningError, UnicodeError):
            assert kind not in HARMLESS
            continue
        sara.put_blobs(built)
        answer = sara.post("/api/v1/releases", built.body())
        assert answer.get("state") == "published", answer
        found = sara.get(f"/api/v1/components/{ORG}/my-model", expect=200)
        assert found["summary"] == evil
        signed += 1
    assert signed >= len(HARMLESS)
    assert_harmless(world)


def test_words_of_searches(world: World, sara: Client) -> None:
    """A pattern of the database's is none here, and nobody sees more than is asked for."""
    sara.publish(world.release())
    for evil in EVIL.values():
        text = quote(evil.encode("utf-8", "surrogatepass"))
        for name in ("q", "language", "task", "kind", "organisation", "cursor", "limit"):
            for path in ("/api/v1/components", "/api/v1/organisations"):
                answer = sara.flask.get(f"{path}?{name}={text}")
                assert answer.status_code < 500, (path, name, answer.data)
                assert not _CONTROL.search(answer.text)
        answer = sara.flask.get(f"/api/v1/components?q={text}")
        assert answer.status_code != 200 or b"my-model" not in answer.data, evil
    assert b"my-model" in sara.flask.get("/api/v1/components?q=model").data
    assert_harmless(world)


def test_addresses(world: World, sara: Client) -> None:
    for evil in EVIL.values():
        text = quote(evil.encode("utf-8", "surrogatepass"), safe="")
        for path in (
            f"/api/v1/components/{text}", f"/api/v1/components/{ORG}/{text}", f"/blobs/{text}",
            f"/api/v1/uploads/{text}/finish", f"/tuf/{text}", f"/{text}",
        ):  # fmt: skip
            for method in ("GET", "POST"):
                answer = sara.flask.open(path, method=method, json={})
                assert answer.status_code < 500, (method, path, answer.data)
                if answer.is_json:
                    assert not _CONTROL.search(answer.text)
    assert_harmless(world)


def test_texts_that_are_not_signed(world: World, sara: Client) -> None:
    """Names of tokens, reasons of switches, and what an application says of itself."""
    for evil in EVIL.values():
        sara.post("/api/v1/tokens", {"name": evil, "expires_in_days": 1, "actions": ["read"]})
        for path, body in (
            ("applications", {"application": evil, "role": evil}),
            ("releases", {"manifest": evil, "bundle": evil, "roles": {evil: evil}}),
        ):
            answer = sara.post(f"/api/v1/{path}", body)
            assert answer["status"] < 500, answer
            assert not _CONTROL.search(json.dumps(answer))
        CliRunner().invoke(cli, ["read-only", str(world.root), "on", "--reason", evil])
        world.registry.switch.off(OPERATOR)
    assert_harmless(world)


def test_log_of_a_running_server(live: Live) -> None:
    """Each line is one of ours, whatever the request line and the headers say."""
    address = urlsplit(live.server.url)
    before = len(live.server.lines)
    for evil in EVIL.values():
        raw = evil.encode("utf-8", "surrogatepass")
        coded = quote(raw, safe="").encode()
        head = raw.replace(b"\n", b" ").replace(b"\r", b" ").replace(b"\0", b"")
        request = (
            b"POST /api/v1/releases/" + coded + b"?q=" + coded + b" HTTP/1.1\r\nHost: x\r\n"
            b"User-Agent: " + head + b"\r\nX-Request-Id: " + head + b"\r\nX-Forwarded-For: " + head
            + b"\r\nAuthorization: Bearer " + head + b"\r\nContent-Length: 0\r\n\r\n"
        )  # fmt: skip
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(request)
            assert connection.recv(12).startswith(b"HTTP/1.1 4")
    assert live.request("GET", "/api/v1/").status == 200
    for line in live.server.lines[before:]:
        assert not _CONTROL.search(line), repr(line)
        assert not line.startswith("2026-01-01 00:00:00,000")
