"""OpenSSL, which knows nothing of DSSE, verifies our signatures and opens our keys."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from builders import signed_release, tree

from signing.keys import generate_key


@pytest.fixture(scope="module")
def openssl() -> str:
    program = shutil.which("openssl")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is required in CI")
        pytest.skip("there is no openssl on this machine")
    return program


def pre_authentication_encoding(kind: str, payload: bytes) -> bytes:
    """Written from the DSSE specification anew, not taken from the code under test."""
    return b" ".join(
        [b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload]
    )


@pytest.mark.parametrize("spoilt", [False, True], ids=["as-signed", "one-byte-changed"])
def test_verifies_the_signature(openssl: str, tmp_path: Path, spoilt: bool) -> None:
    key = generate_key("p256")
    bundle = json.loads(signed_release(tree(), key).bundle)
    envelope = bundle["dsseEnvelope"]
    payload = bytearray(base64.b64decode(envelope["payload"]))
    payload[-2] ^= spoilt
    (tmp_path / "message").write_bytes(
        pre_authentication_encoding(envelope["payloadType"], bytes(payload))
    )
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "key.pem").write_bytes(key.public.pem)
    result = subprocess.run(
        [openssl, "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "message"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode == 0) is not spoilt
    assert ("Verified OK" in result.stdout) is not spoilt


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_opens_our_encrypted_keys(openssl: str, tmp_path: Path, algorithm: str) -> None:
    key = generate_key(algorithm)
    (tmp_path / "key.pem").write_bytes(key.to_pem(b"three small words"))
    result = subprocess.run(
        [openssl, "pkey", "-in", "key.pem", "-passin", "pass:three small words", "-pubout"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert result.stdout == key.public.pem
