"""Metadata compressed for who accepts it: one more representation, with a validator of its own."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from server_fixtures import Client, Live, World, _fresh_registry, client, live, sara, world
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from forge_server.app import create_app
from forge_server.static_plane.gzipped import MAX_BYTES, MIN_BYTES, GzipCache, accepts_gzip
from storage import LocalPublishedTree

__all__ = ["_fresh_registry", "client", "live", "sara", "world"]
ROOT = "/tuf/1.root.json"


def get(live: Live, path: str, method: str = "GET", **headers: str) -> Any:
    """The answer with its body as it was sent."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return live.request(method, path, headers=names, decode_content=False)


class TestRepresentations:
    def test_the_same_bytes_compressed_and_plain(self, live: Live) -> None:
        plain = get(live, ROOT)
        packed = get(live, ROOT, Accept_Encoding="gzip")
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.data) == plain.data
        assert len(packed.data) < len(plain.data)
        assert packed.headers["Content-Length"] == str(len(packed.data))
        for name in ("Cache-Control", "Content-Type", "Vary"):
            assert packed.headers[name] == plain.headers[name]
        assert plain.headers["Vary"] == "Accept-Encoding"

    def test_a_client_that_knows_nothing_of_us_reads_it(self, live: Live) -> None:
        """As `curl --compressed` does."""
        answer = live.request("GET", ROOT, headers={"Accept-Encoding": "gzip, deflate"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert json.loads(answer.data)["signed"]["_type"] == "root"

    def test_each_has_an_etag_of_its_own(self, live: Live) -> None:
        plain = get(live, ROOT).headers["ETag"]
        packed = get(live, ROOT, Accept_Encoding="gzip").headers["ETag"]
        assert plain != packed
        assert not plain.startswith("W/")
        assert not packed.startswith("W/")

    def test_what_is_known_is_not_sent_again(self, live: Live) -> None:
        plain = get(live, ROOT).headers["ETag"]
        packed = get(live, ROOT, Accept_Encoding="gzip").headers["ETag"]
        for known, encoding, status in (
            (plain, "identity", 304),
            (packed, "gzip", 304),
            (f"{plain}, {packed}", "gzip", 304),
            (f"{plain}, {packed}", "identity", 304),
            # Who holds only the other representation could not tell which one this is about.
            (plain, "gzip", 200),
            (packed, "identity", 200),
        ):
            answer = get(live, ROOT, If_None_Match=known, Accept_Encoding=encoding)
            assert answer.status == status, (known, encoding)
            assert answer.headers["ETag"] == (packed if encoding == "gzip" else plain)
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert answer.headers["Cache-Control"].endswith("immutable")
            assert status == 200 or answer.data == b""

    def test_head_says_what_get_sends(self, live: Live) -> None:
        for encoding in ("gzip", "identity"):
            whole = get(live, ROOT, Accept_Encoding=encoding)
            head = get(live, ROOT, "HEAD", Accept_Encoding=encoding)
            assert head.data == b""
            assert head.status == 200
            for name in ("Content-Length", "Content-Encoding", "ETag", "Vary", "Cache-Control"):
                assert head.headers.get(name) == whole.headers.get(name), name

    def test_a_range_is_of_the_plain_bytes(self, live: Live) -> None:
        plain, packed = get(live, ROOT), get(live, ROOT, Accept_Encoding="gzip")
        part = get(live, ROOT, Range="bytes=5-9", Accept_Encoding="gzip")
        assert (part.status, part.data) == (206, plain.data[5:10])
        assert "Content-Encoding" not in part.headers
        assert part.headers["Content-Range"] == f"bytes 5-9/{len(plain.data)}"
        # Who holds the beginning of the compressed bytes gets all of the plain ones, never a part.
        etag = packed.headers["ETag"]
        whole = get(live, ROOT, Range="bytes=5-9", If_Range=etag, Accept_Encoding="gzip")
        assert (whole.status, whole.data) == (200, plain.data)
        assert whole.headers["ETag"] == plain.headers["ETag"]
        assert "Accept-Ranges" not in packed.headers

    def test_the_snapshot_grows_and_both_forms_follow(self, live: Live) -> None:
        def stamp(encoding: str) -> bytes:
            data: bytes = get(live, "/tuf/timestamp.json", Accept_Encoding=encoding).data
            return data

        before = stamp("identity")
        assert live.publish(live.world.release("grows")).status == 201
        after = stamp("identity")
        assert after != before
        version = json.loads(after)["signed"]["meta"]["snapshot.json"]["version"]
        path = f"/tuf/{version}.snapshot.json"
        packed = get(live, path, Accept_Encoding="gzip")
        plain = get(live, path)
        data = packed.data
        assert (gzip.decompress(data) if len(plain.data) >= MIN_BYTES else data) == plain.data

    def test_a_missing_file_is_refused_plainly(self, live: Live) -> None:
        answer = get(live, "/tuf/99.root.json", Accept_Encoding="gzip")
        assert (answer.status, json.loads(answer.data)["code"]) == (404, "not-found")

    def test_blobs_tiles_and_the_api_are_sent_as_they_are(self, live: Live) -> None:
        text = b"very compressible " * 1000
        built = live.world.release("plain", files={"a.txt": text})
        assert live.publish(built).status == 201
        digest = next(key for key, data in built.blobs().items() if data == text)
        blob = get(live, f"/blobs/{digest}", Accept_Encoding="gzip")
        assert (blob.data, "Content-Encoding" in blob.headers) == (text, False)
        for path in ("/log/checkpoint", "/api/v1/components"):
            answer = get(live, path, Accept_Encoding="gzip")
            assert answer.status == 200
            assert "Content-Encoding" not in answer.headers

    def test_manifests_are_compressed_too(self, live: Live) -> None:
        files = {f"part-{number}.bin": b"%d" % number for number in range(40)}
        built = live.world.release("many", files=files)
        assert live.publish(built).status == 201
        component = built.manifest.component
        path = f"/tuf/targets/{component}/1.0.0/{built.manifest.digest}.manifest.json"
        packed = get(live, path, Accept_Encoding="gzip")
        assert gzip.decompress(packed.data) == built.manifest.raw


def test_a_swapped_file_is_never_sent_in_its_old_form(world: World, sara: Client) -> None:
    """`timestamp.json` changes under one address; here it is large enough to be compressed."""
    tree = LocalPublishedTree(world.root / "public")
    flask = create_app(world.registry).test_client()
    for number in range(3):
        text = b"%d" % number * MIN_BYTES
        tree.swap("timestamp.json", text)
        answer = flask.get("/tuf/timestamp.json", headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(answer.data) == text
        assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, False), ("", False), ("gzip", True), ("GZIP", True), ("gzip, deflate, br", True),
        ("identity", False), ("br", False), ("*", True), ("*;q=0", False), ("gzip;q=0", False),
        ("gzip;q=0, *", False), ("gzip;q=0.5, identity", False), ("gzip;q=0.000", False),
        ("identity;q=0.5, gzip;q=0.9", True), ("identity;q=0, *;q=0.1", True),
        ("gzip;q=x", False),
    ],
)  # fmt: skip
def test_who_accepts_it(header: str | None, wanted: bool) -> None:
    def request(**more: str) -> Request:
        headers = more if header is None else {"Accept-Encoding": header, **more}
        return Request(EnvironBuilder(headers=headers).get_environ())

    assert accepts_gzip(request(), MIN_BYTES) is wanted  # type: ignore[arg-type]
    assert accepts_gzip(request(), MAX_BYTES) is wanted  # type: ignore[arg-type]
    for size in (0, MIN_BYTES - 1, MAX_BYTES + 1):
        assert not accepts_gzip(request(), size)  # type: ignore[arg-type]
    assert not accepts_gzip(request(Range="bytes=0-1"), MIN_BYTES)  # type: ignore[arg-type]


class TestCache:
    def test_a_file_is_compressed_once(self) -> None:
        cache, reads = GzipCache(), []

        def read() -> bytes:
            reads.append(1)
            return b"x" * 5000

        first = cache.get("a", read)
        assert cache.get("a", read) is first
        assert gzip.decompress(first) == b"x" * 5000
        assert len(reads) == 1

    def test_it_holds_no_more_than_it_may_and_keeps_what_is_used(self) -> None:
        each = len(gzip.compress(b"0" * 9))
        cache = GzipCache(max_bytes=3 * each)
        reads: list[str] = []

        def get(name: str) -> None:
            def read() -> bytes:
                reads.append(name)
                return name.encode() * 9

            cache.get(name, read)

        for name in "abcad":  # a is used again, so b is the oldest when d comes
            get(name)
        reads.clear()
        for name in "acd":
            get(name)
        assert reads == []
        get("b")
        assert reads == ["b"]

    def test_what_is_larger_than_all_of_it_is_sent_and_not_kept(self) -> None:
        cache = GzipCache(max_bytes=5)
        assert gzip.decompress(cache.get("a", lambda: b"abc")) == b"abc"
        assert gzip.decompress(cache.get("a", lambda: b"abc")) == b"abc"
        assert cache._bytes == 0
