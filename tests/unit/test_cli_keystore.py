"""Keys at rest: private, never overwritten, one question per key."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from forge_cli.errors import ForgeError, UsageError
from forge_cli.keystore import KeyStore
from forge_cli.passphrase import Passphrases
from signing.errors import KeyUnusableError


class Asked:
    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.labels: list[str] = []

    def __call__(self, label: str) -> bytes | None:
        self.labels.append(label)
        return self.answer


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        key = KeyStore(tmp_path / "keys", Asked(None)).create("default", "p256", None)
    finally:
        os.umask(old)
    assert mode(tmp_path / "keys") == 0o700
    assert mode(key.path) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, Asked(None))
    first = store.create("default", "p256", None).public
    with pytest.raises(ForgeError) as caught:
        store.create("default", "p256", None)
    assert caught.value.code == "already-exists"
    assert KeyStore(tmp_path, Asked(None)).load("default").public == first


def test_listing_and_showing_ask_for_nothing_and_signing_asks_once(tmp_path: Path) -> None:
    KeyStore(tmp_path, Asked(None)).create("default", "p256", b"secret")
    asked = Asked(b"secret")
    store = KeyStore(tmp_path, asked)
    assert [key.encrypted for key in store.all()] == [True]
    store.show("default")
    assert asked.labels == []
    store.load("default")
    store.load("default")
    assert asked.labels == ["key default"]


@pytest.mark.parametrize(
    ("answer", "code"), [(b"wrong", "key-passphrase-wrong"), (None, "key-passphrase-needed")]
)
def test_a_wrong_or_missing_passphrase_is_refused(
    tmp_path: Path, answer: bytes | None, code: str
) -> None:
    KeyStore(tmp_path, Asked(None)).create("default", "p256", b"secret")
    with pytest.raises(KeyUnusableError) as caught:
        KeyStore(tmp_path, Asked(answer)).load("default")
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o644])
def test_a_key_that_others_could_have_read_is_refused(tmp_path: Path, bits: int) -> None:
    store = KeyStore(tmp_path, Asked(None))
    path = store.create("default", "p256", None).path
    path.chmod(bits)
    with pytest.raises(ForgeError) as caught:
        KeyStore(tmp_path, Asked(None)).load("default")
    assert caught.value.code == "key-permissions"
    assert store.problems()


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a\nb", "x" * 65])
def test_a_key_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        KeyStore(tmp_path / "keys", Asked(None)).create(name, "p256", None)
    assert not (tmp_path / "evil.pem").exists()


def test_an_unknown_key_says_which_there_are(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, Asked(None))
    store.create("work", "p256", None)
    with pytest.raises(ForgeError) as caught:
        store.load("home")
    assert "work" in (caught.value.hint or "")


def test_a_passphrase_comes_from_a_descriptor(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"secret\nnot this")
    os.close(write)
    passphrases = Passphrases(fd=read)
    store = KeyStore(tmp_path, passphrases)
    store.create("default", "p256", passphrases.new("key default"))
    os.close(read)
    assert KeyStore(tmp_path, Asked(b"secret")).load("default")


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert Passphrases()("key default") is None
        with pytest.raises(ForgeError) as caught:
            Passphrases().new("key default")
    assert "--passphrase-fd" in (caught.value.hint or "")
