"""Keys in a token: SoftHSM2 through its PKCS #11 module."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from builders import NOW, signed_release, tree
from cli_fixtures import Forge
from forge_client import forge
from softhsm import PIN, Tokens, tokens

from forge_cli.errors import ForgeError
from forge_cli.signers import open_external
from forge_cli.signers.pkcs11 import generate_in_token
from signing.errors import KeyUnusableError
from signing.oms import verify_bundle
from signing.role_edits import new_role
from signing.roles import parse_targets

__all__ = ["forge", "tokens"]


class Asked:
    def __init__(self, answer: str | None = PIN) -> None:
        self.answer = None if answer is None else answer.encode()
        self.labels: list[str] = []

    def __call__(self, label: str) -> bytes | None:
        self.labels.append(label)
        return self.answer


@pytest.fixture(scope="module")
def ministry(tokens: Tokens) -> Tokens:
    """A token called ``ministry`` with a P-256 and an Ed25519 key made inside it."""
    tokens.create("ministry")
    for algorithm in ("p256", "ed25519"):
        generate_in_token(tokens.uri("ministry", algorithm), algorithm, Asked())
    return tokens


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_a_token_signs_like_a_key_of_ours(ministry: Tokens, algorithm: str) -> None:
    asked = Asked()
    key = open_external(ministry.uri("ministry", algorithm), None, asked)
    assert key.public.algorithm == algorithm
    assert asked.labels == []  # the public half is for everybody
    data = os.urandom(2 << 20)
    key.public.verify(key.sign(data), data)
    assert asked.labels == ["token 'ministry' (PIN)"]


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_a_role_signed_in_a_token_is_a_role(ministry: Tokens, algorithm: str) -> None:
    key = open_external(ministry.uri("ministry", algorithm), None, Asked())
    role = parse_targets(new_role([key], NOW - timedelta(days=1), "organisation"), "role")
    signature = role.signatures[key.public.keyid]
    key.public.tuf.verify_signature(signature, role.signed_bytes)


def test_a_bundle_signed_in_a_token_is_a_bundle(ministry: Tokens) -> None:
    key = open_external(ministry.uri("ministry", "p256"), None, Asked())
    release = signed_release(tree(), key)
    assert verify_bundle(release.bundle, [key.public]).key == key.public


def test_the_private_key_cannot_leave_the_token(ministry: Tokens) -> None:
    import pkcs11

    token = pkcs11.lib(ministry.module).get_token(token_label="ministry")
    with token.open(user_pin=PIN) as session:
        for key in session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}):
            assert key[pkcs11.Attribute.SENSITIVE]
            assert not key[pkcs11.Attribute.EXTRACTABLE]
            with pytest.raises(pkcs11.AttributeSensitive):
                key[pkcs11.Attribute.VALUE]


@pytest.mark.parametrize(
    ("answer", "code"), [("999999", "key-passphrase-wrong"), (None, "key-passphrase-needed")]
)
def test_a_wrong_or_missing_pin_is_tried_once(
    ministry: Tokens, answer: str | None, code: str
) -> None:
    asked = Asked(answer)
    key = open_external(ministry.uri("ministry", "p256"), None, asked)
    with pytest.raises(KeyUnusableError) as caught:
        key.sign(b"data")
    assert caught.value.code == code
    assert len(asked.labels) == 1
    assert "999999" not in caught.value.message
    # and the right one still opens it
    open_external(ministry.uri("ministry", "p256"), None, Asked()).sign(b"data")


def test_a_pin_comes_from_a_private_file(ministry: Tokens) -> None:
    key = open_external(ministry.uri("ministry", "p256", pin=True), None, Asked(None))
    key.sign(b"data")
    ministry.pin_file.chmod(0o644)
    try:
        with pytest.raises(ForgeError) as caught:
            key.sign(b"data")
    finally:
        ministry.pin_file.chmod(0o600)
    assert caught.value.code == "key-permissions"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda uri: uri.replace("ministry", "nobody"), "expected one token that fits, found 0"),
        (lambda uri: uri.replace("object=p256", "object=none"), "expected one public key there"),
        (lambda uri: uri.replace("libsofthsm2.so", "none.so"), "there is no module"),
        (lambda uri: uri.partition("?")[0], "expected module-path="),
        (lambda uri: uri.replace("token=ministry", "token=ministry;serial=0"), "found 0"),
    ],
)
def test_what_is_not_there_is_named(ministry: Tokens, spoil: object, words: str) -> None:
    with pytest.raises(ForgeError, match=words):
        open_external(spoil(ministry.uri("ministry", "p256")), None, Asked())  # type: ignore[operator]


def test_a_key_in_a_token_is_never_overwritten(ministry: Tokens) -> None:
    uri = ministry.uri("ministry", "p256")
    before = open_external(uri, None, Asked()).public
    with pytest.raises(ForgeError) as caught:
        generate_in_token(uri, "p256", Asked())
    assert caught.value.code == "already-exists"
    assert open_external(uri, None, Asked()).public == before


def pin_fd() -> int:
    read, write = os.pipe()
    os.write(write, f"{PIN}\n".encode())
    os.close(write)
    return read


def test_the_commands_make_and_remember_a_key_in_a_token(ministry: Tokens, forge: Forge) -> None:
    uri = ministry.uri("ministry", "by-command")
    made = forge.ok("key", "new", "hsm", "--pkcs11", uri, "--passphrase-fd", str(pin_fd()))
    shown = forge.ok("key", "show", "hsm", "--json").json
    assert shown["keyid"] == made.out.strip()
    assert (shown["guarded_by"], shown["reference"]) == ("token", uri)
    added = forge.ok("key", "add", "other", uri, "--passphrase-fd", str(pin_fd()))
    assert added.out == made.out
    again = forge("key", "add", "hsm", uri)
    assert (again.code, "already-exists" in again.err or "exists already" in again.err) == (6, True)
    without = forge("key", "add", "third", uri)
    assert without.code == 4
    assert "third" not in forge.ok("key", "list").out
    secret = forge("key", "add", "fourth", f"{uri}&pin-value={PIN}")
    assert secret.code == 2
    assert PIN not in secret.out + secret.err
