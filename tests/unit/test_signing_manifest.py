"""manifest.json: one encoding, one place per path, one identity."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from builders import NAME, changed_json, entries, forge_toml, manifest_of, sha256, tree

from signing.component import parse_forge_toml
from signing.encoding import canonical_json
from signing.errors import MalformedError
from signing.manifest import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    FileEntry,
    build_manifest,
    parse_manifest,
)

Change = Callable[[dict[str, Any]], object]
VALID = manifest_of(tree(requires={"a/b": ">=1"})).raw
DIGEST = sha256(b"x")


def file(path: str, size: int = 1, sha: str = DIGEST, **more: str) -> dict[str, Any]:
    return {"path": path, "size": size, "sha256": sha, **more}


def test_the_identity_is_the_digest_of_the_exact_bytes() -> None:
    manifest = parse_manifest(VALID)
    assert manifest.raw == VALID
    assert manifest.digest == sha256(VALID)
    assert str(manifest) == "minds-lab/darija-lid==1.0.0"
    assert manifest.requires == {"a/b": ">=1"}
    assert manifest.total_size == sum(len(data) for data in tree(requires={"a/b": ">=1"}).values())
    assert manifest.by_path["README.md"].size == 7
    assert manifest.blobs()[sha256(b"# card\n")] == 7


def test_files_are_sorted_by_code_point_of_the_whole_path() -> None:
    files = {"forge.toml": forge_toml(), "a/b": b"1", "a-b": b"2", "a": b"", "é": b"3", "z": b"4"}
    del files["a"]
    manifest = manifest_of(files)
    assert [entry.path for entry in manifest.files] == ["a-b", "a/b", "forge.toml", "z", "é"]
    assert list(json.loads(manifest.raw)) == sorted(json.loads(manifest.raw))


def test_the_order_handed_in_does_not_matter() -> None:
    spec = parse_forge_toml(forge_toml())
    found = list(entries(tree()).values())
    assert build_manifest(spec, found).raw == build_manifest(spec, reversed(found)).raw


def test_chunks_are_kept() -> None:
    spec = parse_forge_toml(forge_toml())
    manifest = build_manifest(spec, [FileEntry("forge.toml", 1, DIGEST, sha256(b"chunks"))])
    assert manifest.files[0].chunks == sha256(b"chunks")
    assert parse_manifest(manifest.raw) == manifest


BUILD_FAILURES = {
    "no-files": [],
    "no-forge-toml": [FileEntry("a", 1, DIGEST)],
    "same-path": [FileEntry("forge.toml", 1, DIGEST)] * 2,
    "same-path-chunks": [
        FileEntry("forge.toml", 1, DIGEST),
        FileEntry("forge.toml", 1, DIGEST, DIGEST),
    ],
    "case": [FileEntry("forge.toml", 1, DIGEST), FileEntry("Forge.toml", 1, DIGEST)],
    "parent": [FileEntry("forge.toml", 1, DIGEST), FileEntry("../a", 1, DIGEST)],
    "negative": [FileEntry("forge.toml", -1, DIGEST)],
    "digest": [FileEntry("forge.toml", 1, "A" * 64)],
    "two-sizes": [FileEntry("forge.toml", 1, DIGEST), FileEntry("a", 2, DIGEST)],
}


@pytest.mark.parametrize("files", BUILD_FAILURES.values(), ids=BUILD_FAILURES)
def test_builds_nothing_that_it_would_not_read(files: list[FileEntry]) -> None:
    with pytest.raises(MalformedError):
        build_manifest(parse_forge_toml(forge_toml()), files)


def test_a_card_must_be_among_the_files() -> None:
    toml = forge_toml().replace(b"[requires]", b'card = "README.fr.md"\n[requires]')
    files = {**tree(), "forge.toml": toml}
    with pytest.raises(MalformedError, match=r"metadata\.card"):
        manifest_of(files)
    assert manifest_of({**files, "README.fr.md": b"x"}).metadata["card"] == "README.fr.md"


SPOILT: dict[str, tuple[Change, str]] = {
    "no-schema": (lambda m: m.pop("schema"), "schema"),
    "schema-2": (lambda m: m.update(schema=2), "schema"),
    "schema-true": (lambda m: m.update(schema=True), "schema"),
    "unknown-field": (lambda m: m.update(more=1), "more"),
    "reserved-org": (lambda m: m.update(org="api"), "org"),
    "bad-name": (lambda m: m.update(name="A"), "name"),
    "bad-version": (lambda m: m.update(version="1.0+x"), "version"),
    "version-number": (lambda m: m.update(version=1), "version"),
    "bad-kind": (lambda m: m.update(kind="agent"), "kind"),
    "metadata-list": (lambda m: m.update(metadata=[]), "metadata"),
    "metadata-unknown": (lambda m: m["metadata"].update(x=1), "metadata.x"),
    "metadata-missing": (lambda m: m["metadata"].pop("license"), "metadata.license"),
    "metadata-no-requires": (lambda m: m["metadata"].pop("requires"), "metadata.requires"),
    "metadata-summary": (lambda m: m["metadata"].update(summary="\x1b"), "metadata.summary"),
    "metadata-requires": (lambda m: m["metadata"]["requires"].update(x="1"), "metadata.requires"),
    "metadata-itself": (
        lambda m: m["metadata"]["requires"].update({str(NAME): ""}),
        "metadata.requires",
    ),
    "metadata-risk": (lambda m: m["metadata"].update(risk={"class": "x"}), "metadata.risk"),
    "metadata-card": (lambda m: m["metadata"].update(card="none.md"), "metadata.card"),
    "files-object": (lambda m: m.update(files={}), "files"),
    "files-empty": (lambda m: m.update(files=[]), "files"),
    "files-unsorted": (lambda m: m["files"].reverse(), "files"),
    "files-twice": (lambda m: m["files"].insert(0, m["files"][0]), "files"),
    "files-no-forge-toml": (lambda m: m["files"].pop(1), "files"),
    "files-collide": (lambda m: m["files"].insert(0, file("FORGE.toml")), "files"),
    "files-and-folder": (lambda m: m["files"].append(file("weights/model.safetensors/x")), "files"),
    "file-text": (lambda m: m["files"].insert(0, "a"), "files[0]"),
    "file-unknown": (lambda m: m["files"].insert(0, file("a", mode="755")), "files[0].mode"),
    "file-parent": (lambda m: m["files"].insert(0, file("../a")), "files[0].path"),
    "file-absolute": (lambda m: m["files"].insert(0, file("/a")), "files[0].path"),
    "file-git": (lambda m: m["files"].insert(0, file(".gitmodules")), "files[0].path"),
    "file-negative": (lambda m: m["files"].insert(0, file("A", -1)), "files[0].size"),
    "file-huge": (lambda m: m["files"].insert(0, file("A", MAX_FILE_BYTES + 1)), "files[0].size"),
    "file-size-true": (lambda m: m["files"].insert(0, file("A", True)), "files[0].size"),
    "file-digest": (lambda m: m["files"].insert(0, file("A", 1, "0" * 63)), "files[0].sha256"),
    "file-upper": (lambda m: m["files"].insert(0, file("A", 1, "A" * 64)), "files[0].sha256"),
    "file-chunks": (lambda m: m["files"].insert(0, file("A", chunks="x")), "files[0].chunks"),
    "one-digest-two-sizes": (
        lambda m: m["files"].append(file("z", 9, m["files"][0]["sha256"])),
        "files[3].size",
    ),
}


@pytest.mark.parametrize(("change", "where"), SPOILT.values(), ids=SPOILT)
def test_names_the_spoilt_field(change: Change, where: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_manifest(changed_json(VALID, change))
    assert caught.value.where.startswith(f"manifest.json: {where}")


NOT_CANONICAL: dict[str, Callable[[bytes], bytes]] = {
    "spaces": lambda data: data.replace(b":", b": ", 1),
    "final-newline": lambda data: data + b"\n",
    "leading-space": lambda data: b" " + data,
    "escaped-letter": lambda data: data.replace(b"darija", b"\\u0064arija", 1),
    "escaped-slash": lambda data: data.replace(b"weights/", b"weights\\/", 1),
    "order-of-keys": lambda data: b'{"schema":1,' + data[1:].replace(b',"schema":1', b""),
    "minus-zero": lambda data: data.replace(b'"size":7', b'"size":-0', 1),
}


@pytest.mark.parametrize("change", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_another_encoding_of_the_same_release_is_refused(change: Callable[[bytes], bytes]) -> None:
    changed = change(VALID)
    assert changed != VALID
    with pytest.raises(MalformedError, match="canonical"):
        parse_manifest(changed)


NOT_JSON = {
    "empty": b"",
    "list": b"[]",
    "duplicate-key": VALID.replace(b'"org":', b'"kind":"model","org":', 1),
    "beyond-2-53": VALID.replace(b'"size":7', b'"size":9007199254740992'),
    "huge-integer": VALID.replace(b'"size":7', b'"size":' + b"9" * 100_000),
    "fraction": VALID.replace(b'"size":7', b'"size":7.0'),
    "nan": VALID.replace(b'"size":7', b'"size":NaN'),
    "invalid-utf-8": VALID.replace(b"README", b"\xff\xfe", 1),
    "byte-order-mark": b"\xef\xbb\xbf" + VALID,
    "lone-surrogate": VALID.replace(b"README", b"\\ud800", 1),
    "deep": VALID.replace(b'"schema":1', b'"schema":' + b"[" * 100_000),
}


@pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON)
def test_refuses_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_manifest(data)


def test_refuses_more_bytes_than_any_manifest_has() -> None:
    with pytest.raises(MalformedError, match="at most"):
        parse_manifest(VALID + b" " * MAX_MANIFEST_BYTES)


def test_holds_the_most_files_and_not_one_more() -> None:
    value = json.loads(VALID)
    toml = value["files"][1]
    value["files"] = sorted(
        [
            toml,
            *(file(f"data/{n % 100:02}/{n:06}.txt", n, f"{n:064x}") for n in range(MAX_FILES - 1)),
        ],
        key=lambda entry: entry["path"],
    )
    started = time.process_time()
    manifest = parse_manifest(canonical_json(value))
    spent = time.process_time() - started
    assert len(manifest.files) == MAX_FILES
    assert spent < 30  # about two seconds where this was written; quadratic would be hours
    value["files"].append(file("zzz"))
    with pytest.raises(MalformedError, match="100000 files"):
        parse_manifest(canonical_json(value))
