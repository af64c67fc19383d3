"""What must hold for all inputs: no byte can be changed unnoticed, and nothing but our own
errors comes out of a parser."""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest
from builders import NAME, NOW, World, entries, manifest_of, signed_by, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_builders import Log
from thorough import examples

from signing.applications import sign_application, verify_application
from signing.component import parse_forge_toml
from signing.digests import fingerprint, parse_fingerprint
from signing.encoding import MAX_INTEGER, canonical_json, parse_json
from signing.errors import MalformedError, SigningError
from signing.evidence import Evidence
from signing.keys import PublicKey, generate_key, load_private_key
from signing.manifest import FileEntry, build_manifest, parse_manifest
from signing.names import ComponentName, Requirement, parse_org_name, parse_version, skeleton
from signing.oms import sign_bundle, verify_bundle
from signing.paths import check_path, check_paths
from signing.roles import delegations_of, parse_root, parse_targets, releases_of
from signing.updates import check_offer, check_role_update
from signing.verify import verify_release

RELAXED = settings(
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
WORLD = World(log=Log(), with_status=True)
RELEASE = WORLD.publish(tree(requires={"a/b": ">=1"}))
EVIDENCE = WORLD.evidence(RELEASE, refreshed_at=NOW)
ROLES = WORLD.roles
PUBLISHER, ORG_KEY = WORLD.project_keys[str(NAME)], WORLD.org_keys[NAME.org]
# What reviewers say is no condition of a release's being genuine: see test_signing_reviews.
SIGNED_FIELDS = [
    field.name for field in fields(Evidence) if field.name not in ("refreshed_at", "reviews")
]


def meaning(data: bytes) -> Any:
    """What a JSON document says, in so far as it is signed: spaces, order of keys, the case of
    hexadecimal signatures and unsigned signatures' other fields say nothing."""
    value = json.loads(data)
    if isinstance(value, dict) and "signed" in value:
        return value["signed"]
    return value


# --- no byte can be changed unnoticed -----------------------------------------------------


@RELAXED
@given(data=st.data())
@pytest.mark.parametrize("name", SIGNED_FIELDS)
def test_no_byte_of_the_evidence_can_be_changed_unnoticed(name: str, data: st.DataObject) -> None:
    whole = getattr(EVIDENCE, name)
    original = whole[0] if name == "roots" else whole
    place = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[place]))
    changed = original[:place] + bytes([byte]) + original[place + 1 :]
    evidence = replace(EVIDENCE, **{name: (changed,) if name == "roots" else changed})
    report = WORLD.verify(RELEASE, evidence=evidence)
    if report.ok:
        assert name in ("targets", "registrar", "organisation", "project")
        assert meaning(changed) == meaning(original)
        assert report.release == RELEASE.manifest


@RELAXED
@given(data=st.data())
@pytest.mark.parametrize("name", SIGNED_FIELDS)
def test_no_evidence_can_be_cut_or_made_longer_unnoticed(name: str, data: st.DataObject) -> None:
    whole = getattr(EVIDENCE, name)
    original = whole[0] if name == "roots" else whole
    end = data.draw(st.integers(0, len(original) - 1))
    tail = data.draw(st.sampled_from([b"", b"}", b"\0", b"{}"]))
    changed = original[:end] + tail
    if changed == original:
        return
    evidence = replace(EVIDENCE, **{name: (changed,) if name == "roots" else changed})
    assert not WORLD.verify(RELEASE, evidence=evidence).ok


@RELAXED
@given(data=st.data())
def test_no_byte_of_a_file_can_be_changed_unnoticed(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(RELEASE.files)))
    content = RELEASE.files[path]
    place = data.draw(st.integers(0, len(content) - 1))
    changed = content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :]

    report = WORLD.verify(RELEASE, observed=entries({**RELEASE.files, path: changed}))
    assert report.first_failure is not None
    assert report.first_failure.title == "files"


# --- nothing but our own errors -----------------------------------------------------------

PARSERS: dict[str, Callable[[bytes], object]] = {
    "json": lambda data: parse_json(data, "x"),
    "forge.toml": parse_forge_toml,
    "manifest": parse_manifest,
    "evidence": Evidence.from_json,
    "bundle": lambda data: verify_bundle(data, [PUBLISHER.public]),
    "application": verify_application,
    "targets": lambda data: parse_targets(data, "x"),
    "root": parse_root,
    "releases": lambda data: releases_of(data, NAME),
    "delegations": delegations_of,
    "public-key": PublicKey.from_pem,
    "private-key": load_private_key,
    "role-update": lambda data: check_role_update(NAME.role, data, None, ROLES[NAME.org], NOW),
    "parent-role": lambda data: check_role_update(NAME.role, ROLES[NAME.role], None, data, NOW),
    "offer": lambda data: check_offer(data, data, data, data, data, NOW),
}
SAMPLES = {
    "manifest": RELEASE.manifest.raw,
    "evidence": EVIDENCE.to_json(),
    "bundle": RELEASE.bundle,
    "forge.toml": RELEASE.files["forge.toml"],
    "application": sign_application("a", "startup", "A", [PUBLISHER], 1, NOW),
    "root": WORLD.root,
    "public-key": PUBLISHER.public.pem,
    "private-key": PUBLISHER.to_pem(None),
    "parent-role": ROLES[NAME.org],
    "delegations": ROLES[NAME.org],
}


@RELAXED
@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
def test_random_bytes_raise_our_errors_alone(parse: Any, data: bytes) -> None:
    with suppress(SigningError):
        parse(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=8)
            | st.sampled_from(["signed", "signatures", "_type", "schema", "files"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@RELAXED
@given(value=JSON)
@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
def test_random_json_raises_our_errors_alone(parse: Any, value: Any) -> None:
    with suppress(SigningError):
        parse(json.dumps(value).encode())


@RELAXED
@given(data=st.data())
@pytest.mark.parametrize("name", PARSERS)
def test_damaged_documents_raise_our_errors_alone(name: str, data: st.DataObject) -> None:
    document = bytearray(SAMPLES.get(name, ROLES[NAME.role]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(document) - 1))
        end = data.draw(st.integers(start, min(len(document), start + 20)))
        document[start:end] = data.draw(st.binary(max_size=6))
        document = document or bytearray(b"x")
    with suppress(SigningError):
        PARSERS[name](bytes(document))


ODD = [None, True, False, -1, 0, 2**31, "", "x", "\x1b[2J", [], [[]], {}, {"a": 1}, ["x", 5]]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every node of a JSON value."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from places(item, (*path, key))


def variants(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """``value`` with each node in turn replaced by each odd thing, or taken away."""
    for path in places(value):
        if not path:
            continue
        for odd in [*ODD, "gone"]:
            changed = copy.deepcopy(value)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            if odd == "gone":
                del holder[path[-1]]
            else:
                holder[path[-1]] = odd
            yield path, changed


FIELDS = {
    "targets": ("targets", WORLD.authority.targets_key),
    "registrar": ("registrar", WORLD.authority.registrar_key),
    NAME.org: ("organisation", ORG_KEY),
    NAME.role: ("project", PUBLISHER),
}


@pytest.mark.parametrize("role", FIELDS)
def test_whatever_a_keyholder_signs_ends_in_a_report(role: str) -> None:
    """Every node of a role replaced by every odd thing, and genuinely signed: an insider's."""
    field, key = FIELDS[role]
    signed = json.loads(ROLES[role])["signed"]
    parent = {"registrar": "targets", NAME.org: "registrar", NAME.role: NAME.org}.get(role)
    for path, changed in variants(signed):
        data = signed_by(changed, key)
        report = verify_release(
            replace(EVIDENCE, **{field: data}),
            NAME,
            None,
            fingerprint=WORLD.fingerprint,
            now=NOW,
            observed=None,
            forge_toml=None,
        )
        assert all(check.detail.isprintable() for check in report.checks), path
        if parent is not None:
            with suppress(SigningError):
                check_role_update(role, data, None, ROLES[parent], NOW)
            with suppress(SigningError):
                check_role_update(role, data, data, ROLES[parent], NOW)


def test_whatever_the_root_holds_ends_in_a_report() -> None:
    signed = json.loads(WORLD.root)["signed"]
    for _, changed in variants(signed):
        data = signed_by(changed, WORLD.authority.root_key)
        for roots in ((WORLD.root, data), (data,)):
            verify_release(
                replace(EVIDENCE, roots=roots),
                NAME,
                None,
                fingerprint=fingerprint(roots[0]),
                now=NOW,
                observed=None,
                forge_toml=None,
            )


@pytest.mark.parametrize("name", ["manifest", "bundle", "application", "evidence"])
def test_every_odd_node_of_a_document_raises_our_errors_alone(name: str) -> None:
    for _, changed in variants(json.loads(SAMPLES[name])):
        with suppress(SigningError):
            PARSERS[name](json.dumps(changed, separators=(",", ":"), sort_keys=True).encode())


def test_every_odd_node_of_the_whole_metadata_raises_our_errors_alone() -> None:
    for _, changed in variants(json.loads(ROLES[NAME.org])):
        data = json.dumps(changed).encode()
        for name in ("parent-role", "delegations", "targets"):
            with suppress(SigningError):
                PARSERS[name](data)


# --- round trips and orders ---------------------------------------------------------------

NAMES = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}", fullmatch=True)
SAFE_TEXT = st.text(string.ascii_letters + "نتⵣⴰ-_ ", min_size=1, max_size=12)


def good_name(text: str) -> bool:
    with suppress(MalformedError):
        parse_org_name(text)
        return True
    return False


def good_tree(paths: list[str]) -> bool:
    try:
        check_paths([check_path(path, "x") for path in paths], "x")
    except MalformedError:
        return False
    return True


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=20,
)


@RELAXED
@given(VALUES)
def test_canonical_json_reads_back_and_is_one(value: Any) -> None:
    encoded = canonical_json(value)
    assert parse_json(encoded, "x") == value
    assert canonical_json(parse_json(encoded, "x")) == encoded
    assert canonical_json(json.loads(json.dumps(value))) == encoded


@RELAXED
@given(NAMES.filter(good_name), NAMES)
def test_components_survive_text_and_role(org: str, name: str) -> None:
    component = ComponentName.parse(f"{org}/{name}")
    assert ComponentName.parse(str(component)) == component
    assert ComponentName.from_role(component.role) == component
    assert Requirement.parse(str(component)).component == component


@RELAXED
@given(NAMES)
def test_a_skeleton_looks_like_itself(name: str) -> None:
    assert skeleton(name) == skeleton(name.replace("-", ""))
    assert skeleton(name.replace("o", "0").replace("l", "1")) == skeleton(name)


@RELAXED
@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.sampled_from(["", "rc1", ".dev2"]))
def test_versions_survive_text(numbers: list[int], end: str) -> None:
    text = ".".join(map(str, numbers)) + end
    assert str(parse_version(text)) == text


@RELAXED
@given(st.lists(SAFE_TEXT, min_size=1, max_size=6, unique=True).filter(good_tree), st.randoms())
def test_manifests_and_bundles_do_not_depend_on_the_order(paths: list[str], random: Any) -> None:
    files = [FileEntry(path, size, f"{size:064x}") for size, path in enumerate(paths)]
    files.append(FileEntry("z.d/forge.toml", 9, f"{9:064x}"))
    files.append(FileEntry("forge.toml", 99, f"{99:064x}"))
    spec = parse_forge_toml(RELEASE.files["forge.toml"])
    manifest = build_manifest(spec, files)
    random.shuffle(files)
    assert build_manifest(spec, files).raw == manifest.raw
    assert parse_manifest(manifest.raw) == manifest
    assert [entry.path for entry in manifest.files] == sorted(entry.path for entry in files)
    bundle = verify_bundle(sign_bundle(files, "x", PUBLISHER), [PUBLISHER.public])
    assert list(bundle.resources) == [entry.path for entry in manifest.files]


@RELAXED
@given(st.text(max_size=40))
def test_an_accepted_path_stays_below_its_folder(path: str) -> None:
    try:
        check_path(path, "x")
    except MalformedError:
        return
    parts = path.split("/")
    assert not path.startswith(("/", ".git"))
    assert not {"", ".", ".."} & set(parts)
    assert not set('\\:*?"<>|#\0') & set(path)
    assert check_path(path, "x") == path


@RELAXED
@given(st.text(max_size=80))
def test_only_whole_fingerprints_are_read(text: str) -> None:
    with suppress(MalformedError):
        assert len(parse_fingerprint(text)) == len("sha256:") + 64


@RELAXED
@given(st.sampled_from(["p256", "ed25519"]), st.binary(max_size=100))
def test_what_is_signed_verifies(algorithm: str, data: bytes) -> None:
    key = generate_key(algorithm)
    key.public.verify(key.sign(data), data)


def test_the_builder_and_the_parser_agree() -> None:
    assert manifest_of(RELEASE.files) == RELEASE.manifest
