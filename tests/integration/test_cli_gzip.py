"""Compressed metadata at the client: taken where it may be, and no way around any limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import islice

import pytest
from builders import NAME, World, tree
from cli_fixtures import Forge, new_world
from forge_client import forge
from hypothesis import given
from hypothesis import strategies as st
from static_server import Answer, StaticServer

from forge_cli.errors import NetworkError
from forge_cli.remote.http import GZIP, Http, body_of, read_limited

__all__ = ["forge"]


MIB = 1 << 20


def packed(data: bytes, *, asked: bool = True) -> Answer:
    """``data`` compressed for who accepts it, or, with ``asked`` False, for everybody."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if asked and handler.headers["Accept-Encoding"] != "gzip":
            handler.reply(200, data)  # type: ignore[attr-defined]
        else:
            body = gzip.compress(data)
            handler.reply(200, body, Content_Encoding="gzip")  # type: ignore[attr-defined]

    return answer


class Endless:
    """Sends pieces until the client hangs up; not quite for ever, so that a client that never does
    fails its test instead of the machine."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = islice(pieces, 64)

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            for piece in self.pieces:
                handler.wfile.write(piece)
        except OSError:
            pass


def bomb() -> Iterator[bytes]:
    """Zeros without end, a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    while True:
        yield packer.compress(bytes(MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)


def nothing() -> Iterator[bytes]:
    """Valid gzip that goes on for ever and never holds a byte."""
    yield gzip.compress(b"")[:10]
    while True:
        yield b"\x00\x00\x00\xff\xff" * 20_000  # RFC 1951 §3.2.4: stored blocks of no length


def long_name() -> Iterator[bytes]:
    """A header whose file name never ends (RFC 1952 §2.3.1, FNAME)."""
    yield b"\x1f\x8b\x08\x08" + bytes(6)
    while True:
        yield b"a" * 100_000


def snapshot_path(world: World) -> str:
    return f"/tuf/{world.snapshot_version}.snapshot.json"


def test_metadata_may_come_compressed_and_files_may_not(forge: Forge) -> None:
    world = new_world()
    release = world.publish(tree())
    metadata = {path: packed(data) for path, data in world.files().items() if "/tuf/" in path}
    with StaticServer({**world.files(), **metadata}) as server:
        forge.trust(server, world)
        forge.ok("install", str(NAME), "--into", "out")
        asked = {path: headers["Accept-Encoding"] for _, path, headers in server.requests}
    assert {way for path, way in asked.items() if path.startswith("/tuf/")} == {"gzip"}
    assert {way for path, way in asked.items() if not path.startswith("/tuf/")} == {"identity"}
    manifest = f"/tuf/targets/{NAME}/1.0.0/{release.manifest.digest}.manifest.json"
    assert manifest in asked


@pytest.mark.parametrize("make", [bomb, nothing, long_name])
@pytest.mark.parametrize("role", ["snapshot", "timestamp", "project", "manifest", "bundle"])
def test_a_bomb_is_refused_within_the_signed_length(forge: Forge, make: object, role: str) -> None:
    world = new_world()
    release = world.publish(tree())
    base = f"/tuf/targets/{NAME}/1.0.0"
    path = {
        "snapshot": snapshot_path(world),
        "timestamp": "/tuf/timestamp.json",
        "project": f"/tuf/1.{NAME.role}.json",
        "manifest": f"{base}/{release.manifest.digest}.manifest.json",
        "bundle": next(p for p in world.files() if p.endswith(".release.sigstore.json")),
    }[role]
    endless = Endless(make())  # type: ignore[operator]
    with StaticServer({**world.files(), path: endless}) as server:
        forge.trust(server, world)
        ran = forge("install", str(NAME), "--into", "out")
    # Too much: more than was signed. Nothing at all: an answer that is none.
    assert ran.code == (3 if make is bomb else 8), ran.err
    if make is bomb:
        assert "more" in ran.err
    assert "Traceback" not in ran.err
    assert forge.nothing_installed()


@pytest.mark.parametrize(("make", "most"), [(bomb, MIB), (nothing, MIB), (long_name, MIB)])
def test_what_is_read_and_held_stays_within_the_limit(make: object, most: int) -> None:
    """Counted where the bytes come out and where they go in, not by the clock."""
    endless = Endless(make())  # type: ignore[operator]
    limit = 10_000
    taken: list[int] = []
    with StaticServer({"/x": endless}) as server:
        http = Http(attempts=1)
        with http.open("GET", f"{server.url}/x", headers=GZIP) as response:
            read = response.read

            def counted(amount: int) -> bytes:
                data: bytes = read(amount)
                taken.append(len(data))
                return data

            response.read = counted  # type: ignore[assignment,method-assign]
            if make is bomb:
                assert len(read_limited(body_of(response, "x"), limit)) == limit + 1
            else:
                with pytest.raises(NetworkError, match="hold hardly anything"):
                    read_limited(body_of(response, "x"), limit)
    assert sum(taken) < most
    assert max(taken) <= 1 << 14


class Chopped:
    """A response over ``data``, which gives at most ``most`` bytes at a time."""

    def __init__(self, data: bytes, most: int, **headers: str) -> None:
        self.data, self.most = data, most
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def read(self, amount: int) -> bytes:
        count = min(amount, self.most)
        head, self.data = self.data[:count], self.data[count:]
        return head


@given(
    data=st.binary(max_size=300) | st.builds(bytes, st.integers(0, 200_000)),
    most=st.integers(1, 1 << 15),
    amounts=st.lists(st.integers(1, 70_000), min_size=1),
)
def test_what_comes_out_is_what_went_in(data: bytes, most: int, amounts: list[int]) -> None:
    body = body_of(
        Chopped(gzip.compress(data), most, Content_Encoding="gzip"),  # type: ignore[arg-type]
        "x",
    )
    found, turn = b"", 0
    while block := body.read(amounts[turn % len(amounts)]):
        assert len(block) <= amounts[turn % len(amounts)]
        found += block
        turn += 1
    assert found == data
    assert body.read(5) == b""
    assert body.read(0) == b""


GOOD = gzip.compress(b"text" * 100, mtime=0)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "cut off"), (GOOD[:-1], "cut off"), (GOOD[:5], "cut off"), (b"text", "something"),
        (GOOD[:-8] + bytes(8), "something"), (GOOD + b"x", "behind"), (GOOD + GOOD, "behind"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("most", [1, 1 << 15])
def test_what_is_not_one_whole_gzip_is_refused(data: bytes, word: str, most: int) -> None:
    body = body_of(Chopped(data, most, Content_Encoding="GZip "), "x")  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=word):
        list(iter(lambda: body.read(10_000), b""))


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "x", ""])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(NetworkError, match="plain or gzip"):
        body_of(Chopped(GOOD, 9, Content_Encoding=encoding), "x")  # type: ignore[arg-type]


def test_the_next_request_uses_the_same_connection() -> None:
    """Whatever follows a compressed body on the wire was read with it."""
    connections = set()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        connections.add(handler.client_address)
        handler.reply(200, GOOD, Content_Encoding="gzip")  # type: ignore[attr-defined]

    with StaticServer({"/x": answer}) as server:
        http = Http(attempts=1)
        for _ in range(3):
            with http.open("GET", f"{server.url}/x", headers=GZIP) as response:
                assert read_limited(body_of(response, "x"), 400) == b"text" * 100
    assert len(connections) == 1


def test_a_file_sent_compressed_is_not_the_file(forge: Forge) -> None:
    """Blobs are hashed as they come: nobody asked for them in another form."""
    world = new_world()
    world.publish(tree())
    files = world.files()
    blobs = {path: packed(files[path], asked=False) for path in files if "/blobs/" in path}
    with StaticServer({**files, **blobs}) as server:
        forge.trust(server, world)
        ran = forge("install", str(NAME), "--into", "out")
    assert ran.code in (3, 8), ran.err  # other bytes, or fewer than were signed
    assert forge.nothing_installed()


def test_a_snapshot_changed_inside_the_compression_is_refused(forge: Forge) -> None:
    world = new_world()
    world.publish(tree())
    value = json.loads(world.snapshot)
    value["signed"]["meta"].pop("registrar.json")
    changed = packed(json.dumps(value).encode())
    with StaticServer({**world.files(), snapshot_path(world): changed}) as server:
        forge.trust(server, world)
        assert forge("install", str(NAME), "--into", "out").code == 3
