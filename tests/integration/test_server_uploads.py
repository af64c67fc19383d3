"""`/uploads` of the registry: whose, from what, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

import pytest
from server_fixtures import ORG, Client, World, _fresh_registry, client, sara, world  # noqa: F401
from tensors import chunks_of, safetensors, tensors

from forge_server.app import create_app
from forge_server.services.callers import OPERATOR

NAME = f"{ORG}/my-model"
DATA = safetensors(tensors(1, count=4))
STEP = len(DATA) // 2
PARTS = (DATA[:STEP], DATA[STEP:])


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def offer(data: bytes = DATA, component: str = NAME, **changed: Any) -> dict[str, Any]:
    value = {
        "component": component,
        "sha256": sha(data),
        "size": len(data),
        "segments": [[len(data) // 2], [len(data) - len(data) // 2]],
    }
    return value | changed


def finishing(data: bytes = DATA, component: str = NAME, **more: Any) -> dict[str, Any]:
    return {"component": component, "sha256": sha(data), "size": len(data), **more}


def put(
    client: Client, upload: str, number: int, part: bytes, component: str = NAME, **options: Any
) -> Any:
    digest = base64.b64encode(hashlib.sha256(options.pop("claimed", part)).digest()).decode()
    headers = options.pop("headers", {"Content-Digest": f"sha-256=:{digest}:"})
    address = f"/api/v1/uploads/{upload}/parts/{number}?component={component}"
    return client.call("PUT", address, data=part, headers=headers, **options)


def addresses(client: Client, upload: str, *parts: Any, **options: Any) -> Any:
    body = {"component": NAME, "parts": list(parts)}
    return client.post(f"/api/v1/uploads/{upload}/addresses", body, **options)


def begun(client: Client, **changed: Any) -> str:
    answer = client.post("/api/v1/uploads", offer(**changed), expect=201)
    return str(answer["upload"])


def test_begin_send_finish(world: World, sara: Client) -> None:
    upload = begun(sara)
    put(sara, upload, 1, PARTS[1], expect=201)
    assert sara.post("/api/v1/uploads", offer())["parts"] == [1]
    sara.post(f"/api/v1/uploads/{upload}/finish", finishing(), expect=409, code="parts-missing")
    put(sara, upload, 0, PARTS[0], expect=201)
    for _ in range(2):
        sara.post(f"/api/v1/uploads/{upload}/finish", finishing(), expect=200)
    assert world.registry.blobs.stat(sha(DATA)).size == len(DATA)
    assert sara.post("/api/v1/uploads", offer(), expect=200)["state"] == "stored"


def test_it_is_not_public_before_its_release_is(sara: Client, client: Client) -> None:
    upload = begun(sara)
    for number, part in enumerate(PARTS):
        put(sara, upload, number, part)
        client.get(f"/blobs/{sha(DATA)}", expect=404)
    sara.post(f"/api/v1/uploads/{upload}/finish", finishing(), expect=200)
    client.get(f"/blobs/{sha(DATA)}", expect=404)


def test_room_is_what_an_offer_of_so_many_bytes_would_find(world: World, sara: Client) -> None:
    address = f"/api/v1/room?component={NAME}&size="
    world.registry.quotas.set(OPERATOR, ORG, 1000, None)
    assert sara.get(f"{address}1000", expect=200) == {"size": 1000}
    sara.get(f"{address}1001", expect=403, code="quota-exceeded")
    world.registry.quotas.reset(OPERATOR, ORG)


@pytest.mark.parametrize("who", ["nobody", "a stranger", "a reading token", "another component"])
def test_only_publishers_of_the_component(
    world: World, sara: Client, client: Client, who: str
) -> None:
    upload = begun(sara)
    put(sara, upload, 0, PARTS[0])
    if who == "nobody":
        other, status = client, 401
    elif who == "a stranger":
        other, status = Client(client.flask, world.user("omar")), 403
    elif who == "a reading token":
        other, status = Client(client.flask, world.token("sara", ("read",))), 403
    else:
        token = world.token("sara", ("publish",), component=f"{ORG}/other")
        other, status = Client(client.flask, token), 403
    other.post("/api/v1/uploads", offer(), expect=status)
    other.get(f"/api/v1/room?component={NAME}&size=1", expect=status)
    put(other, upload, 1, PARTS[1], expect=status)
    addresses(other, upload, [1, len(PARTS[1]), sha(PARTS[1])], expect=status)
    other.post(f"/api/v1/uploads/{upload}/finish", finishing(), expect=status)
    other.call("DELETE", f"/api/v1/uploads/{upload}?component={NAME}", expect=status)
    assert sara.post("/api/v1/uploads", offer())["parts"] == [0]


def test_the_upload_of_another_component_is_not_there(world: World, sara: Client) -> None:
    upload = begun(sara)
    put(sara, upload, 0, PARTS[0], component=f"{ORG}/other", expect=404, code="upload-not-found")
    body = finishing(component=f"{ORG}/other")
    sara.post(f"/api/v1/uploads/{upload}/finish", body, code="upload-not-found")
    sara.call("DELETE", f"/api/v1/uploads/{upload}?component={ORG}/other", expect=200)
    assert sara.post("/api/v1/uploads", offer())["parts"] == []
    put(sara, upload, 0, PARTS[0], expect=201)


def test_nothing_is_copied_from_what_is_not_public(world: World, sara: Client) -> None:
    """Else the answer would tell whether somebody else's unpublished file is here."""
    secret = os.urandom(1000)
    digest = sha(secret)
    body = offer(segments=[[1000, 0, 0], [len(DATA) - 1000]], sources=[digest])
    absent = sara.post("/api/v1/uploads", body, expect=404, code="blob-not-found")
    sara.call("PUT", f"/api/v1/blobs/{digest}?component={NAME}", data=secret, expect=201)
    present = sara.post("/api/v1/uploads", body, expect=404, code="blob-not-found")
    assert {**absent, "request_id": 0} == {**present, "request_id": 0}


def test_what_is_public_is_copied(world: World, sara: Client) -> None:
    sara.publish(world.release(files={"old.bin": DATA}))
    new = DATA[1000:] + b"tail"
    body = offer(new, segments=[[len(DATA) - 1000, 0, 1000], [4]], sources=[sha(DATA)])
    upload = sara.post("/api/v1/uploads", body, expect=201)["upload"]
    put(sara, upload, 1, b"tail", expect=201)
    sara.post(f"/api/v1/uploads/{upload}/finish", finishing(new), expect=200)
    with world.registry.blobs.open(sha(new)) as file:
        assert file.read() == new


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"size": len(DATA) + 1}, 400),
        ({"segments": []}, 400),
        ({"segments": [[-1], [len(DATA) + 1]]}, 400),
        ({"segments": [[len(DATA), 0, 0]]}, 400),
        ({"segments": [["a"]]}, 400),
        ({"segments": [[len(DATA)]] * 10_001}, 400),
        ({"segments": "x"}, 400),
        ({"sha256": "x"}, 400),
        ({"sha256": "../../etc/passwd"}, 400),
        ({"chunks": "x"}, 400),
        ({"sources": ["%2e%2e"]}, 400),
        ({"more": 1}, 400),
        ({"size": 10**15}, 413),
    ],
)
def test_an_offer_that_cannot_be(sara: Client, changed: dict[str, Any], status: int) -> None:
    sara.post("/api/v1/uploads", offer(**changed), expect=status)


@pytest.mark.parametrize(
    ("upload", "number", "status"),
    [("0" * 64, "0", 404), ("x", "0", 400), ("..%2F..", "0", 404), ("0" * 64, "-1", 400),
     ("0" * 64, "9" * 30, 400), ("0" * 64, "%2e%2e", 400)],
)  # fmt: skip
def test_addresses_that_mean_nothing(sara: Client, upload: str, number: str, status: int) -> None:
    found = put(sara, upload, number, b"x")  # type: ignore[arg-type]
    assert found["status"] in (status, 404)


@pytest.mark.parametrize(
    "header",
    ["", "sha-256=abc", "sha-256=:!!!:", "md5=:AAAA:", "sha-256=:AAAA:", None],
)
def test_a_part_without_its_digest(sara: Client, header: str | None) -> None:
    upload = begun(sara)
    headers = {} if header is None else {"Content-Digest": header}
    put(sara, upload, 0, PARTS[0], headers=headers, expect=400, code="malformed")
    assert sara.post("/api/v1/uploads", offer())["parts"] == []


def test_a_part_of_other_bytes(sara: Client) -> None:
    upload = begun(sara)
    put(sara, upload, 0, PARTS[0][::-1], claimed=PARTS[0], expect=422, code="digest-mismatch")
    put(sara, upload, 0, PARTS[0][:-1], expect=400)
    assert sara.post("/api/v1/uploads", offer())["parts"] == []


@pytest.mark.parametrize("what", ["the whole", "the chunk list"])
def test_right_parts_of_a_wrong_whole_leave_nothing(world: World, sara: Client, what: str) -> None:
    lying = chunks_of(safetensors(tensors(9, count=4)))
    changed: dict[str, Any] = {"sha256": sha(b"another")}
    body = {**finishing(), "sha256": sha(b"another")}
    if what == "the chunk list":
        assert lying.size == len(DATA)
        raw = lying.raw
        sara.call("PUT", f"/api/v1/blobs/{sha(raw)}?component={NAME}", data=raw, expect=201)
        changed, body = {"chunks": sha(raw)}, finishing(chunks=sha(raw))
    upload = sara.post("/api/v1/uploads", offer(**changed), expect=201)["upload"]
    for number, part in enumerate(PARTS):
        put(sara, upload, number, part, expect=201)
    sara.post(f"/api/v1/uploads/{upload}/finish", body, expect=422, code="digest-mismatch")
    assert sha(DATA) not in list(world.registry.blobs.iter_digests())
    assert not list(world.registry.folder.blobs.glob("uploads/*/data"))


def test_what_nobody_adds_to_for_a_day_is_swept(world: World, sara: Client) -> None:
    upload = begun(sara)
    put(sara, upload, 0, PARTS[0])
    from datetime import timedelta

    world.clock.ahead = timedelta(hours=23)
    assert world.registry.uploads.sweep() == 0
    world.clock.ahead = timedelta(hours=25)
    assert world.registry.uploads.sweep() == 1
    put(sara, upload, 0, PARTS[0], code="upload-not-found")


def test_parts_survive_a_restart(world: World, sara: Client) -> None:
    upload = begun(sara)
    put(sara, upload, 0, PARTS[0])
    again = Client(create_app(world.reopen()).test_client(), sara.token)
    assert again.post("/api/v1/uploads", offer())["parts"] == [0]
    put(again, upload, 1, PARTS[1], expect=201)
    again.post(f"/api/v1/uploads/{upload}/finish", finishing(), expect=200)


def test_a_folder_has_no_addresses_of_its_own(sara: Client, client: Client) -> None:
    assert client.get("/api/v1/uploads")["direct"] is False
    upload = begun(sara)
    part = [0, len(PARTS[0]), sha(PARTS[0])]
    assert addresses(sara, upload, part, expect=200)["addresses"] == []


@pytest.mark.parametrize(
    "parts",
    [
        "x", ["x"], [[0]], [[0, 1]], [[0, 1, 2]], [[True, 1, "0" * 64]], [["0", 1, "0" * 64]],
        [[0, 1, "x"]], [[0, 1, "0" * 64]] * 101,
    ],
)  # fmt: skip
def test_parts_that_cannot_be(sara: Client, parts: Any) -> None:
    body = {"component": NAME, "parts": parts}
    address = f"/api/v1/uploads/{begun(sara)}/addresses"
    sara.post(address, body, expect=400, code="malformed")
