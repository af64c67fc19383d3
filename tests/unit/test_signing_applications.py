"""Applications: every key proves that somebody holds it and wants this name."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from builders import NOW, changed_json

from signing.applications import (
    MAX_KEYS,
    PAYLOAD_TYPE,
    sign_application,
    verify_application,
)
from signing.dsse import envelope_json, pae
from signing.errors import MalformedError, SigningError, VerificationError
from signing.keys import PrivateKey, generate_key
from signing.profile import ORG_KINDS, check_display_name

Change = Callable[[dict[str, Any]], object]
KEYS = [generate_key("p256") for _ in range(3)]
VALID = sign_application("minds-lab", "startup", "مختبر العقول", KEYS, 2, NOW)


def payload_of(data: bytes) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(data)["payload"]))  # type: ignore[no-any-return]


def signed(payload: bytes, keys: list[PrivateKey], payload_type: str = PAYLOAD_TYPE) -> bytes:
    message = pae(payload_type, payload)
    signatures = [(key.public.keyid, key.sign(message)) for key in keys]
    return json.dumps(envelope_json(payload_type, payload, signatures)).encode()


def resealed(change: Change, keys: list[PrivateKey] | None = None) -> bytes:
    payload = payload_of(VALID)
    change(payload)
    return signed(json.dumps(payload).encode(), KEYS if keys is None else keys)


def test_an_application_says_who_wants_what() -> None:
    application = verify_application(VALID)
    assert (application.org, application.kind) == ("minds-lab", "startup")
    assert application.display_name == "مختبر العقول"
    assert application.keys == tuple(key.public for key in KEYS)
    assert application.threshold == 2
    assert application.created == NOW
    assert application.raw == VALID


def test_the_instant_is_written_in_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=1)))
    data = sign_application("a", "company", "A", KEYS[:1], 1, local)
    assert verify_application(data).created == NOW
    assert verify_application(data).created.tzinfo == UTC


def test_an_application_without_keys_says_so() -> None:
    with pytest.raises(MalformedError, match=r"application: keys: .* at least one"):
        verify_application(resealed(lambda p: p.update(keys=[])))


@pytest.mark.parametrize("kind", ORG_KINDS)
def test_every_kind_may_apply(kind: str) -> None:
    assert verify_application(sign_application("a", kind, "A", KEYS, 1, NOW)).kind == kind


SPOILT: dict[str, Change] = {
    "schema": lambda p: p.update(schema=2),
    "schema-missing": lambda p: p.pop("schema"),
    "unknown-field": lambda p: p.update(note="x"),
    "reserved-name": lambda p: p.update(organisation="registry"),
    "confusable-name": lambda p: p.update(organisation="mаroc"),
    "kind": lambda p: p.update(kind="bank"),
    "display-name-empty": lambda p: p.update(display_name=" "),
    "display-name-long": lambda p: p.update(display_name="a" * 121),
    "display-name-two-lines": lambda p: p.update(display_name="a\nb"),
    "display-name-escape": lambda p: p.update(display_name="a\x1b[2J"),
    "display-name-bidi": lambda p: p.update(display_name="a\u202eb"),
    "no-keys": lambda p: p.update(keys=[]),
    "keys-missing": lambda p: p.pop("keys"),
    "key-twice": lambda p: p["keys"].append(p["keys"][0]),
    "key-twice-otherwise-written": lambda p: p["keys"].append("\n" + p["keys"][0]),
    "key-no-pem": lambda p: p["keys"].append("x"),
    "key-number": lambda p: p["keys"].append(5),
    "keys-many": lambda p: p.update(keys=p["keys"] * MAX_KEYS),
    "threshold-zero": lambda p: p.update(threshold=0),
    "threshold-beyond": lambda p: p.update(threshold=4),
    "threshold-true": lambda p: p.update(threshold=True),
    "created-local": lambda p: p.update(created="2026-05-01 12:00"),
    "created-number": lambda p: p.update(created=5),
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT)
def test_refuses_what_is_no_application(change: Change) -> None:
    with pytest.raises(MalformedError, match="application"):
        verify_application(resealed(change))


@pytest.mark.parametrize(
    "keys",
    [KEYS[:2], [], [*KEYS[:2], generate_key("p256")], [*KEYS, generate_key("p256")]],
    ids=["one-short", "none", "a-stranger-instead", "a-stranger-too"],
)
def test_every_key_and_no_other_must_have_signed(keys: list[PrivateKey]) -> None:
    with pytest.raises(SigningError) as caught:
        verify_application(resealed(lambda p: None, keys))
    assert caught.value.code in ("signature-invalid", "malformed")


def test_a_signature_by_one_key_does_not_count_for_two() -> None:
    payload = payload_of(VALID)
    data = json.dumps(payload).encode()
    first = KEYS[0].sign(pae(PAYLOAD_TYPE, data))
    signatures = [(key.public.keyid, first) for key in KEYS]
    with pytest.raises(VerificationError) as caught:
        verify_application(json.dumps(envelope_json(PAYLOAD_TYPE, data, signatures)).encode())
    assert caught.value.code == "signature-invalid"


def test_a_signature_twice_is_not_two() -> None:
    def twice(envelope: dict[str, Any]) -> None:
        envelope["signatures"][2] = envelope["signatures"][1]

    def more(envelope: dict[str, Any]) -> None:
        envelope["signatures"].append(envelope["signatures"][1])

    for change in (twice, more):
        with pytest.raises(VerificationError, match="one signature for each key"):
            verify_application(changed_json(VALID, change))


def test_a_signature_over_another_payload_type_does_not_count() -> None:
    data = signed(json.dumps(payload_of(VALID)).encode(), KEYS, "application/vnd.in-toto+json")
    with pytest.raises(MalformedError, match="payloadType"):
        verify_application(data)
    moved = changed_json(data, lambda e: e.update(payloadType=PAYLOAD_TYPE))
    with pytest.raises(VerificationError):
        verify_application(moved)


def test_nobody_signs_what_would_be_refused() -> None:
    with pytest.raises(MalformedError):
        sign_application("api", "startup", "A", KEYS, 1, NOW)
    with pytest.raises(MalformedError):
        sign_application("a", "startup", "A", KEYS, 4, NOW)


def test_refuses_more_bytes_than_any_application_has() -> None:
    with pytest.raises(MalformedError, match="at most"):
        verify_application(VALID + b" " * 70_000)


def test_display_names_are_printable_lines() -> None:
    assert check_display_name("a" * 120) == "a" * 120
    with pytest.raises(MalformedError):
        check_display_name("")


def test_created_is_a_value() -> None:
    assert isinstance(verify_application(VALID).created, datetime)
