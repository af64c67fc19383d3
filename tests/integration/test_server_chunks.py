"""Chunk lists at the registry: compared with their files before a release is accepted."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from dataclasses import replace

import pytest
from server_fixtures import (  # noqa: F401
    Built,
    Client,
    World,
    _fresh_registry,
    client,
    entry,
    forge_toml,
    sara,
    world,
)
from tensors import chunks_of, safetensors, tensors

from forge_server.services.slow_work import SlowWork
from signing.chunks import ChunkList, build_chunk_list
from signing.component import parse_forge_toml
from signing.manifest import build_manifest
from storage import Segment

DATA = safetensors(tensors(1, count=4))
DIGEST = hashlib.sha256(DATA).hexdigest()
GOOD = chunks_of(DATA)


def lying(chunks: ChunkList = GOOD) -> ChunkList:
    """The same cuts with another digest in the middle."""
    pairs = [(chunk.digest, chunk.length) for chunk in chunks]
    pairs[len(pairs) // 2] = (bytes(32), pairs[len(pairs) // 2][1])
    return build_chunk_list(pairs)


def shorter() -> ChunkList:
    """A list that ends one chunk early."""
    return build_chunk_list([(chunk.digest, chunk.length) for chunk in GOOD][:-1])


def built(world: World, raw: bytes = GOOD.raw, version: str = "1.0.0") -> tuple[Built, bytes]:
    """A release of one large file that names ``raw`` as its chunk list."""
    toml = forge_toml(version=version)
    large = replace(entry("model.safetensors", DATA), chunks=hashlib.sha256(raw).hexdigest())
    manifest = build_manifest(parse_forge_toml(toml), [entry("forge.toml", toml), large])
    content = {"forge.toml": toml, "model.safetensors": DATA}
    return world.signed(manifest, content, world.key("minds-lab")), raw


def put(sara: Client, data: bytes, query: str = "", **options: object) -> object:
    digest = hashlib.sha256(data).hexdigest()
    address = f"/api/v1/blobs/{digest}?component=minds-lab/my-model{query}"
    return sara.call("PUT", address, data=data, **options)  # type: ignore[arg-type]


def digest_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def checks(world: World) -> int:
    from sqlalchemy import func, select

    from forge_server.db.models import ChunkCheck

    with world.registry.database.read() as session:
        return session.scalar(select(func.count()).select_from(ChunkCheck)) or 0


def test_a_list_is_asked_for_stored_and_public_with_the_release(
    world: World, sara: Client, client: Client
) -> None:
    release, raw = built(world)
    name = digest_of(raw)
    missing = sara.post("/api/v1/releases", release.body(), expect=200)["missing"]
    assert {"sha256": name, "size": None} in missing
    put(sara, raw, expect=201)
    client.get(f"/blobs/{name}", expect=404)
    put(sara, DATA, f"&chunks={name}", expect=201)
    assert checks(world) == 1
    put(sara, release.files["forge.toml"], expect=201)
    sara.post("/api/v1/releases", release.body(), expect=201)
    assert client.text(f"/blobs/{name}") == raw
    from forge_server.operate.check import check_registry

    report = check_registry(world.registry, deep=True)
    assert report.problems == ()
    assert not [note for note in report.notes if "no release" in note]


@pytest.mark.parametrize("raw", [lying().raw, b"forge-chunks-1\n\n" + bytes(36)])
def test_a_file_that_comes_with_another_list_is_refused_and_leaves_nothing(
    world: World, sara: Client, raw: bytes
) -> None:
    put(sara, raw, expect=201)
    refusal = put(sara, DATA, f"&chunks={digest_of(raw)}")
    assert refusal["code"] in ("digest-mismatch", "malformed")  # type: ignore[index]
    assert world.registry.blobs.missing([DIGEST]) == {DIGEST}
    assert checks(world) == 0


@pytest.mark.parametrize("announced", [False, True], ids=["file was here", "another was named"])
@pytest.mark.parametrize(
    ("raw", "code"),
    [(lying().raw, "digest-mismatch"), (shorter().raw, "malformed"), (b"no list", "malformed")],
    ids=["another digest", "a shorter list", "no list"],
)
def test_a_release_whose_list_does_not_hold_is_refused(
    world: World, sara: Client, raw: bytes, code: str, announced: bool
) -> None:
    release, _ = built(world, raw)
    put(sara, GOOD.raw)
    put(sara, DATA, f"&chunks={GOOD.digest}" if announced else "")
    put(sara, raw)
    put(sara, release.files["forge.toml"])
    sara.post("/api/v1/releases", release.body(), code=code)
    sara.get("/api/v1/components/minds-lab/my-model", expect=404)


def test_a_file_that_was_here_before_its_list_is_read_once_more(world: World, sara: Client) -> None:
    release, raw = built(world)
    for data in (DATA, raw, release.files["forge.toml"]):
        put(sara, data)
    assert checks(world) == 0
    sara.post("/api/v1/releases", release.body(), expect=201)
    assert checks(world) == 1


def test_a_comparison_that_takes_longer_than_a_request_goes_on_meanwhile(
    world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, raw = built(world)
    for data in (DATA, raw, release.files["forge.toml"]):
        put(sara, data)
    go, calls = threading.Event(), []
    from forge_server.services import chunk_checks

    true = chunk_checks.compare

    def slowly(*args: object) -> None:
        calls.append(args)
        go.wait()
        true(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(chunk_checks, "compare", slowly)
    monkeypatch.setattr(world.registry.incoming.chunk_checks.work, "_wait_seconds", 0.01)
    for _ in range(3):
        assert sara.post("/api/v1/releases", release.body(), expect=202) == {"state": "checking"}
    go.set()
    monkeypatch.setattr(world.registry.incoming.chunk_checks.work, "_wait_seconds", 60)
    sara.post("/api/v1/releases", release.body(), expect=201)
    assert len(calls) == 1


# --- a new version that is put together from the old one ----------------------------------------

NEW = DATA[: GOOD[6].start] + b"inserted" + DATA[GOOD[6].start :]
NEW_LIST = chunks_of(NEW)
RECIPE = [[GOOD[6].start, 0, 0], [8], [len(DATA) - GOOD[6].start, 0, GOOD[6].start]]


def second(sara: Client, raw: bytes, **options: object) -> None:
    """The new version in parts, all but eight bytes of it from the old one."""
    body = {
        "component": "minds-lab/my-model",
        "sha256": hashlib.sha256(NEW).hexdigest(),
        "size": len(NEW),
        "chunks": digest_of(raw),
    }
    put(sara, raw)
    begun = sara.post(
        "/api/v1/uploads", {**body, "segments": RECIPE, "sources": [DIGEST]}, expect=201
    )
    digest = base64.b64encode(hashlib.sha256(b"inserted").digest()).decode()
    sara.call(
        "PUT",
        f"/api/v1/uploads/{begun['upload']}/parts/1?component=minds-lab/my-model",
        data=b"inserted",
        headers={"Content-Digest": f"sha-256=:{digest}:"},
        expect=201,
    )
    sara.post(f"/api/v1/uploads/{begun['upload']}/finish", body, **options)  # type: ignore[arg-type]


def first(world: World, sara: Client) -> None:
    release, raw = built(world)
    put(sara, raw)
    put(sara, DATA, f"&chunks={GOOD.digest}", expect=201)
    put(sara, release.files["forge.toml"])
    sara.post("/api/v1/releases", release.body(), expect=201)


def test_what_is_copied_as_a_compared_list_says_is_not_hashed_again(
    world: World, sara: Client
) -> None:
    first(world, sara)
    segments = [
        Segment(length=GOOD[6].start, source=DIGEST),
        Segment(length=8),
        Segment(length=len(DATA) - GOOD[6].start, source=DIGEST, start=GOOD[6].start),
    ]
    known = world.registry.uploads.chunk_checks.copied(NEW_LIST, segments)
    old = {chunk.digest for chunk in GOOD}
    assert known == {chunk.number for chunk in NEW_LIST if chunk.digest in old}
    assert len(NEW_LIST) // 2 < len(known) < len(NEW_LIST)
    second(sara, NEW_LIST.raw, expect=200)
    assert checks(world) == 2


def test_nothing_is_known_from_a_list_that_was_not_compared(world: World, sara: Client) -> None:
    put(sara, DATA)
    put(sara, GOOD.raw)
    segments = [Segment(length=len(DATA), source=DIGEST)]
    assert world.registry.uploads.chunk_checks.copied(GOOD, segments) == set()


@pytest.mark.parametrize(
    "lie", ["a digest of nothing", "two that are there, exchanged", "cut away"]
)
def test_a_list_that_does_not_hold_is_refused_whatever_is_copied(
    world: World, sara: Client, lie: str
) -> None:
    first(world, sara)
    pairs = [(chunk.digest, chunk.length) for chunk in NEW_LIST]
    if lie == "a digest of nothing":
        pairs[1] = (bytes(32), pairs[1][1])
    elif lie == "cut away":
        digest = hashlib.sha256(NEW[: pairs[0][1]] + b"?").digest()
        pairs[:2] = [(digest, pairs[0][1] + 1), (pairs[1][0], pairs[1][1] - 1)]
    else:
        pairs[0], pairs[1] = (pairs[1][0], pairs[0][1]), (pairs[0][0], pairs[1][1])
    second(sara, build_chunk_list(pairs).raw, code="digest-mismatch")
    assert checks(world) == 1


def test_a_list_that_is_not_here_is_named(world: World, sara: Client) -> None:
    refusal = put(sara, DATA, f"&chunks={'0' * 64}", code="blob-not-found")
    assert "list first" in refusal["hint"]  # type: ignore[index]


def test_check_deep_finds_a_list_that_does_not_belong(world: World, sara: Client) -> None:
    release, raw = built(world)
    for data in (DATA, raw, release.files["forge.toml"]):
        put(sara, data)
    sara.post("/api/v1/releases", release.body(), expect=201)
    path = world.registry.blobs.path(digest_of(raw))
    os.chmod(path, 0o644)
    path.write_bytes(lying().raw)
    from forge_server.operate.check import check_registry

    problems = check_registry(world.registry, deep=True).problems
    assert any("chunk list" in problem and "expected chunk" in problem for problem in problems)


def test_slow_work_tells_its_failure_once_and_starts_anew() -> None:
    work, tries = SlowWork(wait_seconds=60), []

    def fails() -> None:
        tries.append(1)
        raise ValueError("no")

    for number in (1, 2):
        with pytest.raises(ValueError, match="no"):
            work.run("key", fails)
        assert len(tries) == number
