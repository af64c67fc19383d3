"""OMS bundles and the DSSE envelope in them: ours refuses what stock verifiers let through."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from builders import changed_json, entries, sha256, signed_release, tree
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from signing.dsse import decode_base64, envelope_json, pae, parse_envelope
from signing.encoding import Fields
from signing.errors import KeyUnusableError, MalformedError, SigningError, VerificationError
from signing.keys import PrivateKey, generate_key
from signing.manifest import MAX_FILES, FileEntry
from signing.oms import BUNDLE_MEDIA_TYPE, MAX_BUNDLE_BYTES, sign_bundle, verify_bundle

Change = Callable[[dict[str, Any]], object]
KEY, OTHER = generate_key("p256"), generate_key("p256")
FILES = entries(tree())
VALID = sign_bundle(FILES.values(), "minds-lab/darija-lid==1.0.0", KEY)
PAYLOAD_TYPE = "application/vnd.in-toto+json"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def statement_of(bundle: bytes) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))  # type: ignore[no-any-return]


def root_digest(resources: list[dict[str, str]]) -> str:
    return sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources))


def resealed(change: Change, key: PrivateKey = KEY, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """A bundle with a changed statement, signed by the genuine key: a dishonest publisher's."""
    statement = statement_of(VALID)
    change(statement)
    return with_payload(json.dumps(statement).encode(), key, payload_type)


def with_payload(payload: bytes, key: PrivateKey = KEY, payload_type: str = PAYLOAD_TYPE) -> bytes:
    message = b"DSSEv1 %d %b %d %b" % (
        len(payload_type),
        payload_type.encode(),
        len(payload),
        payload,
    )
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"sig": base64.b64encode(key.sign(message)).decode(), "keyid": ""}],
    }
    return changed_json(VALID, lambda bundle: bundle.update(dsseEnvelope=envelope))


def resources(change: Callable[[list[dict[str, str]]], object]) -> Change:
    """Changes the list and states the subject digest that belongs to the changed list."""

    def apply(statement: dict[str, Any]) -> None:
        listed = statement["predicate"]["resources"]
        change(listed)
        statement["subject"][0]["digest"]["sha256"] = root_digest(listed)

    return apply


def resource(name: str, digest: str = sha256(b"x")) -> dict[str, str]:
    return {"name": name, "algorithm": "sha256", "digest": digest}


def test_a_bundle_says_which_files_and_which_key() -> None:
    bundle = verify_bundle(VALID, [OTHER.public, KEY.public])
    assert bundle.resources == {path: entry.sha256 for path, entry in FILES.items()}
    assert list(bundle.resources) == sorted(bundle.resources)
    assert bundle.key == KEY.public
    assert bundle.subject_name == "minds-lab/darija-lid==1.0.0"


def test_the_form_is_the_one_other_verifiers_know() -> None:
    value = json.loads(VALID)
    assert value["mediaType"] == BUNDLE_MEDIA_TYPE
    assert value["verificationMaterial"]["publicKey"]["hint"] == sha256(KEY.public.pem)
    assert KEY.public.pem.endswith(b"-----\n")
    assert value["dsseEnvelope"]["payloadType"] == PAYLOAD_TYPE
    assert len(value["dsseEnvelope"]["signatures"]) == 1
    statement = statement_of(VALID)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert statement["predicate"]["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
    }
    listed = statement["predicate"]["resources"]
    assert statement["subject"][0]["digest"] == {"sha256": root_digest(listed)}


def test_resources_are_sorted_by_code_point_of_the_whole_path() -> None:
    names = ["a/b", "a-b", "a.b", "é", "z", "B"]
    data = sign_bundle([FileEntry(name, 1, sha256(b"x")) for name in names], "x", KEY)
    listed = [one["name"] for one in statement_of(data)["predicate"]["resources"]]
    assert listed == ["B", "a-b", "a.b", "a/b", "z", "é"]


def test_only_p256_keys_sign_releases() -> None:
    with pytest.raises(KeyUnusableError) as caught:
        sign_bundle(FILES.values(), "x", generate_key("ed25519"))
    assert caught.value.hint


def nothing(_: object) -> None:
    """Changes nothing."""


def test_the_tests_own_signer_makes_valid_bundles() -> None:
    assert verify_bundle(resealed(nothing), [KEY.public]).key == KEY.public


def serialization(**changed: object) -> Change:
    return lambda s: s["predicate"]["serialization"].update(changed)


# What a publisher with a genuine key may not sign.
DISHONEST: dict[str, Change] = {
    "statement-type": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "predicate-type": lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
    "predicate-type-missing": lambda s: s.pop("predicateType"),
    "unknown-statement-field": lambda s: s.update(more=1),
    "unknown-predicate-field": lambda s: s["predicate"].update(more=1),
    "no-subject": lambda s: s.update(subject=[]),
    "two-subjects": lambda s: s["subject"].append(s["subject"][0]),
    "subject-without-name": lambda s: s["subject"][0].pop("name"),
    "subject-digest-of-others": lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
    "subject-digest-upper": lambda s: s["subject"][0]["digest"].update(
        sha256=s["subject"][0]["digest"]["sha256"].upper()
    ),
    "subject-digest-twofold": lambda s: s["subject"][0]["digest"].update(sha512="0" * 128),
    "subject-digest-blake2": lambda s: s["subject"][0].update(digest={"blake2b": "0" * 64}),
    "empty-list": resources(lambda r: r.clear()),
    "duplicate-name": resources(lambda r: r.insert(0, dict(r[0]))),
    "parent-name": resources(lambda r: r.insert(0, resource("../etc/passwd"))),
    "absolute-name": resources(lambda r: r.insert(0, resource("/etc/passwd"))),
    "dot-name": resources(lambda r: r.insert(0, resource("."))),
    "git-name": resources(lambda r: r.insert(0, resource(".git/hooks/post-checkout"))),
    "gitattributes-name": resources(lambda r: r.insert(0, resource(".gitattributes"))),
    "percent-name": resources(lambda r: r.insert(0, resource("%2e%2e/a"))),
    "case-collision": resources(lambda r: r.insert(0, resource("FORGE.toml"))),
    "file-and-folder": resources(lambda r: r.append(resource("weights/model.safetensors/a"))),
    "other-order": resources(lambda r: r.reverse()),
    "component-order": resources(
        lambda r: r.__setitem__(slice(None), [resource("a/b"), resource("a-b")])
    ),
    "number-as-name": resources(lambda r: r.insert(0, {**resource("a"), "name": 5})),  # type: ignore[dict-item]
    "text-as-resource": lambda s: s["predicate"]["resources"].insert(0, "a"),
    "unknown-resource-field": resources(lambda r: r[0].update(size="1")),
    "blake2-resource": resources(lambda r: r[0].update(algorithm="blake2b")),
    "digest-upper": resources(lambda r: r[0].update(digest=r[0]["digest"].upper())),
    "digest-short": resources(lambda r: r[0].update(digest="00")),
    "too-many": resources(
        lambda r: r.__setitem__(slice(None), [resource(f"{n:06}") for n in range(MAX_FILES + 1)])
    ),
    "ignored-paths": serialization(ignore_paths=["secret.bin"]),
    "ignored-paths-null": serialization(ignore_paths=None),
    "symlinks-allowed": serialization(allow_symlinks=True),
    "symlinks-zero": serialization(allow_symlinks=0),
    "hash-blake2": serialization(hash_type="blake2b"),
    "hash-blake3": serialization(hash_type="blake3"),
    "method-shards": serialization(method="shards", shard_size=1_000_000),
    "unknown-serialization-field": serialization(more=1),
    "no-serialization": lambda s: s["predicate"].pop("serialization"),
}


@pytest.mark.parametrize("change", DISHONEST.values(), ids=DISHONEST)
def test_refuses_statements_that_leave_something_unsigned(change: Change) -> None:
    with pytest.raises(MalformedError) as caught:
        verify_bundle(resealed(change), [KEY.public])
    assert caught.value.where.startswith("release.sigstore.json: payload")


def test_ignoring_nothing_is_allowed() -> None:
    verify_bundle(resealed(serialization(ignore_paths=[])), [KEY.public])


PAYLOADS = {
    "no-json": b"x",
    "list": b"[]",
    "duplicate-key": json.dumps(statement_of(VALID)).encode()[:-1] + b',"predicateType":"x"}',
    "deep": b"[" * 100_000,
    "lone-surrogate": json.dumps(statement_of(VALID)).encode().replace(b"forge.toml", b"\\ud800"),
    "empty": b"",
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_refuses_signed_payloads_that_are_no_statements(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        verify_bundle(with_payload(payload), [KEY.public])


def material(change: Change) -> Change:
    return lambda b: change(b["verificationMaterial"])


def envelope(change: Change) -> Change:
    return lambda b: change(b["dsseEnvelope"])


def signature(change: Callable[[bytes], bytes]) -> Change:
    def apply(bundle: dict[str, Any]) -> None:
        one = bundle["dsseEnvelope"]["signatures"][0]
        one["sig"] = base64.b64encode(change(base64.b64decode(one["sig"]))).decode()

    return apply


def malleated(sig: bytes) -> bytes:
    r, s = decode_dss_signature(sig)
    return encode_dss_signature(r, ORDER - s)


OTHER_SIGNATURE = {"sig": base64.b64encode(OTHER.sign(b"x")).decode(), "keyid": ""}
# What anybody between publisher and client may try: (change, code).
ON_THE_WAY: dict[str, tuple[Change, str]] = {
    "media-type-0.2": (
        lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
        "malformed",
    ),
    "media-type-missing": (lambda b: b.pop("mediaType"), "malformed"),
    "unknown-field": (lambda b: b.update(messageSignature={}), "malformed"),
    "no-material": (lambda b: b.pop("verificationMaterial"), "malformed"),
    "certificate": (
        material(lambda m: (m.pop("publicKey"), m.update(certificate={"rawBytes": "AA=="}))),
        "malformed",
    ),
    "certificate-too": (material(lambda m: m.update(certificate={})), "malformed"),
    "log-entry": (material(lambda m: m.update(tlogEntries=[{"logIndex": "1"}])), "malformed"),
    "log-entries-null": (material(lambda m: m.update(tlogEntries=None)), "malformed"),
    "timestamps": (material(lambda m: m.update(timestampVerificationData={})), "malformed"),
    "hint-missing": (material(lambda m: m["publicKey"].pop("hint")), "malformed"),
    "hint-no-digest": (material(lambda m: m["publicKey"].update(hint="x")), "malformed"),
    "hint-with-more": (material(lambda m: m["publicKey"].update(rawBytes="x")), "malformed"),
    "hint-wrong": (material(lambda m: m["publicKey"].update(hint="0" * 64)), "key-unlisted"),
    "hint-of-another": (
        material(lambda m: m["publicKey"].update(hint=OTHER.public.hint)),
        "signature-invalid",
    ),
    "payload-type": (envelope(lambda e: e.update(payloadType="text/plain")), "malformed"),
    "payload-changed": (
        envelope(lambda e: e.update(payload=base64.b64encode(b"{}").decode())),
        "signature-invalid",
    ),
    "unknown-envelope-field": (envelope(lambda e: e.update(more=1)), "malformed"),
    "no-signature": (envelope(lambda e: e.update(signatures=[])), "malformed"),
    "two-signatures": (envelope(lambda e: e["signatures"].append(OTHER_SIGNATURE)), "malformed"),
    "signature-twice": (
        envelope(lambda e: e["signatures"].append(e["signatures"][0])),
        "malformed",
    ),
    "moved-to-second-place": (
        envelope(lambda e: e["signatures"].insert(0, OTHER_SIGNATURE)),
        "malformed",
    ),
    "another-signature": (
        envelope(lambda e: e.update(signatures=[OTHER_SIGNATURE])),
        "signature-invalid",
    ),
    "signature-with-cert": (envelope(lambda e: e["signatures"][0].update(cert="x")), "malformed"),
    "signature-without-sig": (envelope(lambda e: e["signatures"][0].pop("sig")), "malformed"),
    "signature-malleated": (signature(malleated), "signature-invalid"),
    "signature-long-form": (
        signature(lambda s: bytes([0x30, 0x81]) + s[1:]),
        "signature-invalid",
    ),
    "signature-empty": (signature(lambda _: b""), "signature-invalid"),
    "signature-cut": (signature(lambda s: s[:-1]), "signature-invalid"),
    "signature-raw": (signature(lambda s: bytes(64)), "signature-invalid"),
}


@pytest.mark.parametrize(("change", "code"), ON_THE_WAY.values(), ids=ON_THE_WAY)
def test_refuses_bundles_changed_on_the_way(change: Change, code: str) -> None:
    with pytest.raises(SigningError) as caught:
        verify_bundle(changed_json(VALID, change), [KEY.public, OTHER.public])
    assert caught.value.code == code


def test_empty_log_entries_may_be_absent() -> None:
    data = changed_json(VALID, material(lambda m: m.pop("tlogEntries")))
    assert verify_bundle(data, [KEY.public]).key == KEY.public


@pytest.mark.parametrize(
    "keys", [[], [OTHER.public], [generate_key("ed25519").public]], ids=["none", "other", "ed25519"]
)
def test_refuses_keys_that_are_not_listed(keys: list[Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_bundle(VALID, keys)
    assert caught.value.code == "key-unlisted"


def test_an_ed25519_key_signs_no_release_even_where_it_is_listed() -> None:
    key = generate_key("ed25519")
    data = changed_json(
        resealed(nothing, key), material(lambda m: m["publicKey"].update(hint=key.public.hint))
    )
    with pytest.raises(VerificationError) as caught:
        verify_bundle(data, [key.public])
    assert (caught.value.code, caught.value.expected) == ("key-unlisted", "a P-256 key")


def test_a_signature_for_another_payload_type_is_not_one_for_this() -> None:
    sealed = json.loads(resealed(nothing, payload_type="application/json"))
    sealed["dsseEnvelope"]["payloadType"] = PAYLOAD_TYPE
    with pytest.raises(VerificationError) as caught:
        verify_bundle(json.dumps(sealed).encode(), [KEY.public])
    assert caught.value.code == "signature-invalid"


def test_refuses_more_bytes_than_any_bundle_has() -> None:
    with pytest.raises(MalformedError, match="at most"):
        verify_bundle(VALID + b" " * MAX_BUNDLE_BYTES, [KEY.public])


def test_the_builder_binds_the_bundle_to_its_files() -> None:
    release = signed_release(tree(), KEY)
    assert set(verify_bundle(release.bundle, [KEY.public]).resources) == set(release.files)


# --- DSSE ---------------------------------------------------------------------------------


def test_pre_authentication_encoding_is_the_one_of_the_standard() -> None:
    # The example of the DSSE protocol document.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_lengths_keep_type_and_payload_apart() -> None:
    assert pae("ab", b"c") != pae("a", b"bc")
    assert pae("a 1 b", b"") != pae("a", b"b 0 ")


BASE64 = {
    "no-padding": "YQ",
    "much-padding": "YQ===",
    "line-break": "YW\nJj",
    "final-newline": "YWJj\n",
    "space": "YW Jj",
    "url-alphabet": "-_-_",
    "loose-bits": "YR==",
    "inner-padding": "YQ==YQ==",
    "text": "!!!!",
    "arabic": "نننن",
}


@pytest.mark.parametrize("text", BASE64.values(), ids=BASE64)
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(MalformedError, match=r"x: sig: .*base64|x: sig"):
        decode_base64(Fields({"sig": text}, "x"), "sig")


def test_an_envelope_survives_the_round_trip() -> None:
    value = envelope_json("t", b"\x00payload", [("k", b"s"), ("", b"")])
    parsed = parse_envelope(Fields(value, "x"), "t")
    assert (parsed.payload_type, parsed.payload) == ("t", b"\x00payload")
    assert parsed.signatures == (("k", b"s"), ("", b""))


def test_an_envelope_without_signatures_is_none() -> None:
    with pytest.raises(MalformedError, match="a signature"):
        parse_envelope(Fields(envelope_json("t", b"", []), "x"), "t")
