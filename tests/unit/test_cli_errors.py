"""One table from what went wrong to what a script sees."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from cli_fixtures import Forge
from forge_client import forge

from forge_cli.config import Places, normalise_url
from forge_cli.errors import CODES, EXIT_CODES, ForgeError, RemoteError, UsageError, describe
from forge_cli.files import read_private
from forge_server.errors import TABLE
from signing.errors import ConflictError, KeyUnusableError, MalformedError, VerificationError
from storage.errors import BackendError, BlobMismatchError

__all__ = ["forge"]


CASES = [
    (ForgeError("no-such-code", "m"), 1),
    (UsageError("m"), 2),
    (VerificationError("a-new-code", "s", "e", "f"), 3),
    (BlobMismatchError("ab" * 32, "e", "f"), 3),
    (KeyUnusableError("a-new-code", "m"), 4),
    (ForgeError("not-found", "m"), 5),
    (ConflictError("version-taken", "m"), 6),
    (ConflictError("a-new-code", "m"), 6),
    (MalformedError("w", "e", "f"), 1),
    (BackendError("m", retry=False, code="disk-full"), 1),
    (RemoteError("new-code", "m", status=401), 4),
    (RemoteError("new-code", "m", status=403), 4),
    (RemoteError("new-code", "m", status=404), 5),
    (RemoteError("new-code", "m", status=409), 6),
    (RemoteError("new-code", "m", status=422), 1),
    (RemoteError("new-code", "m", status=451), 7),
    (RemoteError("new-code", "m", status=429), 8),
    (RemoteError("new-code", "m", status=500), 8),
    (OSError(errno.ENOSPC, "full", "/x"), 1),
    (ValueError("a bug"), 1),
]


@pytest.mark.parametrize(("error", "code"), CASES, ids=[repr(error)[:50] for error, _ in CASES])
def test_every_error_has_its_exit_code(error: Exception, code: int) -> None:
    failure = describe(error)
    assert failure.exit_code == code
    assert failure.message


def test_the_table_is_complete() -> None:
    assert {meaning.exit_code for meaning in CODES.values()} <= set(EXIT_CODES)
    assert all(meaning.help.endswith(".") for meaning in CODES.values())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("HTTPS://Forge.Example:443/a/", "https://forge.example/a"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_one_registry_has_one_url(text: str, url: str) -> None:
    assert normalise_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["forge.example", "ftp://x", "http://", "file:///etc", "http://u:p@x", "http://x?token=s",
     "http://x#f", "http://x:99999"],
)  # fmt: skip
def test_what_is_not_a_registrys_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        normalise_url(text)
    assert "u:p" not in caught.value.message
    assert "token=s" not in caught.value.message


def test_places_follow_xdg_and_forge_home_moves_them_all(tmp_path: Path) -> None:
    env = {"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_DATA_HOME": "relative"}
    places = Places.from_environment(env)
    assert str(places.cache) == "/c/forge"
    assert str(places.keys) == "/h/.local/share/forge/keys"
    assert str(places.credentials) == "/h/.config/forge/credentials.toml"
    moved = Places.from_environment({**env, "FORGE_HOME": str(tmp_path)})
    for place in (moved.config, moved.credentials, moved.keys, moved.trust, moved.cache):
        assert place.is_relative_to(tmp_path)


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "credentials.toml"
    path.write_text("")
    path.chmod(0o640)
    with pytest.raises(ForgeError, match="0640"):
        read_private(path)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("instal",), 2, "Did you mean 'install'"),
        (("info",), 2, "Missing argument"),
        (("info", "no-slash"), 2, "organisation/name"),
        (("install",), 2, "nothing to install"),
        (("config", "get", "nothing"), 2, "settings are"),
        (("config", "set", "parallel", "99"), 2, "1 to 16"),
        (("sync",), 5, "forge lock"),
        (("key", "show"), 4, "forge key new"),
        (("key", "new"), 4, "--insecure-unencrypted"),
        (("whoami",), 2, "forge login"),
        (("verify", "nowhere"), 5, "--bundle"),
        (("yank", "o/n", "--reason", "x"), 2, "org/name==1.0.0"),
        (("check", "nowhere"), 5, "no such folder"),
        (("login", "http://u:p@h"), 2, "--token-file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_refusals_say_what_to_do(
    forge: Forge, args: tuple[str, ...], code: int, words: str
) -> None:
    ran = forge(*args)
    assert ran.code == code, ran.err
    assert words in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_an_error_with_json_is_one_document(forge: Forge) -> None:
    ran = forge("info", "no-slash", "--json")
    assert ran.json["error"]["code"] == "usage"
    assert ran.json["error"]["exit_code"] == ran.code == 2


def test_settings_are_kept_and_taken_out(forge: Forge) -> None:
    forge.ok("config", "set", "registry", "http://Example.org/")
    assert forge.ok("config", "get", "registry").out == "http://example.org\n"
    forge.ok("config", "set", "registry", "")
    assert forge("config", "get", "registry").code == 5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(forge: Forge, shell: str) -> None:
    assert "_FORGE_COMPLETE" in forge.ok("completion", shell).out


def test_a_code_of_ours_never_stands_for_something_else_of_the_registrys() -> None:
    """What the registry refuses with such a code ends with our exit code: both mean the same."""
    assert sorted(CODES.keys() & TABLE.keys()) == [
        "digest-mismatch", "disk-full", "length-mismatch", "login-denied", "login-expired",
        "malformed", "not-found", "own-release", "policy-unusable", "quota-exceeded",
        "role-version", "taken-down", "too-many-requests", "unsafe-format", "version-taken",
        "withheld", "witnesses-missing",
    ]  # fmt: skip
