"""`verify_offline`: a folder, a bundle and a key."""

from __future__ import annotations

from typing import Any

import pytest
from builders import entries, manifest_of, sha256, signed_release, tree

from signing import oms
from signing.keys import generate_key
from signing.manifest import FileEntry
from signing.offline import verify_offline
from signing.report import Report

KEY, STRANGER = generate_key("p256"), generate_key("p256")
RELEASE = signed_release(tree(), KEY)
SIGNATURE, FILES, MANIFEST = TITLES = ("signature", "files", "manifest")


def verify(**changed: Any) -> Report:
    values = {
        "bundle": RELEASE.bundle,
        "key": KEY.public,
        "observed": entries(RELEASE.files),
        "manifest": RELEASE.manifest.raw,
    }
    return verify_offline(**{**values, **changed})


def test_a_sound_folder_passes() -> None:
    report = verify()
    assert report.ok
    assert tuple(check.title for check in report.checks) == TITLES
    assert {check.status for check in report.checks} == {"passed"}
    assert report.require() == RELEASE.manifest
    assert str(RELEASE.manifest) in report.checks[0].detail


def test_without_a_manifest_the_last_check_is_not_made() -> None:
    report = verify(manifest=None)
    assert report.ok
    assert report.checks[2].status == "not-checked"
    assert report.release is None


def changed_files(**changed: bytes | None) -> dict[str, FileEntry]:
    files = {k: v for k, v in {**RELEASE.files, **changed}.items() if v is not None}
    return entries(files)


ATTACKS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another-key": ({"key": STRANGER.public}, SIGNATURE, "key-unlisted"),
    "ed25519-key": ({"key": generate_key("ed25519").public}, SIGNATURE, "key-unlisted"),
    "no-bundle": ({"bundle": b""}, SIGNATURE, "malformed"),
    "bundle-by-a-stranger": (
        {"bundle": signed_release(tree(), STRANGER).bundle},
        SIGNATURE,
        "key-unlisted",
    ),
    "bundle-of-other-files": (
        {"bundle": signed_release(tree(version="2.0"), KEY).bundle},
        FILES,
        "digest-mismatch",
    ),
    "file-changed": ({"observed": changed_files(**{"README.md": b""})}, FILES, "digest-mismatch"),
    "file-missing": ({"observed": changed_files(**{"README.md": None})}, FILES, "tree-mismatch"),
    "file-extra": ({"observed": changed_files(**{"evil.py": b""})}, FILES, "tree-mismatch"),
    "git-planted": ({"observed": changed_files(**{".git/config": b""})}, FILES, "tree-mismatch"),
    "nothing-there": ({"observed": {}}, FILES, "tree-mismatch"),
    "manifest-no-json": ({"manifest": b"x"}, MANIFEST, "malformed"),
    "manifest-of-other-files": (
        {"manifest": manifest_of(tree(version="2.0")).raw},
        MANIFEST,
        "digest-mismatch",
    ),
    "manifest-of-more-files": (
        {"manifest": manifest_of({**tree(), "more.md": b"x"}).raw},
        MANIFEST,
        "tree-mismatch",
    ),
}


@pytest.mark.parametrize(("change", "title", "code"), ATTACKS.values(), ids=ATTACKS)
def test_every_attack_fails_exactly_at_its_check(
    change: dict[str, Any], title: str, code: str
) -> None:
    report = verify(**change)
    failure = report.first_failure
    assert failure is not None
    assert failure.error is not None
    assert (failure.title, failure.error.code) == (title, code)


def test_a_hostile_subject_cannot_write_to_the_screen() -> None:
    bundle = oms.sign_bundle(
        [FileEntry("a", 1, sha256(b"x"))], "\x1b[2Jtrusted-org/model==1.0.0\n", KEY
    )
    report = verify(bundle=bundle, observed=entries({"a": b"x"}), manifest=None)
    assert report.ok
    assert report.checks[0].detail.isprintable()
