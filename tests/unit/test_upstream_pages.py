"""Pages of another index, honest and hostile, and asking for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from static_server import StaticServer
from upstream_index import JSON, UpstreamIndex, entry, send_json
from wheels import sdist, wheel

from forge_server.domain.origins import is_origin, origin_of
from forge_server.domain.upstream_pages import Found, parse_page
from forge_server.services.upstream_http import NotThereError, UpstreamError, UpstreamHttp
from signing.errors import MalformedError

PAGE = "https://index.example/simple/one/"
ORIGINS = ("https://index.example:443", "https://files.example:443")
((FILENAME, DATA),) = wheel("one", "1.0").items()
HONEST = entry(FILENAME, DATA)


def parsed(value: Any, name: str = "one", max_bytes: int = 10_000) -> Found:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_page(data, name, PAGE, origins=ORIGINS, max_bytes=max_bytes)


def page(*files: Any, **more: Any) -> dict[str, Any]:
    return {"meta": {"api-version": "1.1"}, "name": "one", "files": list(files), **more}


def test_a_page() -> None:
    ((name, data),) = sdist("one", "1.1").items()
    found = parsed(page(HONEST, entry(name, data, url="https://files.example/x#sha256=1")))
    first, second = found.files
    assert (first.filename, first.version, first.size) == (FILENAME, "1.0", len(DATA))
    assert first.url == f"https://index.example/files/{FILENAME}"
    assert first.metadata_sha256 == HONEST["core-metadata"]["sha256"]
    assert (second.url, second.metadata_sha256) == ("https://files.example/x", None)
    assert (found.left_out, found.status) == (0, "active")


@pytest.mark.parametrize(
    "more",
    [
        {"filename": "../one-1.0-py3-none-any.whl"},
        {"filename": "one-1.0-py3-none-any.whl\0"},
        {"filename": "other-1.0-py3-none-any.whl"},
        {"filename": "one-1.0.zip"},
        {"filename": f"one-1.{'0' * 300}-py3-none-any.whl"},
        {"filename": None},
        {"url": "https://evil.example/x.whl"},
        {"url": "https://index.example:444/x.whl"},
        {"url": "http://index.example/x.whl"},
        {"url": "//evil.example/x.whl"},
        {"url": "https://index.example@evil.example/x.whl"},
        {"url": "https://user:word@index.example/x.whl"},
        {"url": "https://index.example\\@evil.example/x.whl"},
        {"url": "file:///etc/passwd"},
        {"url": "https://[::1/x.whl"},
        {"url": f"https://index.example/{'x' * 3000}"},
        {"url": 3},
        {"hashes": {}},
        {"hashes": {"sha256": "AB" * 32}},
        {"hashes": {"md5": "0" * 32}},
        {"hashes": None},
        {"size": None},
        {"size": -1},
        {"size": True},
        {"upload-time": None},
        {"upload-time": "2026-01-01T00:00:00"},
        {"upload-time": "yesterday"},
        {"upload-time": "0001-01-01T00:00:00+23:59"},
    ],
    ids=str,
)
def test_a_file_that_cannot_be_pinned_is_left_out(more: dict[str, Any]) -> None:
    found = parsed(page({**HONEST, **more}, entry(*next(iter(sdist("one", "2.0").items())))))
    assert [file.version for file in found.files] == ["2.0"]
    assert found.left_out == 1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[" * 5000,
        b'{"a": 1, "a": 2}',
        [],
        {},
        page(meta={"api-version": "2.0"}),
        page(name="another"),
        page(files={}),
        page(*[HONEST] * 40),
    ],
    ids=["empty", "html", "bytes", "deep", "twice", "list", "nothing", "version", "name", "files",
         "large"],
)  # fmt: skip
def test_what_is_no_such_page_is_refused_whole(value: Any) -> None:
    with pytest.raises(MalformedError):
        parsed(value)


def test_odd_words_are_dropped_or_made_harmless() -> None:
    odd = {**HONEST, "yanked": "\x1b[31mred" + "x" * 999, "requires-python": "banana"}
    (file,) = parsed(page(odd, **{"project-status": {"status": "excellent"}})).files
    assert file.yanked is not None
    assert file.yanked.startswith("\ufffd[31mred")
    assert len(file.yanked) == 300
    assert file.requires_python is None
    assert parsed(page(**{"project-status": {"status": "archived"}})).status == "archived"


def test_origins() -> None:
    assert origin_of("HTTPS://Index.Example/a") == "https://index.example:443"
    assert origin_of("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    assert origin_of("https://index.example:99999/") is None
    assert is_origin("https://files.example")
    assert not is_origin("https://files.example/packages")
    assert not is_origin("files.example")


# --- asking ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamIndex]:
    with UpstreamIndex() as server:
        server.add("one", {FILENAME: DATA})
        yield server


def asker(upstream: UpstreamIndex, clock: Callable[[], float] | None = None) -> UpstreamHttp:
    return UpstreamHttp(
        base=upstream.index, origins=frozenset([str(origin_of(upstream.url))]), timeout_seconds=60,
        max_page_bytes=2000, **({} if clock is None else {"clock": clock}),
    )  # fmt: skip


def redirect(to: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_a_page_is_asked_for_plainly(upstream: UpstreamIndex) -> None:
    upstream.files["/simple/moved/"] = redirect("/simple/one/")
    found = asker(upstream).page("moved")
    assert json.loads(found.data)["name"] == "one"
    assert found.url == f"{upstream.index}one/"  # what it says is relative to that
    _, _, headers = upstream.requests[-1]
    assert (headers["Accept"], headers["Accept-Encoding"]) == (JSON, "identity")
    with pytest.raises(NotThereError):
        asker(upstream).page("nobody")


def test_redirects_lead_nowhere_else(upstream: UpstreamIndex) -> None:
    with StaticServer({"/simple/one/": b"{}"}) as other:
        for place in (f"{other.url}/simple/one/", "file:///etc/passwd", "http://169.254.1.1/", ""):
            upstream.files["/simple/away/"] = redirect(place)
            with pytest.raises(UpstreamError):
                asker(upstream).page("away")
        assert other.requests == []


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        ({"Content-Encoding": "gzip"}, b"{}", "expected plain bytes"),
        ({"Content-Type": "text/html"}, b"{}", "expected application/vnd.pypi.simple"),
        ({}, b" " * 2001, "at most 2000 bytes"),
        ({"Content-Length": "50"}, b"{}", "IncompleteRead|ProtocolError|no answer"),
    ],
    ids=["gzip", "html", "large", "cut"],
)
def test_other_answers_are_refused(
    upstream: UpstreamIndex, headers: dict[str, str], body: bytes, words: str
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send_json(handler, body, **headers)
        handler.close_connection = True

    upstream.files["/simple/odd/"] = answer
    with pytest.raises(UpstreamError, match=words):
        asker(upstream).page("odd")


def test_one_that_sends_a_byte_now_and_then_is_given_up(upstream: UpstreamIndex) -> None:
    """Each read looks at the clock, which here moves a second at each look."""
    moments = iter(range(1000))
    slow = asker(upstream, lambda: float(next(moments)))
    with slow.file(f"{upstream.url}/files/{FILENAME}", 1) as body:
        assert body.read(1)
        with pytest.raises(UpstreamError, match="too slow"):
            list(iter(lambda: body.read(1), b""))


def test_what_does_not_answer_is_said_to_be_away(upstream: UpstreamIndex) -> None:
    with UpstreamIndex() as gone:
        away = asker(gone)
    with pytest.raises(UpstreamError, match="no connection"):
        away.page("one")
