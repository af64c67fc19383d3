"""The reference verifier of OpenSSF Model Signing, in its own environment, judges our bundles."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from builders import signed_release, tree
from softhsm import Tokens, tokens

from forge_cli.signers.pkcs11 import generate_in_token
from signing.keys import SigningKey, generate_key

__all__ = ["tokens"]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def model_signing() -> str:
    """The stock command. `make test` installs it and names it in the environment."""
    program = os.environ.get("FORGE_JUDGE_MODEL_SIGNING")
    if program is None or not Path(program).exists():
        if os.environ.get("CI"):
            pytest.fail("model_signing is required in CI; run the tests through make test")
        pytest.skip("FORGE_JUDGE_MODEL_SIGNING does not name a model_signing; use make test")
    return program


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder as `forge export-bundle` leaves it: files, bundle and key for an outsider."""
    return export(tmp_path, generate_key("p256"))


def export(tmp_path: Path, key: SigningKey) -> Path:
    files = tree()
    # Names that sort differently by whole path and by path component, and one beyond ASCII.
    files |= {"a-b/x": b"1", "a/b": b"2", "a.txt": b"3", "ⵜⴰⵎⴰⵣⵉⵖⵜ/نص.txt": b"4", "empty": b""}
    release = signed_release(files, key)
    for path, data in files.items():
        target = tmp_path / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (tmp_path / "release.sigstore.json").write_bytes(release.bundle)
    (tmp_path / "publisher.pem").write_bytes(key.public.pem)
    return tmp_path


def verdict(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    signature = ["--signature", str(folder / "release.sigstore.json")]
    key = ["--public_key", str(folder / "publisher.pem")]
    return subprocess.run(
        [program, "verify", "key", *signature, *key, str(folder / "files")],
        capture_output=True,
        text=True,
        check=False,
    )


def test_accepts_what_we_signed(model_signing: str, exported: Path) -> None:
    result = verdict(model_signing, exported)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "succeeded" in result.stdout


def test_accepts_what_a_token_signed(model_signing: str, tmp_path: Path, tokens: Tokens) -> None:
    tokens.create("judged")
    uri = tokens.uri("judged", "release", pin=True)
    exported = export(tmp_path, generate_in_token(uri, "p256", lambda label: None))
    result = verdict(model_signing, exported)
    assert result.returncode == 0, result.stdout + result.stderr


def _change(files: Path) -> None:
    (files / "README.md").write_bytes(b"# Card\n")


def _remove(files: Path) -> None:
    (files / "README.md").unlink()


def _add(files: Path) -> None:
    (files / "added.py").write_bytes(b"print()\n")


@pytest.mark.parametrize("spoil", [_change, _remove, _add], ids=["changed", "missing", "extra"])
def test_refuses_another_tree(model_signing: str, exported: Path, spoil: object) -> None:
    spoil(exported / "files")  # type: ignore[operator]
    result = verdict(model_signing, exported)
    assert result.returncode != 0
    assert "failed" in result.stdout + result.stderr


def test_refuses_another_key(model_signing: str, exported: Path) -> None:
    (exported / "publisher.pem").write_bytes(generate_key("p256").public.pem)
    assert verdict(model_signing, exported).returncode != 0
