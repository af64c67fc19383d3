"""Keys that are not files: references, commands that sign, and what they may get wrong."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from forge_cli.errors import ForgeError, UsageError
from forge_cli.keystore import KeyStore
from forge_cli.signers import open_external
from forge_cli.signers.uri import Pkcs11Uri
from signing.errors import KeyUnusableError
from signing.keys import ExternalKey, PrivateKey, generate_key

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def nobody(label: str) -> None:
    raise AssertionError(f"asked for {label}")


def command(folder: Path, key: PrivateKey, body: str = "print(base64.b64encode(signed).decode())"):  # type: ignore[no-untyped-def]
    """A program that signs with ``key``, its public half beside it; ``body`` prints."""
    folder.mkdir(exist_ok=True)
    (folder / "key.pem").write_bytes(key.to_pem(None))
    program = folder / "kms-sign"
    program.write_text(
        f"#!{sys.executable}\n"
        "import base64, os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from signing.keys import load_private_key\n"
        f"key = load_private_key(open({str(folder / 'key.pem')!r}, 'rb').read())\n"
        "data = sys.stdin.buffer.read()\n"
        "signed = key.sign(data)\n"
        f"{body}\n"
    )
    program.chmod(0o755)
    (folder / "kms-sign.pub").write_bytes(key.public.pem)
    return program


# --- pkcs11: URIs (RFC 7512) ----------------------------------------------------------------


def test_a_uri_says_which_key_and_how_to_reach_it() -> None:
    uri = Pkcs11Uri.parse(
        "pkcs11:token=Minist%C3%A8re;object=release%201;id=%a1%00;type=private;slot-id=3"
        "?module-path=/usr/lib/x.so&pin-source=file:/run/pin"
    )
    assert uri.token == {"token": "Ministère"}
    assert (uri.object, uri.id, uri.slot_id) == ("release 1", b"\xa1\0", 3)
    assert (uri.module, uri.pin_file) == (Path("/usr/lib/x.so"), Path("/run/pin"))


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:",
        "pkcs11:token=a",
        "pkcs11:object=a;object=b",
        "pkcs11:object=a;type=cert",
        "pkcs11:object=a;color=red",
        "pkcs11:object=%ff",
        "pkcs11:object=a;slot-id=-1",
        "pkcs11:object=a?module-path=x.so",
        "pkcs11:object=a?pin-source=file:pin",
        "pkcs11:object=a?pin-source=|/bin/cat%20/tmp/pin",
        "pkcs11:object=a?module-name=softhsm2",
    ],
)
def test_a_uri_that_could_mean_another_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Pkcs11Uri.parse(text)


@pytest.mark.parametrize(
    "text", ["pkcs11:object=a?pin-value=1234", "pkcs11:object=a;pin-value=1234"]
)
def test_a_pin_in_a_uri_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pkcs11Uri.parse(text)
    assert "pin-value" in caught.value.message
    assert "1234" not in caught.value.message


# --- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_a_command_signs_like_a_key_of_ours(tmp_path: Path, algorithm: str) -> None:
    key = generate_key(algorithm)
    signer = open_external(f"exec:{command(tmp_path, key)} --key 7", None, nobody)
    assert signer.public == key.public
    data = os.urandom(3 << 20)  # beyond what fits into a pipe
    key.public.verify(signer.sign(data), data)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("sys.exit(3)", "key-unreachable"),
        ("print('not base64!')", "key-unreachable"),
        ("print('A' * 100_000)", "key-unreachable"),
        ("pass", "key-signature-wrong"),
        ("print(base64.b64encode(key.sign(data + b'x')).decode())", "key-signature-wrong"),
        ("print(base64.b64encode(b'0' * 64).decode())", "key-signature-wrong"),
    ],
)
def test_a_command_that_does_not_sign_is_noticed(tmp_path: Path, body: str, code: str) -> None:
    signer = open_external(f"exec:{command(tmp_path, generate_key('p256'), body)}", None, nobody)
    with pytest.raises((ForgeError, KeyUnusableError)) as caught:
        signer.sign(b"data")
    assert caught.value.code == code


def test_a_command_does_not_see_the_access_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_TOKEN", "secret")
    body = "sys.exit(3 if 'FORGE_TOKEN' in os.environ else 4)"
    signer = open_external(f"exec:{command(tmp_path, generate_key('p256'), body)}", None, nobody)
    with pytest.raises(ForgeError, match="exit code 4"):
        signer.sign(b"data")


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    program = command(tmp_path, generate_key("p256"))
    signer = open_external(f"exec:{program} ; touch {tmp_path}/oops", None, nobody)
    signer.sign(b"data")
    assert not (tmp_path / "oops").exists()


@pytest.mark.parametrize(
    ("reference", "code"),
    [("exec:", "usage"), ("exec:'", "usage"), ("exec:/no/such/program", "key-missing")],
)
def test_no_such_command(reference: str, code: str) -> None:
    with pytest.raises(ForgeError) as caught:
        open_external(reference, None, nobody)
    assert caught.value.code == code


def test_a_command_without_its_public_key_is_refused(tmp_path: Path) -> None:
    program = command(tmp_path, generate_key("p256"))
    (tmp_path / "kms-sign.pub").unlink()
    with pytest.raises(ForgeError) as caught:
        open_external(f"exec:{program}", None, nobody)
    assert caught.value.code == "key-missing"
    assert "kms-sign.pub" in caught.value.message


# --- what comes back is checked ----------------------------------------------------------------


def test_both_forms_and_both_halves_of_an_ecdsa_signature_become_one() -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )

    key = generate_key("p256")
    r, s = decode_dss_signature(key.sign(b"data"))
    for other in (s, ORDER - s):
        raw = r.to_bytes(32) + other.to_bytes(32)
        for answer in (raw, encode_dss_signature(r, other)):
            signed = ExternalKey(key.public, lambda data, answer=answer: answer, "x").sign(b"data")  # type: ignore[misc]
            key.public.verify(signed, b"data")


def test_a_signature_by_another_key_never_leaves() -> None:
    key, other = generate_key("p256"), generate_key("p256")
    with pytest.raises(KeyUnusableError) as caught:
        ExternalKey(key.public, other.sign, "token 'x'").sign(b"data")
    assert caught.value.code == "key-signature-wrong"


# --- references in the key store ----------------------------------------------------------------


def test_a_reference_is_a_key_of_the_store(tmp_path: Path) -> None:
    key = generate_key("p256")
    program = command(tmp_path / "kms", key)
    store = KeyStore(tmp_path / "keys", nobody)
    added = store.add("hsm", f"exec:{program}", key.public)
    assert stat.S_IMODE(added.path.stat().st_mode) == 0o600
    assert store.names() == ["hsm"]
    again = KeyStore(tmp_path / "keys", nobody)
    assert [(k.name, k.guarded_by) for k in again.all()] == [("hsm", "command")]
    key.public.verify(again.load("hsm").sign(b"x"), b"x")
    for make in (
        lambda: store.create("hsm", "p256", None),
        lambda: store.add("hsm", "exec:/bin/true", key.public),
    ):
        with pytest.raises(ForgeError) as caught:
            make()
        assert caught.value.code == "already-exists"


def test_a_reference_that_others_could_have_changed_is_refused(tmp_path: Path) -> None:
    key = generate_key("p256")
    store = KeyStore(tmp_path, nobody)
    path = store.add("hsm", "exec:/bin/true", key.public).path
    path.chmod(0o622)
    with pytest.raises(ForgeError) as caught:
        KeyStore(tmp_path, nobody).load("hsm")
    assert caught.value.code == "key-permissions"
    assert store.problems()


def test_the_public_file_decides_what_a_reference_may_sign(tmp_path: Path) -> None:
    program = command(tmp_path / "kms", generate_key("p256"))
    store = KeyStore(tmp_path / "keys", nobody)
    store.add("hsm", f"exec:{program}", generate_key("p256").public)
    with pytest.raises(KeyUnusableError) as caught:
        store.load("hsm").sign(b"x")
    assert caught.value.code == "key-signature-wrong"


def test_a_key_file_is_named_by_its_path(tmp_path: Path) -> None:
    key = generate_key("p256")
    path = tmp_path / "some.pem"
    path.touch(mode=0o600)
    path.write_bytes(key.to_pem(None))
    store = KeyStore(tmp_path / "keys", nobody)
    assert store.show(str(path)).public == store.load(str(path)).public == key.public
