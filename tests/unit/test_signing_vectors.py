"""Every folder of tests/vectors: `_fail` in the name is the oracle, the README says the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from signing.component import parse_forge_toml
from signing.errors import MalformedError, SigningError, VerificationError
from signing.keys import PublicKey
from signing.manifest import parse_manifest
from signing.oms import verify_bundle

VECTORS = Path(__file__).parents[1] / "vectors"


def judge_bundle(folder: Path) -> object:
    key = PublicKey.from_pem((folder / "key.pem").read_bytes())
    return verify_bundle((folder / "bundle.json").read_bytes(), [key])


JUDGES: dict[str, Callable[[Path], object]] = {
    "bundle": judge_bundle,
    "manifest": lambda folder: parse_manifest((folder / "manifest.json").read_bytes()),
    "forge-toml": lambda folder: parse_forge_toml((folder / "forge.toml").read_bytes()),
}
CASES = sorted(folder for kind in JUDGES for folder in (VECTORS / kind).iterdir())
_FAILURE = re.compile(r"Must fail with `(?P<code>[^`]+)`, naming `(?P<where>[^`]+)`\.\n\Z")


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.relative_to(VECTORS).as_posix())
def test_each_case_ends_as_its_readme_says(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8")
    judge = JUDGES[folder.parent.name]
    expected = _FAILURE.search(readme)
    if not folder.name.endswith("_fail"):
        assert expected is None
        assert readme.endswith("Must pass.\n")
        judge(folder)
        return
    assert expected is not None, f"{folder.name}: the README names no code"
    with pytest.raises(SigningError) as caught:
        judge(folder)
    error = caught.value
    assert isinstance(error, MalformedError | VerificationError)
    place = error.where if isinstance(error, MalformedError) else error.subject
    assert (error.code, place) == (expected["code"], expected["where"])


@pytest.mark.parametrize("kind", JUDGES)
def test_every_kind_has_a_case_that_passes_and_one_that_fails(kind: str) -> None:
    names = [folder.name for folder in CASES if folder.parent.name == kind]
    assert any(name.endswith("_fail") for name in names)
    assert any(not name.endswith("_fail") for name in names)
