"""TUF roles: who may sign what, and that what is written can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from builders import NAME, NOW, World, changed_role, manifest_of, sha256, signed_by, tree

from signing.errors import ConflictError, MalformedError, SigningError, VerificationError
from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName, parse_version
from signing.profile import OrgProfile
from signing.role_edits import (
    add_organisation,
    add_project,
    add_release,
    add_signatures,
    check_version_free,
    new_role,
    set_yanked,
    sign_snapshot,
    sign_timestamp,
)
from signing.roles import (
    EXPIRY,
    MAX_REASON_CHARS,
    MAX_ROLE_BYTES,
    delegation_of,
    delegations_of,
    level_of,
    parse_root,
    parse_signed,
    parse_targets,
    paths_of,
    releases_of,
    role_expires,
    role_version,
    verify_role,
)

Change = Callable[[dict[str, Any]], object]
WORLD = World()
RELEASE = WORLD.publish(tree(requires={"a/b": ">=1"}))
ORG_KEY = WORLD.org_keys[NAME.org]
PUBLISHER = WORLD.project_keys[str(NAME)]
REGISTRAR_KEY = WORLD.authority.registrar_key
ORG, PROJECT, REGISTRAR = WORLD.roles[NAME.org], WORLD.roles[NAME.role], WORLD.roles["registrar"]
STRANGER = generate_key("p256")


@pytest.mark.parametrize(
    ("role", "level", "paths"),
    [
        ("registrar", "registrar", ["*/*/*/*"]),
        ("minds-lab", "organisation", ["minds-lab/*/*/*"]),
        ("minds-lab.darija-lid", "project", ["minds-lab/darija-lid/*/*"]),
        ("project", "organisation", ["project/*/*/*"]),
        ("project.project", "project", ["project/project/*/*"]),
    ],
)
def test_each_role_has_its_level_and_its_paths(role: str, level: str, paths: list[str]) -> None:
    assert level_of(role) == level
    assert paths_of(role) == paths
    assert level in EXPIRY


def test_an_organisation_may_be_called_project() -> None:
    world = World()
    release = world.publish(tree(ComponentName.parse("project/x")))
    assert world.verify(release).ok


def test_the_index_says_what_a_resolver_needs() -> None:
    entry = releases_of(PROJECT, NAME)["1.0.0"]
    assert entry.manifest_sha256 == RELEASE.manifest.digest
    assert entry.manifest_size == len(RELEASE.manifest.raw)
    assert entry.bundle_sha256 == sha256(RELEASE.bundle)
    assert entry.bundle_size == len(RELEASE.bundle)
    assert (entry.kind, entry.requires, entry.yanked) == ("model", {"a/b": ">=1"}, None)


def test_versions_come_oldest_first() -> None:
    world = World()
    for version in ("1.0", "1.10", "1.9", "1.0rc1"):
        world.publish(tree(version=version))
    assert list(releases_of(world.roles[NAME.role], NAME)) == ["1.0rc1", "1.0", "1.9", "1.10"]


def test_every_edit_is_the_next_version_with_a_fresh_expiry() -> None:
    later = NOW + timedelta(days=30)
    yanked = set_yanked(PROJECT, NAME, parse_version("1.0.0"), "bad data", [PUBLISHER], later)
    assert role_version(yanked) == role_version(PROJECT) + 1
    assert role_expires(yanked) == later + EXPIRY["project"]
    assert releases_of(yanked, NAME)["1.0.0"].yanked == "bad data"
    back = set_yanked(yanked, NAME, parse_version("1.0.0"), None, [PUBLISHER], later)
    assert releases_of(back, NAME) == releases_of(PROJECT, NAME)
    verify_role(ORG, NAME.role, back)
    assert role_version(ORG) == 2
    assert role_version(new_role([ORG_KEY], NOW, "organisation")) == 1


def test_yanking_what_is_not_there_fails() -> None:
    with pytest.raises(VerificationError) as caught:
        set_yanked(PROJECT, NAME, parse_version("2.0"), "x", [PUBLISHER], NOW)
    assert caught.value.code == "chain-broken"


@pytest.mark.parametrize("reason", ["a\nb", "\x1b[2J", "a" * (MAX_REASON_CHARS + 1), "a\u202eb"])
def test_a_reason_is_one_plain_line(reason: str) -> None:
    with pytest.raises(MalformedError):
        set_yanked(PROJECT, NAME, parse_version("1.0.0"), reason, [PUBLISHER], NOW)


def test_a_spoilt_index_is_not_signed_again() -> None:
    path = NAME.target("1.0.0", "manifest.json")
    spoilt = changed_role(PROJECT, [PUBLISHER], lambda s: s["targets"][path].pop("custom"))
    with pytest.raises(MalformedError):
        set_yanked(spoilt, NAME, parse_version("1.0.0"), "x", [PUBLISHER], NOW)
    with pytest.raises(MalformedError):
        add_release(spoilt, RELEASE.manifest, RELEASE.bundle, [PUBLISHER], NOW)


@pytest.mark.parametrize("version", ["1.0.0", "1.0", "1"])
def test_a_taken_version_is_taken_in_every_spelling(version: str) -> None:
    manifest = manifest_of(tree(version=version))
    with pytest.raises(ConflictError) as caught:
        add_release(PROJECT, manifest, b"x", [PUBLISHER], NOW)
    assert caught.value.code == "version-taken"
    assert caught.value.facts == {"manifest_sha256": RELEASE.manifest.digest}
    assert "other content" in str(caught.value)


def test_the_same_content_again_says_so() -> None:
    with pytest.raises(ConflictError, match="this very content"):
        check_version_free(releases_of(PROJECT, NAME), RELEASE.manifest)


def test_a_name_is_delegated_once() -> None:
    with pytest.raises(ConflictError) as caught:
        add_project(ORG, NAME, [STRANGER.public], 1, [ORG_KEY], NOW)
    assert caught.value.code == "name-taken"
    profile = OrgProfile(kind="startup", display_name="Other")
    with pytest.raises(ConflictError) as caught:
        add_organisation(REGISTRAR, NAME.org, profile, [STRANGER.public], 1, [REGISTRAR_KEY], NOW)
    assert caught.value.code == "name-taken"


def test_delegations_say_keys_threshold_and_profile() -> None:
    delegation = delegations_of(REGISTRAR)[NAME.org]
    assert delegation == delegation_of(REGISTRAR, NAME.org)
    assert delegation.keys == (ORG_KEY.public,)
    assert delegation.threshold == 1
    assert delegation.paths == ("minds-lab/*/*/*",)
    assert delegation.profile == OrgProfile(kind="startup", display_name="Minds-Lab")
    assert delegation_of(ORG, NAME.role).profile is None
    assert delegations_of(PROJECT) == {}


def test_snapshot_and_timestamp_name_what_they_cover() -> None:
    key = generate_key("ed25519")
    snapshot = sign_snapshot({"targets": 1, "minds-lab": 7}, 3, key, NOW)
    signed = parse_signed(snapshot, "snapshot", "snapshot").signed
    assert {name: meta.version for name, meta in signed.meta.items()} == {
        "minds-lab.json": 7,
        "targets.json": 1,
    }
    assert signed.expires == NOW + timedelta(days=1)
    timestamp = parse_signed(sign_timestamp(snapshot, 9, key, NOW), "timestamp", "timestamp").signed
    assert timestamp.version == 9
    assert timestamp.snapshot_meta.version == 3
    assert timestamp.snapshot_meta.length == len(snapshot)
    assert timestamp.snapshot_meta.hashes == {"sha256": sha256(snapshot)}


# --- thresholds ---------------------------------------------------------------------------

KEYS = [generate_key("p256") for _ in range(3)]
TWO_OF_THREE = add_project(
    ORG, ComponentName.parse("minds-lab/two"), [key.public for key in KEYS], 2, [ORG_KEY], NOW
)
TWO = "minds-lab.two"


def role_with(*keys: PrivateKey) -> bytes:
    return new_role(keys, NOW, "project")


def with_signatures(change: Callable[[list[dict[str, str]]], object]) -> bytes:
    value = json.loads(role_with(KEYS[0], KEYS[1]))
    change(value["signatures"])
    return json.dumps(value).encode()


def swap(one: dict[str, str], other: dict[str, str]) -> None:
    one["sig"], other["sig"] = other["sig"], one["sig"]


GOOD_ROLES = {
    "two": role_with(KEYS[0], KEYS[1]),
    "other-two": role_with(KEYS[2], KEYS[0]),
    "all": role_with(*KEYS),
    "added-later": add_signatures(role_with(KEYS[0]), [KEYS[2]]),
    "other-order": with_signatures(lambda s: s.reverse()),
    "with-a-stranger": role_with(STRANGER, KEYS[0], KEYS[1]),
}
SHORT_ROLES = {
    "none": role_with(),
    "one": role_with(KEYS[0]),
    "one-and-a-stranger": role_with(KEYS[0], STRANGER),
    "strangers": role_with(STRANGER, ORG_KEY),
    "stripped": with_signatures(lambda s: s.pop()),
    "emptied": with_signatures(lambda s: s[1].update(sig="")),
    "moved-to-the-other-key": with_signatures(lambda s: s[1].update(sig=s[0]["sig"])),
    "swapped": with_signatures(lambda s: swap(s[0], s[1])),
    "no-hex": with_signatures(lambda s: s[1].update(sig="xyz")),
    "number": with_signatures(lambda s: s[1].update(sig=5)),
    "of-another-document": with_signatures(lambda s: s[1].update(sig=KEYS[1].sign(b"other").hex())),
}


@pytest.mark.parametrize("data", GOOD_ROLES.values(), ids=GOOD_ROLES)
def test_the_threshold_is_met_by_any_two_of_three(data: bytes) -> None:
    assert verify_role(TWO_OF_THREE, TWO, data).signed.version == 1


@pytest.mark.parametrize("data", SHORT_ROLES.values(), ids=SHORT_ROLES)
def test_the_threshold_is_not_met(data: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_role(TWO_OF_THREE, TWO, data)
    assert caught.value.code == "threshold-not-met"
    assert "2 signature" in caught.value.expected


def test_a_signature_twice_is_refused() -> None:
    with pytest.raises(MalformedError):
        verify_role(TWO_OF_THREE, TWO, with_signatures(lambda s: s.append(s[0])))


def test_a_signature_speaks_for_its_bytes_alone() -> None:
    value = json.loads(GOOD_ROLES["two"])
    value["signed"]["version"] = 2
    with pytest.raises(VerificationError) as caught:
        verify_role(TWO_OF_THREE, TWO, json.dumps(value).encode())
    assert caught.value.code == "threshold-not-met"


# --- delegations that no honest parent makes ----------------------------------------------


def delegation(change: Change) -> Change:
    return lambda signed: change(signed["delegations"]["roles"][0])


def twofold(signed: dict[str, Any]) -> None:
    """One key under two ids, so that one signature would be two."""
    delegations = signed["delegations"]
    delegations["keys"]["0" * 64] = dict(delegations["keys"][PUBLISHER.public.keyid])
    delegations["roles"][0]["keyids"].append("0" * 64)
    delegations["roles"][0]["threshold"] = 2


def key_field(**changed: object) -> Change:
    return lambda s: s["delegations"]["keys"][PUBLISHER.public.keyid].update(changed)


BAD_DELEGATIONS: dict[str, tuple[Change, str]] = {
    "gone": (lambda s: s.pop("delegations"), "chain-broken"),
    "renamed": (delegation(lambda r: r.update(name="minds-lab.other")), "chain-broken"),
    "no-roles": (lambda s: s["delegations"].update(roles=[]), "chain-broken"),
    "succinct": (
        lambda s: (
            s["delegations"].pop("roles"),
            s["delegations"].update(
                succinct_roles={
                    "keyids": [PUBLISHER.public.keyid],
                    "threshold": 1,
                    "bit_length": 1,
                    "name_prefix": "minds-lab.darija",
                }
            ),
        ),
        "chain-broken",
    ),
    "role-twice": (
        lambda s: s["delegations"]["roles"].append(s["delegations"]["roles"][0]),
        "malformed",
    ),
    "wider-paths": (delegation(lambda r: r.update(paths=["*/*/*/*"])), "path-not-delegated"),
    "paths-of-another": (delegation(lambda r: r.update(paths=["b/x/*/*"])), "path-not-delegated"),
    "more-paths": (delegation(lambda r: r["paths"].append("b/*/*/*")), "path-not-delegated"),
    "no-paths": (delegation(lambda r: r.update(paths=[])), "path-not-delegated"),
    "hash-prefixes": (
        delegation(lambda r: (r.pop("paths"), r.update(path_hash_prefixes=["00"]))),
        "path-not-delegated",
    ),
    "paths-and-prefixes": (delegation(lambda r: r.update(path_hash_prefixes=[])), "malformed"),
    "neither": (delegation(lambda r: r.pop("paths")), "malformed"),
    "not-terminating": (delegation(lambda r: r.update(terminating=False)), "malformed"),
    "terminating-one": (delegation(lambda r: r.update(terminating=1)), "malformed"),
    "terminating-text": (delegation(lambda r: r.update(terminating="no")), "malformed"),
    "threshold-zero": (delegation(lambda r: r.update(threshold=0)), "malformed"),
    "threshold-beyond": (delegation(lambda r: r.update(threshold=2)), "malformed"),
    "threshold-true": (delegation(lambda r: r.update(threshold=True)), "malformed"),
    "threshold-text": (delegation(lambda r: r.update(threshold="1")), "malformed"),
    "no-keyids": (delegation(lambda r: r.update(keyids=[])), "malformed"),
    "keyid-twice": (delegation(lambda r: r["keyids"].append(r["keyids"][0])), "malformed"),
    "keyid-unknown": (delegation(lambda r: r["keyids"].append("0" * 64)), "malformed"),
    "keyid-number": (delegation(lambda r: r["keyids"].append(5)), "malformed"),
    "keyids-text": (delegation(lambda r: r.update(keyids="ab")), "malformed"),
    "key-under-two-ids": (twofold, "malformed"),
    "key-with-more-fields": (key_field(note="x"), "malformed"),
    "key-of-another-scheme": (key_field(scheme="ecdsa-sha2-nistp384"), "malformed"),
    "key-of-another-type": (key_field(keytype="rsa"), "malformed"),
    "key-unknown-type": (key_field(keytype="x"), "malformed"),
    "key-spoilt": (key_field(keyval={"public": "x"}), "malformed"),
    "key-empty": (key_field(keyval={}), "malformed"),
    "profile-text": (delegation(lambda r: r.update(forge="x")), "malformed"),
    "profile-unknown": (delegation(lambda r: r.update(forge={"kind": "a"})), "malformed"),
    "profile-escape": (
        delegation(lambda r: r.update(forge={"kind": "a", "display_name": "\x1b[2J"})),
        "malformed",
    ),
    "profile-two-lines": (
        delegation(lambda r: r.update(forge={"kind": "a\nb", "display_name": "A"})),
        "malformed",
    ),
}


@pytest.mark.parametrize(("change", "code"), BAD_DELEGATIONS.values(), ids=BAD_DELEGATIONS)
def test_refuses_a_delegation_in_another_form(change: Change, code: str) -> None:
    parent = changed_role(ORG, [ORG_KEY], change)
    for check in (
        lambda: verify_role(parent, NAME.role, PROJECT),
        lambda: delegation_of(parent, NAME.role),
    ):
        with pytest.raises(SigningError) as caught:
            check()
        assert caught.value.code == code


def test_more_keys_than_anybody_has_do_not_raise_the_bound_of_thresholds() -> None:
    keys = [generate_key("p256") for _ in range(51)]
    parent = add_project(
        ORG, ComponentName.parse("minds-lab/many"), [k.public for k in keys], 51, [ORG_KEY], NOW
    )
    with pytest.raises(MalformedError, match="threshold"):
        delegation_of(parent, "minds-lab.many")


# --- an index that no honest publisher signs ----------------------------------------------

MANIFEST = NAME.target("1.0.0", "manifest.json")
BUNDLE = NAME.target("1.0.0", "release.sigstore.json")


def target(path: str, change: Change) -> Change:
    return lambda signed: change(signed["targets"][path])


def custom(change: Change) -> Change:
    return target(MANIFEST, lambda t: change(t["custom"]))


def copied(path: str) -> Change:
    return lambda s: s["targets"].update({path: s["targets"][MANIFEST]})


def second(version: str) -> Change:
    def apply(signed: dict[str, Any]) -> None:
        for path in (MANIFEST, BUNDLE):
            signed["targets"][path.replace("1.0.0", version)] = signed["targets"][path]

    return apply


BAD_INDEXES: dict[str, tuple[Change, str]] = {
    "path-of-another-project": (
        copied("minds-lab/other/1.0.0/manifest.json"),
        "path-not-delegated",
    ),
    "path-of-another-org": (copied("other/darija-lid/1.0.0/manifest.json"), "path-not-delegated"),
    "path-too-short": (copied("minds-lab/darija-lid/manifest.json"), "path-not-delegated"),
    "path-too-long": (copied(f"{MANIFEST}/x"), "path-not-delegated"),
    "path-parent": (copied("minds-lab/darija-lid/../manifest.json"), "malformed"),
    "path-escape": (copied("\x1b[2J/a/b/c"), "path-not-delegated"),
    "extra-file": (copied("minds-lab/darija-lid/1.0.0/notes.txt"), "malformed"),
    "no-bundle": (lambda s: s["targets"].pop(BUNDLE), "malformed"),
    "no-manifest": (lambda s: s["targets"].pop(MANIFEST), "malformed"),
    "version-not-canonical": (second("v1.0"), "malformed"),
    "version-local": (second("1.0+x"), "malformed"),
    "version-in-two-spellings": (second("1.0"), "malformed"),
    "no-custom": (target(MANIFEST, lambda t: t.pop("custom")), "malformed"),
    "custom-list": (target(MANIFEST, lambda t: t.update(custom=[])), "malformed"),
    "custom-unknown": (custom(lambda c: c.update(more=1)), "malformed"),
    "kind": (custom(lambda c: c.update(kind="agent")), "malformed"),
    "no-kind": (custom(lambda c: c.pop("kind")), "malformed"),
    "requires-list": (custom(lambda c: c.update(requires=[])), "malformed"),
    "requires-name": (custom(lambda c: c.update(requires={"x": ""})), "malformed"),
    "requires-range": (custom(lambda c: c.update(requires={"a/b": "x"})), "malformed"),
    "requires-number": (custom(lambda c: c.update(requires={"a/b": 1})), "malformed"),
    "yanked-true": (custom(lambda c: c.update(yanked=True)), "malformed"),
    "yanked-long": (custom(lambda c: c.update(yanked="a" * 1001)), "malformed"),
    "yanked-escape": (custom(lambda c: c.update(yanked="\x1b[2J")), "malformed"),
    "length-true": (target(MANIFEST, lambda t: t.update(length=True)), "malformed"),
    "bundle-length-true": (target(BUNDLE, lambda t: t.update(length=True)), "malformed"),
    "length-negative": (target(MANIFEST, lambda t: t.update(length=-1)), "malformed"),
    "length-text": (target(MANIFEST, lambda t: t.update(length="1")), "malformed"),
    "hash-sha512": (
        target(MANIFEST, lambda t: t.update(hashes={"sha512": "0" * 128})),
        "malformed",
    ),
    "hash-too": (target(MANIFEST, lambda t: t["hashes"].update(md5="0" * 32)), "malformed"),
    "hash-upper": (target(BUNDLE, lambda t: t.update(hashes={"sha256": "A" * 64})), "malformed"),
    "hash-none": (target(BUNDLE, lambda t: t.update(hashes={})), "malformed"),
}


@pytest.mark.parametrize(("change", "code"), BAD_INDEXES.values(), ids=BAD_INDEXES)
def test_refuses_an_index_in_another_form(change: Change, code: str) -> None:
    with pytest.raises(SigningError) as caught:
        releases_of(changed_role(PROJECT, [PUBLISHER], change), NAME)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


# --- what is no TUF metadata --------------------------------------------------------------


def signed_part(change: Change) -> bytes:
    return changed_role(PROJECT, [PUBLISHER], change)


NOT_METADATA = {
    "empty": b"",
    "list": b"[]",
    "no-signed": b'{"signatures": []}',
    "signed-list": b'{"signatures": [], "signed": []}',
    "more-beside-signed": json.dumps({**json.loads(PROJECT), "more": 1}).encode(),
    "duplicate-key": PROJECT.replace(b'"signatures":', b'"signed":{},"signatures":', 1),
    "root-as-targets": WORLD.root,
    "snapshot-as-targets": WORLD.snapshot,
    "no-type": signed_part(lambda s: s.pop("_type")),
    "no-version": signed_part(lambda s: s.pop("version")),
    "version-zero": signed_part(lambda s: s.update(version=0)),
    "version-true": signed_part(lambda s: s.update(version=True)),
    "version-text": signed_part(lambda s: s.update(version="1")),
    "version-null": signed_part(lambda s: s.update(version=None)),
    "version-beyond": PROJECT.replace(b'"version":1', b'"version":9007199254740992'),
    "version-fraction": PROJECT.replace(b'"version":1', b'"version":1.0'),
    "fraction-in-unknown-field": PROJECT.replace(b'"version":1', b'"version":1,"x":1.5'),
    "spec-version-2": signed_part(lambda s: s.update(spec_version="2.0.0")),
    "spec-version-none": signed_part(lambda s: s.pop("spec_version")),
    "expires-word": signed_part(lambda s: s.update(expires="never")),
    "expires-number": signed_part(lambda s: s.update(expires=5)),
    "expires-local": signed_part(lambda s: s.update(expires="2027-01-01T00:00:00+01:00")),
    "no-targets": signed_part(lambda s: s.pop("targets")),
    "targets-list": signed_part(lambda s: s.update(targets=[])),
    "target-text": signed_part(lambda s: s["targets"].update(x="y")),
    "delegations-null": signed_part(lambda s: s.update(delegations=None)),
    "delegations-empty": signed_part(lambda s: s.update(delegations={})),
    "delegates-top-level": signed_part(
        lambda s: s.update(
            delegations={
                "keys": {},
                "roles": [
                    {
                        "name": "root",
                        "keyids": [],
                        "threshold": 1,
                        "terminating": True,
                        "paths": [],
                    }
                ],
            }
        )
    ),
    "too-large": PROJECT + b" " * MAX_ROLE_BYTES,
}


@pytest.mark.parametrize("data", NOT_METADATA.values(), ids=NOT_METADATA)
def test_refuses_what_is_no_targets_metadata(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_targets(data, "role")


@pytest.mark.parametrize("data", [PROJECT, b"{}", b""], ids=["targets", "empty", "nothing"])
def test_refuses_what_is_no_root(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_root(data)


def test_the_tests_own_signer_makes_valid_roles() -> None:
    data = signed_by(json.loads(PROJECT)["signed"], PUBLISHER)
    assert verify_role(ORG, NAME.role, data).signed == parse_targets(PROJECT, "x").signed
