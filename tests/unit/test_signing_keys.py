"""Keys: two algorithms, one form at rest, one form of every signature."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import Key, SSlibKey

from signing.errors import KeyUnusableError, MalformedError, VerificationError
from signing.keys import (
    ALGORITHMS,
    KDF_ITERATIONS,
    PrivateKey,
    PublicKey,
    generate_key,
    is_encrypted,
    load_private_key,
)

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256 = generate_key("p256")
ED25519 = generate_key("ed25519")
BOTH = pytest.mark.parametrize("key", [P256, ED25519], ids=ALGORITHMS)
PASSPHRASE = "ثلاث كلمات صغيرة".encode()


def der_of(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def integers_in(der: bytes) -> list[int]:
    """Every INTEGER of a DER value, by a small reader of our own."""
    found = []
    place = 0
    while place < len(der):
        tag, length = der[place], der[place + 1]
        place += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[place : place + count], "big")
            place += count
        content = der[place : place + length]
        if tag == 0x30:
            found += integers_in(content)
        elif tag == 0x02:
            found.append(int.from_bytes(content, "big", signed=True))
        place += length
    return found


@pytest.fixture(scope="module")
def sealed() -> dict[str, bytes]:
    """Each key encrypted once: a million iterations take their time."""
    return {key.public.algorithm: key.to_pem(PASSPHRASE) for key in (P256, ED25519)}


@BOTH
def test_an_encrypted_key_opens_with_its_passphrase(
    key: PrivateKey, sealed: dict[str, bytes]
) -> None:
    pem = sealed[key.public.algorithm]
    assert is_encrypted(pem)
    assert load_private_key(pem, PASSPHRASE).public == key.public


def test_the_work_factor_stands_in_the_file(sealed: dict[str, bytes]) -> None:
    assert KDF_ITERATIONS >= 1_000_000
    for pem in sealed.values():
        assert integers_in(der_of(pem)) == [KDF_ITERATIONS]
        # PBES2, PBKDF2, HMAC-SHA256 and AES-256-CBC, by their object identifiers
        for oid in ("2a864886f70d01050d", "2a864886f70d01050c", "2a864886f70d0209"):
            assert bytes.fromhex(oid) in der_of(pem)
        assert bytes.fromhex("60864801650304012a") in der_of(pem)


def test_salt_and_iv_are_fresh_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "signing.keys.KDF_ITERATIONS", 1000
    )  # the freshness is tested, not the cost
    one, other = der_of(P256.to_pem(b"x")), der_of(P256.to_pem(b"x"))
    octets = re.compile(rb"\x04\x10(.{16})", re.DOTALL)
    assert not set(octets.findall(one)) & set(octets.findall(other))
    assert len(set(octets.findall(one))) == 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl on this machine")
def test_openssl_opens_the_file(sealed: dict[str, bytes], tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "key.pem").write_bytes(sealed[algorithm])
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    result = subprocess.run(
        ["openssl", "pkey", "-in", "key.pem", "-passin", "file:passphrase", "-pubout"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    expected = {"p256": P256, "ed25519": ED25519}[algorithm]
    assert result.stdout == expected.public.pem


@pytest.mark.parametrize(
    ("passphrase", "code"),
    [
        (None, "key-passphrase-needed"),
        (b"wrong", "key-passphrase-wrong"),
        (b"", "key-passphrase-wrong"),
        (PASSPHRASE + b" ", "key-passphrase-wrong"),
    ],
    ids=["none", "wrong", "empty", "longer"],
)
def test_a_wrong_passphrase_has_its_own_code(
    sealed: dict[str, bytes], passphrase: bytes | None, code: str
) -> None:
    with pytest.raises(KeyUnusableError) as caught:
        load_private_key(sealed["p256"], passphrase)
    assert caught.value.code == code


def test_an_empty_passphrase_protects_nothing() -> None:
    with pytest.raises(KeyUnusableError) as caught:
        P256.to_pem(b"")
    assert caught.value.code == "key-passphrase-empty"


@BOTH
def test_an_unencrypted_key_needs_no_passphrase(key: PrivateKey) -> None:
    pem = key.to_pem(None)
    assert not is_encrypted(pem)
    assert load_private_key(pem).public == load_private_key(pem, b"unused").public == key.public


def pkcs8(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def spki(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


OTHER_ALGORITHMS = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "ed448": ed448.Ed448PrivateKey.generate(),
    "x25519": x25519.X25519PrivateKey.generate(),
}


@pytest.mark.parametrize("key", OTHER_ALGORITHMS.values(), ids=OTHER_ALGORITHMS)
def test_other_algorithms_are_refused(key: object) -> None:
    with pytest.raises(KeyUnusableError) as caught:
        load_private_key(pkcs8(key))
    assert caught.value.code == "key-malformed"
    with pytest.raises(MalformedError):
        PublicKey.from_pem(spki(key))


NO_KEYS = {
    "empty": b"",
    "text": b"hello",
    "header-alone": b"-----BEGIN PRIVATE KEY-----\n",
    "bad-base64": b"-----BEGIN PRIVATE KEY-----\n****\n-----END PRIVATE KEY-----\n",
    "other-der": b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
    "public": P256.public.pem,
    "beyond-the-limit": b" " * 20_000 + P256.to_pem(None),
}


@pytest.mark.parametrize("pem", NO_KEYS.values(), ids=NO_KEYS)
def test_refuses_what_is_no_private_key(pem: bytes) -> None:
    with pytest.raises(KeyUnusableError) as caught:
        load_private_key(pem)
    assert caught.value.code == "key-malformed"


@pytest.mark.parametrize("pem", [b"", b"x", P256.to_pem(None), b" " * 20_000 + P256.public.pem])
def test_refuses_what_is_no_public_key(pem: bytes) -> None:
    with pytest.raises(MalformedError, match="here"):
        PublicKey.from_pem(pem, "here")


def test_there_is_no_third_algorithm() -> None:
    with pytest.raises(ValueError, match="rsa"):
        generate_key("rsa")


@BOTH
def test_no_secret_shows(key: PrivateKey) -> None:
    secret = der_of(key.to_pem(None))
    shown = repr(key) + str(key) + repr([key]) + f"{key}"
    assert shown == f"PrivateKey({key.public.keyid[:12]})" * 2 + f"[{key!r}]" + repr(key)
    assert secret.hex()[-64:] not in shown


@BOTH
def test_keys_are_equal_by_what_they_are(key: PrivateKey) -> None:
    again = PublicKey.from_pem(key.public.pem)
    assert again == key.public
    assert hash(again) == hash(key.public)
    assert again.keyid == key.public.keyid
    assert again != generate_key("p256").public
    assert again != again.pem
    assert key.public.algorithm in ALGORITHMS


# --- signatures ---------------------------------------------------------------------------


@BOTH
def test_a_signature_verifies_and_speaks_for_its_bytes_alone(key: PrivateKey) -> None:
    signature = key.sign(b"data")
    key.public.verify(signature, b"data")
    other = generate_key(key.public.algorithm)
    for public, bad, data in [
        (key.public, signature, b"Data"),
        (key.public, signature, b""),
        (other.public, signature, b"data"),
        (key.public, b"", b"data"),
        (key.public, signature[:-1], b"data"),
        (key.public, signature + b"\0", b"data"),
        (key.public, b"\0" * len(signature), b"data"),
        (key.public, bytes([signature[0] ^ 1]) + signature[1:], b"data"),
        (key.public, signature[:-1] + bytes([signature[-1] ^ 1]), b"data"),
    ]:
        with pytest.raises(VerificationError) as caught:
            public.verify(bad, data, "thing")
        assert caught.value.code == "signature-invalid"
        assert caught.value.subject == "thing"


def test_every_signature_has_a_low_s() -> None:
    for number in range(24):  # half of all would be high by chance
        _, s = decode_dss_signature(P256.sign(str(number).encode()))
        assert s <= ORDER // 2


def long_form(signature: bytes) -> bytes:
    return bytes([0x30, 0x81]) + signature[1:]


def padded_integer(signature: bytes) -> bytes:
    size = signature[3]
    return bytes([0x30, signature[1] + 1, 0x02, size + 1, 0]) + signature[4:]


def malleated(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, ORDER - s)


OTHER_FORMS = {"high-s": malleated, "long-form": long_form, "padded-integer": padded_integer}


@pytest.mark.parametrize("change", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_another_form_of_a_good_signature_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    signature = P256.sign(b"data")
    changed = change(signature)
    assert changed != signature
    with pytest.raises(VerificationError) as caught:
        P256.public.verify(changed, b"data")
    assert caught.value.code == "signature-invalid"


def test_the_malleated_signature_would_verify_elsewhere() -> None:
    key = serialization.load_pem_public_key(P256.public.pem)
    changed = malleated(P256.sign(b"data"))
    key.verify(changed, b"data", ec.ECDSA(hashes.SHA256()))  # type: ignore[union-attr, call-arg, arg-type]


@given(st.binary(max_size=80))
@pytest.mark.parametrize("key", [P256, ED25519], ids=ALGORITHMS)
def test_no_bytes_but_a_signature_verify(key: PrivateKey, signature: bytes) -> None:
    with pytest.raises(VerificationError):
        key.public.verify(signature, b"data")


# --- keys of TUF metadata ------------------------------------------------------------------


@BOTH
def test_a_key_survives_tuf_metadata(key: PrivateKey) -> None:
    listed = Key.from_dict(key.public.keyid, key.public.tuf.to_dict())
    assert PublicKey.from_tuf(listed) == key.public


def listed(keyid: str | None = None, key: PrivateKey = P256, **changed: object) -> Key:
    value = {**key.public.tuf.to_dict(), **changed}
    return Key.from_dict(keyid or key.public.keyid, value)


RSA = SSlibKey.from_crypto(OTHER_ALGORITHMS["rsa"].public_key())  # type: ignore[attr-defined]
P384 = SSlibKey.from_crypto(OTHER_ALGORITHMS["p384"].public_key())  # type: ignore[attr-defined]
PEM = P256.public.pem.decode()
SPOILT_KEYS = {
    "another-keyid": lambda: listed("0" * 64),
    "keyid-of-another": lambda: listed(ED25519.public.keyid),
    "more-fields": lambda: listed(note="x"),
    "more-in-keyval": lambda: listed(keyval={"public": PEM, "private": ""}),
    "other-line-ends": lambda: listed(keyval={"public": PEM.replace("\n", "\r\n")}),
    "text-before": lambda: listed(keyval={"public": "x\n" + PEM}),
    "no-final-newline": lambda: listed(keyval={"public": PEM.rstrip()}),
    "no-pem": lambda: listed(keyval={"public": "x"}),
    "old-keytype": lambda: listed(keytype="ecdsa-sha2-nistp256"),
    "ed25519-as-ecdsa": lambda: listed(keyval={"public": ED25519.public.pem.decode()}),
    "ed25519-upper": lambda: listed(
        key=ED25519, keyval={"public": ED25519.public.tuf.keyval["public"].upper()}
    ),
    "ed25519-short": lambda: listed(key=ED25519, keyval={"public": "00" * 31}),
    "ed25519-no-hex": lambda: listed(key=ED25519, keyval={"public": "x"}),
    "rsa": lambda: RSA,
    "p384": lambda: P384,
    "p384-named-p256": lambda: listed(keyval=P384.keyval),
}


@pytest.mark.parametrize("make", SPOILT_KEYS.values(), ids=SPOILT_KEYS)
def test_a_key_has_one_form_and_one_id_in_metadata(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MalformedError) as caught:
        PublicKey.from_tuf(make(), "role: key")
    assert caught.value.where == "role: key"
