"""`verify_release`: a world in which every check passes, keys that come and go, and the clock."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from attacked_world import (
    AUTHORITY,
    DESCRIPTION,
    FILES,
    FRESHNESS,
    INDEX,
    ORG_KEY,
    ORGANISATION,
    OTHER_RELEASE,
    OTHER_WORLD,
    PUBLISHER,
    PUBLISHERS,
    RELEASE,
    ROLES,
    ROOT,
    SIGNATURE,
    TITLES,
    WORLD,
    assert_fails_at,
    bundle_over,
    delegations,
    handed_to,
    indexed,
    keys_of,
    rotated,
    verify,
)
from builders import (
    NAME,
    NOW,
    changed_role,
    entries,
    later,
    manifest_of,
    sha256,
    signed_by,
    signed_release,
    tree,
)

from signing.digests import fingerprint
from signing.encoding import canonical_json
from signing.errors import VerificationError
from signing.keys import generate_key
from signing.names import parse_version
from signing.report import Report
from signing.role_edits import add_project, add_release, new_role, set_yanked
from signing.verify import verify_release


def test_a_sound_release_passes_every_check() -> None:
    report = verify()
    assert tuple(check.title for check in report.checks) == TITLES
    assert [check.number for check in report.checks] == list(range(1, 12))
    assert [check.status for check in report.checks] == ["passed"] * 10 + ["not-checked"]
    assert report.ok
    assert report.first_failure is None
    assert report.require() == RELEASE.manifest
    for check in report.checks:
        assert check.establishes
        assert check.does_not_establish
        assert check.detail
        assert check.error is None


def test_the_details_say_what_was_found() -> None:
    details = {check.title: check.detail for check in verify().checks}
    assert WORLD.fingerprint in details[ROOT]
    assert "startup: Minds-Lab" in details[ORGANISATION]
    assert ORG_KEY.public.keyid[:12] in details[ORGANISATION]
    assert PUBLISHER.public.keyid[:12] in details[PUBLISHERS]
    assert "1 of 1" in details[PUBLISHERS]
    assert "registrar expires first, 2026-07-30" in details[FRESHNESS]
    assert RELEASE.manifest.digest in details[INDEX]
    assert "3 files" in details[SIGNATURE]
    assert details[DESCRIPTION] == "model, Apache-2.0"
    assert f"{RELEASE.manifest.total_size} bytes" in details[FILES]


def test_what_is_not_at_hand_is_not_checked_and_does_not_fail() -> None:
    report = verify(observed=None, forge_toml=None)
    assert report.ok
    statuses = {check.title: check.status for check in report.checks}
    assert statuses[DESCRIPTION] == statuses[FILES] == "not-checked"
    assert statuses[SIGNATURE] == "passed"


def test_any_version_will_do_where_none_is_named() -> None:
    assert verify(version=None).require().version == RELEASE.manifest.version


def test_a_yanked_release_verifies_and_says_so() -> None:
    project = set_yanked(
        ROLES[NAME.role], NAME, parse_version("1.0.0"), "bad data", [PUBLISHER], NOW
    )
    report = verify(project=project)
    assert report.ok
    assert "YANKED: bad data" in report.checks[4].detail


def test_an_ordinary_organisation_without_a_profile_verifies() -> None:
    registrar = changed_role(
        ROLES["registrar"],
        [AUTHORITY.registrar_key],
        lambda s: s["delegations"]["roles"][0].pop("forge"),
    )
    assert verify(registrar=registrar).ok


def test_forge_toml_of_another_version_or_kind_is_another_description() -> None:
    for options in ({"version": "1.0"}, {"kind": "library"}):
        files = {
            **RELEASE.files,
            "forge.toml": tree(requires={"a/b": ">=1"}, **options)["forge.toml"],
        }
        honest = manifest_of({**RELEASE.files})
        value = json.loads(honest.raw)
        for entry in value["files"]:
            if entry["path"] == "forge.toml":
                data = files["forge.toml"]
                entry.update(size=len(data), sha256=sha256(data))
        report = verify(
            **indexed(canonical_json(value), bundle_over(files)),
            forge_toml=files["forge.toml"],
            observed=entries(files),
        )
        assert_fails_at(report, DESCRIPTION, "name-mismatch")


def test_a_forge_toml_that_cannot_be_read_is_no_description() -> None:
    files = {**RELEASE.files, "forge.toml": b"[component]\n"}
    value = json.loads(RELEASE.manifest.raw)
    for entry in value["files"]:
        if entry["path"] == "forge.toml":
            entry.update(size=12, sha256=sha256(b"[component]\n"))
    report = verify(
        **indexed(canonical_json(value), bundle_over(files)),
        forge_toml=files["forge.toml"],
        observed=entries(files),
    )
    assert_fails_at(report, DESCRIPTION, "malformed")


# --- keys come and go ---------------------------------------------------------------------


def test_a_root_chain_with_rotation_verifies() -> None:
    report = verify(roots=(WORLD.root, rotated()))
    assert report.ok
    assert "root version 2" in report.checks[0].detail
    assert WORLD.fingerprint in report.checks[0].detail


def test_a_rotated_root_alone_is_not_the_pinned_one() -> None:
    assert_fails_at(verify(roots=(rotated(),)), ROOT, "chain-broken")
    assert verify(roots=(rotated(),), fingerprint=fingerprint(rotated())).ok


def test_targets_by_a_key_that_the_newest_root_dropped_fails() -> None:
    fresh = generate_key("ed25519")

    def change(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["keys"].update(keys_of(fresh))
        signed["roles"]["targets"]["keyids"] = [fresh.public.keyid]

    root = changed_role(WORLD.root, [AUTHORITY.root_key], change)
    assert_fails_at(verify(roots=(WORLD.root, root)), ROOT, "threshold-not-met")
    targets = changed_role(ROLES["targets"], [fresh], lambda s: None)
    assert verify(roots=(WORLD.root, root), targets=targets).ok


def test_after_a_revocation_old_releases_fail_until_the_new_key_signs_them() -> None:
    """The organisation replaces a stolen publisher's key."""
    new = generate_key("p256")
    organisation = changed_role(ROLES[NAME.org], [ORG_KEY], handed_to(new))
    # 1. The old key's index no longer counts, whenever it was signed.
    assert_fails_at(verify(organisation=organisation), PUBLISHERS, "threshold-not-met")
    # 2. The new key signs the index; the old bundle in it is still by the revoked key.
    project = changed_role(ROLES[NAME.role], [new], lambda s: None)
    report = verify(organisation=organisation, project=project)
    assert_fails_at(report, SIGNATURE, "key-unlisted")
    # 3. Only a release signed anew by the new key verifies.
    again = bundle_over(RELEASE.files, new)
    assert verify(**{**indexed(RELEASE.manifest.raw, again, new), "organisation": organisation}).ok


def test_a_thief_of_all_online_keys_can_forge_nothing() -> None:
    """The attacker signs every role with both online keys and delegates to an own key."""
    thief = generate_key("p256")
    online = [WORLD.snapshot_key, WORLD.timestamp_key]
    files = tree()
    evil = signed_release({**files, "evil.py": b"x"}, thief)
    org = add_project(
        new_role(online, NOW, "organisation"), NAME, [thief.public], 1, [*online, thief], NOW
    )
    project = add_release(None, evil.manifest, evil.bundle, [thief, *online], NOW)
    report = WORLD.verify(evil, evidence=WORLD.evidence(evil, organisation=org, project=project))
    assert_fails_at(report, ORGANISATION, "threshold-not-met")
    report = WORLD.verify(evil, evidence=WORLD.evidence(evil, project=project))
    assert_fails_at(report, PUBLISHERS, "threshold-not-met")


def test_two_of_three_publishers_sign() -> None:
    keys = [generate_key("p256") for _ in range(3)]
    organisation = changed_role(
        ROLES[NAME.org],
        [ORG_KEY],
        delegations(
            lambda d: (
                d.update(keys={k: v for key in keys for k, v in keys_of(key).items()}),
                d["roles"][0].update(keyids=[k.public.keyid for k in keys], threshold=2),
            )
        ),
    )
    bundle = bundle_over(RELEASE.files, keys[1])
    evidence = indexed(RELEASE.manifest.raw, bundle, keys[0], keys[2])
    assert verify(**evidence, organisation=organisation).ok
    alone = {**evidence, **{"project": indexed(RELEASE.manifest.raw, bundle, keys[0])["project"]}}
    assert_fails_at(verify(**alone, organisation=organisation), PUBLISHERS, "threshold-not-met")


# --- the clock ----------------------------------------------------------------------------


def test_expiry_counts_at_the_last_contact() -> None:
    """A machine without a network verifies what it has, and the report says how old it is."""
    report = verify(refreshed_at=NOW, now=later(days=700))
    assert report.ok
    assert "700 days ago" in report.checks[3].detail
    report = verify(refreshed_at=NOW, now=later(hours=7))
    assert "7 hours ago" in report.checks[3].detail
    assert "ago" not in verify(refreshed_at=NOW, now=later(minutes=59)).checks[3].detail


def test_without_a_last_contact_expiry_counts_now() -> None:
    last = later(days=90) - timedelta(seconds=1)
    assert verify(now=last, status=WORLD.sign_status(WORLD.status(at=last))).ok
    assert_fails_at(verify(now=later(days=90)), FRESHNESS, "expired")


def test_a_clock_a_little_behind_is_no_lie() -> None:
    assert verify(refreshed_at=later(minutes=5)).ok


# --- the report ---------------------------------------------------------------------------


def test_a_report_without_a_release_cannot_be_required() -> None:
    with pytest.raises(VerificationError) as caught:
        Report(checks=(), release=None).require()
    assert caught.value.code == "chain-broken"


def test_nothing_is_reached_behind_a_failure() -> None:
    report = verify(targets=b"x")
    assert [check.status for check in report.checks] == ["failed"] + ["not-checked"] * 10
    assert all("not reached" in check.detail for check in report.checks[1:])
    assert report.release is None


def test_the_procedure_takes_exactly_what_it_is_given() -> None:
    """Any other World's evidence is another world's: nothing is shared behind the scenes."""
    report = verify_release(
        OTHER_WORLD.evidence(OTHER_RELEASE),
        NAME,
        None,
        fingerprint=OTHER_WORLD.fingerprint,
        now=NOW,
        observed=None,
        forge_toml=None,
    )
    assert report.ok
    assert_fails_at(
        WORLD.verify(RELEASE, evidence=OTHER_WORLD.evidence(OTHER_RELEASE)), ROOT, "chain-broken"
    )


def test_the_tests_own_signer_is_believed() -> None:
    data = signed_by(json.loads(ROLES[NAME.role])["signed"], PUBLISHER)
    assert verify(project=data).ok
