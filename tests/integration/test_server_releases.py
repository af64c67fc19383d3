"""Offering, uploading, publishing; the static plane; fifty publishers of one version."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from server_fixtures import (
    Client,
    Live,
    World,
    _fresh_registry,
    client,
    live,
    sara,
    world,
)

__all__ = ["_fresh_registry", "client", "live", "sara", "world"]
PUBLISHERS = 50


def test_offer_upload_publish(world: World, sara: Client) -> None:
    built = world.release()
    missing = sara.post("/api/v1/releases", built.body(), expect=200)
    assert missing["state"] == "missing"
    assert {row["sha256"] for row in missing["missing"]} == set(built.blobs())
    receipt = sara.publish(built)["receipt"]
    assert receipt["manifest_sha256"] == built.manifest.digest
    again = sara.post("/api/v1/releases", built.body(), expect=200)
    assert again["receipt"] == receipt


def test_other_content_under_a_taken_version(world: World, sara: Client) -> None:
    first = world.release()
    other = world.release(files={"weights.bin": b"other"})
    sara.publish(first)
    sara.put_blobs(other)
    answer = sara.post("/api/v1/releases", other.body(), expect=409, code="version-taken")
    assert answer["manifest_sha256"] == first.manifest.digest


def test_a_release_by_a_key_that_nobody_listed(world: World, sara: Client) -> None:
    sara.publish(world.release())
    forged = world.release(version="1.1.0", key=world.key("thief"))
    sara.put_blobs(forged)
    sara.post("/api/v1/releases", forged.body(), expect=422, code="verification-failed")


def test_wrong_bytes_are_refused(world: World, sara: Client) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    path = f"/api/v1/blobs/{digest}?component=minds-lab/my-model"
    sara.call("PUT", path, data=b"wrong", expect=422, code="digest-mismatch")
    sara.call("HEAD", path, expect=404)


def test_without_a_token(world: World, sara: Client, client: Client) -> None:
    built = world.release()
    client.post("/api/v1/releases", built.body(), expect=401, code="not-authenticated")


def test_uploaded_but_unpublished_blobs_are_not_served(world: World, sara: Client) -> None:
    built = world.release()
    sara.put_blobs(built)
    digest = next(iter(built.blobs()))
    sara.get(f"/blobs/{digest}", expect=404, code="blob-not-found")


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        (None, 200, slice(None)),
        ("bytes=0-", 206, slice(0, None)),
        ("bytes=10-19", 206, slice(10, 20)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=990-5000", 206, slice(990, None)),
        ("bytes=1000-", 416, None),
        ("bytes=0-1,4-5", 416, None),
        ("lines=0-1", 200, slice(None)),
    ],
)
def test_ranges_of_a_running_server(
    live: Live, header: str | None, status: int, expected: slice | None
) -> None:
    content = bytes(range(250)) * 4
    name = f"ranged-{hashlib.sha256(repr(header).encode()).hexdigest()[:8]}"
    built = live.world.release(name=name, files={"w": content})
    assert live.publish(built).status in (200, 201)
    digest = hashlib.sha256(content).hexdigest()
    headers = {} if header is None else {"Range": header}
    answer = live.request("GET", f"/blobs/{digest}", headers=headers)
    assert answer.status == status
    if expected is not None:
        assert answer.data == content[expected]
        assert answer.headers["ETag"] == f'"{digest}"'
        assert "immutable" in answer.headers["Cache-Control"]


def test_if_range_with_another_tag_gives_the_whole(live: Live) -> None:
    content = b"0123456789" * 100
    assert live.publish(live.world.release(name="iffy", files={"w": content})).status in (200, 201)
    headers = {"Range": "bytes=10-19", "If-Range": '"another"'}
    digest = hashlib.sha256(content).hexdigest()
    answer = live.request("GET", f"/blobs/{digest}", headers=headers)
    assert (answer.status, answer.data) == (200, content)


def test_fifty_publishers_of_one_version(live: Live) -> None:
    """Different content under one version, at once: exactly one wins, the others hear 409."""
    offers = [
        live.world.release(name="raced", files={"w": f"content {number}".encode()})
        for number in range(PUBLISHERS)
    ]
    with ThreadPoolExecutor(PUBLISHERS) as pool:
        answers = list(pool.map(live.publish, offers))
    assert Counter(answer.status for answer in answers) == {201: 1, 409: PUBLISHERS - 1}
    winner = next(o for o, a in zip(offers, answers, strict=True) if a.status == 201)
    shown = live.request("GET", "/api/v1/components/minds-lab/raced").json()
    assert [row["manifest_sha256"] for row in shown["versions"]] == [winner.manifest.digest]
