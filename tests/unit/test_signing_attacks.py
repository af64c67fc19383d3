"""For every check of `verify_release` attacks that fail exactly there."""

from __future__ import annotations

import json

import pytest
from attacked_world import (
    AUTHORITY,
    BUNDLE_PATH,
    DESCRIPTION,
    ELSEWHERE,
    FILES,
    FRESHNESS,
    HISTORY,
    INDEX,
    MALLEABLE,
    MANIFEST_PATH,
    NEWER,
    ORG_KEY,
    ORGANISATION,
    OTHER_WORLD,
    PUBLISHER,
    PUBLISHERS,
    RELEASE,
    ROLES,
    ROOT,
    SIGNATURE,
    STATUS,
    STRANGER,
    TITLES,
    WORLD,
    Attack,
    add_target,
    assert_fails_at,
    bundle_over,
    delegations,
    described_otherwise,
    expired,
    forged_root,
    handed_to,
    indexed,
    keys_of,
    log_proof,
    proof_in_another_log,
    proof_of_another_role,
    role,
    rotated,
    touched,
    twofold_root,
    unlogged,
    verify,
    with_files,
)
from builders import (
    NAME,
    NOW,
    changed_json,
    changed_role,
    entries,
    later,
    manifest_of,
    sha256,
    tree,
)
from log_builders import NamedKey

from signing.manifest import FileEntry
from signing.names import ComponentName, parse_version
from signing.role_edits import new_role
from signing.tlog.policy import Witnesses

ATTACKS: dict[str, Attack] = {
    # status
    "status-missing": Attack(STATUS, "status-missing", lambda: {"status": None}),
    "status-of-nobody": Attack(STATUS, "malformed", lambda: {"status": b"x"}),
    "status-by-the-server": Attack(
        STATUS,
        "threshold-not-met",
        lambda: {"status": WORLD.sign_status(WORLD.status(), WORLD.snapshot_key)},
    ),
    "status-stale": Attack(
        STATUS,
        "status-stale",
        lambda: {"status": WORLD.sign_status(WORLD.status(at=later(hours=-49)))},
    ),
    "withheld": Attack(
        STATUS,
        "release-revoked",
        lambda: {"status": WORLD.sign_status(WORLD.status(WORLD.withheld(RELEASE, "revoked")))},
    ),
    # history
    "no-proof": Attack(HISTORY, "not-in-log", lambda: {"log_proof": None}),
    "role-that-is-not-in-the-log": Attack(HISTORY, "not-in-log", unlogged),
    "proof-of-another-role": Attack(HISTORY, "not-in-log", proof_of_another_role),
    "proof-in-another-log": Attack(HISTORY, "threshold-not-met", proof_in_another_log),
    "proof-under-another-name": Attack(
        HISTORY,
        "log-unknown",
        lambda: log_proof(lambda data: data.replace(b"forge.example", b"gorge.example")),
    ),
    "no-witness": Attack(
        HISTORY,
        "witnesses-missing",
        lambda: {"witnesses": Witnesses(keys=(NamedKey("w.example").as_witness,))},
    ),
    "no-proof-at-all": Attack(HISTORY, "malformed", lambda: {"log_proof": b"x"}),
    # root of trust
    "no-root": Attack(ROOT, "chain-broken", lambda: {"roots": ()}),
    "another-registry": Attack(ROOT, "chain-broken", lambda: {"roots": (OTHER_WORLD.root,)}),
    "another-fingerprint": Attack(
        ROOT, "chain-broken", lambda: {"fingerprint": OTHER_WORLD.fingerprint}
    ),
    "shortened-fingerprint": Attack(
        ROOT, "chain-broken", lambda: {"fingerprint": WORLD.fingerprint[:20]}
    ),
    "empty-fingerprint": Attack(ROOT, "chain-broken", lambda: {"fingerprint": ""}),
    "root-written-otherwise": Attack(
        ROOT, "chain-broken", lambda: {"roots": (changed_json(WORLD.root, lambda r: None) + b"\n",)}
    ),
    "forged-next-root": Attack(
        ROOT, "threshold-not-met", lambda: {"roots": (WORLD.root, forged_root())}
    ),
    "next-root-not-by-the-old-key": Attack(
        ROOT, "threshold-not-met", lambda: {"roots": (WORLD.root, rotated(by_old=False))}
    ),
    "next-root-not-by-the-new-key": Attack(
        ROOT, "threshold-not-met", lambda: {"roots": (WORLD.root, rotated(by_new=False))}
    ),
    "next-root-skips-one": Attack(
        ROOT, "rollback", lambda: {"roots": (WORLD.root, rotated(version=3))}
    ),
    "next-root-same-version": Attack(
        ROOT, "rollback", lambda: {"roots": (WORLD.root, rotated(version=1))}
    ),
    "root-twice": Attack(ROOT, "rollback", lambda: {"roots": (WORLD.root, WORLD.root)}),
    "next-root-no-json": Attack(ROOT, "malformed", lambda: {"roots": (WORLD.root, b"x")}),
    "next-root-is-targets": Attack(
        ROOT, "malformed", lambda: {"roots": (WORLD.root, ROLES["targets"])}
    ),
    "next-root-key-under-two-ids": Attack(
        ROOT, "malformed", lambda: {"roots": (WORLD.root, twofold_root())}
    ),
    "targets-by-a-stranger": Attack(ROOT, "threshold-not-met", role("targets", STRANGER)),
    "targets-by-stolen-snapshot-key": Attack(
        ROOT, "threshold-not-met", role("targets", WORLD.snapshot_key)
    ),
    "targets-by-stolen-timestamp-key": Attack(
        ROOT, "threshold-not-met", role("targets", WORLD.timestamp_key)
    ),
    "targets-touched": Attack(ROOT, "threshold-not-met", touched("targets", "targets")),
    "targets-of-another-registry": Attack(
        ROOT, "threshold-not-met", lambda: {"targets": OTHER_WORLD.roles["targets"]}
    ),
    "targets-with-a-target": Attack(
        ROOT, "path-not-delegated", role("targets", AUTHORITY.targets_key, add_target("a/b/c/d"))
    ),
    "targets-names-an-organisation": Attack(
        ROOT,
        "path-not-delegated",
        role(
            "targets",
            AUTHORITY.targets_key,
            delegations(lambda d: d["roles"].append({**d["roles"][0], "name": "minds-lab"})),
        ),
    ),
    # organisation
    "registrar-by-a-stranger": Attack(
        ORGANISATION, "threshold-not-met", role("registrar", STRANGER)
    ),
    "registrar-by-stolen-snapshot-key": Attack(
        ORGANISATION, "threshold-not-met", role("registrar", WORLD.snapshot_key)
    ),
    "registrar-touched": Attack(
        ORGANISATION, "threshold-not-met", touched("registrar", "registrar")
    ),
    "registrar-is-the-organisation": Attack(
        ORGANISATION, "threshold-not-met", lambda: {"registrar": ROLES[NAME.org]}
    ),
    "registrar-not-delegated": Attack(
        ORGANISATION,
        "chain-broken",
        role("targets", AUTHORITY.targets_key, lambda s: s.pop("delegations")),
    ),
    "registrar-with-a-target": Attack(
        ORGANISATION,
        "path-not-delegated",
        role("registrar", AUTHORITY.registrar_key, add_target("a/b/c/d")),
    ),
    "organisation-unregistered": Attack(
        ORGANISATION,
        "chain-broken",
        role("registrar", AUTHORITY.registrar_key, delegations(lambda d: d.update(roles=[]))),
    ),
    "organisation-by-a-stranger": Attack(
        ORGANISATION, "threshold-not-met", role(NAME.org, STRANGER, handed_to(STRANGER))
    ),
    "organisation-by-stolen-snapshot-key": Attack(
        ORGANISATION, "threshold-not-met", role(NAME.org, WORLD.snapshot_key)
    ),
    "organisation-by-stolen-timestamp-key": Attack(
        ORGANISATION, "threshold-not-met", role(NAME.org, WORLD.timestamp_key)
    ),
    "organisation-by-its-publisher": Attack(
        ORGANISATION, "threshold-not-met", role(NAME.org, PUBLISHER)
    ),
    "organisation-is-another": Attack(
        ORGANISATION, "threshold-not-met", lambda: {"organisation": ROLES["other-lab"]}
    ),
    "organisation-keys-replaced": Attack(
        ORGANISATION,
        "threshold-not-met",
        role("registrar", AUTHORITY.registrar_key, handed_to(STRANGER)),
    ),
    "organisation-with-a-target": Attack(
        ORGANISATION, "path-not-delegated", role(NAME.org, ORG_KEY, add_target(MANIFEST_PATH))
    ),
    "organisation-names-anothers-project": Attack(
        ORGANISATION,
        "path-not-delegated",
        role(
            NAME.org,
            ORG_KEY,
            delegations(
                lambda d: d["roles"].append(
                    {**d["roles"][0], "name": "other-lab.tool", "paths": ["other-lab/tool/*/*"]}
                )
            ),
        ),
    ),
    "organisation-with-wide-paths": Attack(
        ORGANISATION,
        "path-not-delegated",
        role(
            "registrar",
            AUTHORITY.registrar_key,
            delegations(lambda d: d["roles"][0].update(paths=["*/*/*/*"])),
        ),
    ),
    # publishers
    "project-by-a-stranger": Attack(PUBLISHERS, "threshold-not-met", role(NAME.role, STRANGER)),
    "project-by-stolen-snapshot-key": Attack(
        PUBLISHERS, "threshold-not-met", role(NAME.role, WORLD.snapshot_key)
    ),
    "project-by-stolen-timestamp-key": Attack(
        PUBLISHERS, "threshold-not-met", role(NAME.role, WORLD.timestamp_key)
    ),
    "project-by-its-organisation": Attack(
        PUBLISHERS, "threshold-not-met", role(NAME.role, ORG_KEY)
    ),
    "project-by-another-publisher": Attack(
        PUBLISHERS,
        "threshold-not-met",
        role(NAME.role, WORLD.project_keys["other-lab/tool"]),
    ),
    "project-touched": Attack(PUBLISHERS, "threshold-not-met", touched("project", NAME.role)),
    "project-unregistered": Attack(
        PUBLISHERS,
        "chain-broken",
        role(NAME.org, ORG_KEY, delegations(lambda d: d.update(roles=[]))),
    ),
    "project-of-another-name": Attack(
        PUBLISHERS, "chain-broken", lambda: {"name": ComponentName.parse("minds-lab/other")}
    ),
    "publisher-revoked": Attack(
        PUBLISHERS, "threshold-not-met", role(NAME.org, ORG_KEY, handed_to(STRANGER))
    ),
    "project-not-terminating": Attack(
        PUBLISHERS,
        "malformed",
        role(NAME.org, ORG_KEY, delegations(lambda d: d["roles"][0].update(terminating=False))),
    ),
    "project-of-two-publishers-signed-by-one": Attack(
        PUBLISHERS,
        "threshold-not-met",
        role(
            NAME.org,
            ORG_KEY,
            delegations(
                lambda d: (
                    d["keys"].update(keys_of(STRANGER)),
                    d["roles"][0]["keyids"].append(STRANGER.public.keyid),
                    d["roles"][0].update(threshold=2),
                )
            ),
        ),
    ),
    "project-delegates": Attack(
        PUBLISHERS,
        "path-not-delegated",
        role(
            NAME.role,
            PUBLISHER,
            lambda s: s.update(delegations={"keys": {}, "roles": []}),
        ),
    ),
    "project-lists-anothers-path": Attack(
        PUBLISHERS,
        "path-not-delegated",
        role(NAME.role, PUBLISHER, add_target("other-lab/tool/1.0.0/manifest.json")),
    ),
    # freshness
    "targets-expired": Attack(
        FRESHNESS, "expired", role("targets", AUTHORITY.targets_key, expired)
    ),
    "registrar-expired": Attack(
        FRESHNESS, "expired", role("registrar", AUTHORITY.registrar_key, expired)
    ),
    "organisation-expired": Attack(FRESHNESS, "expired", role(NAME.org, ORG_KEY, expired)),
    "project-expired": Attack(FRESHNESS, "expired", role(NAME.role, PUBLISHER, expired)),
    "root-expired": Attack(
        FRESHNESS,
        "expired",
        lambda: {
            "roots": (
                WORLD.root,
                changed_role(
                    WORLD.root, [AUTHORITY.root_key], lambda s: (s.update(version=2), expired(s))
                ),
            )
        },
    ),
    "everything-old": Attack(FRESHNESS, "expired", lambda: {"now": later(days=500)}),
    "asked-after-the-expiry": Attack(
        FRESHNESS, "expired", lambda: {"refreshed_at": later(days=91), "now": later(days=92)}
    ),
    "asked-in-the-future": Attack(
        FRESHNESS, "expired", lambda: {"refreshed_at": later(minutes=5, seconds=1)}
    ),
    # manifest and index
    "manifest-no-json": Attack(INDEX, "malformed", lambda: {"manifest": b"x"}),
    "manifest-of-another-version": Attack(
        INDEX, "name-mismatch", lambda: {"manifest": NEWER.manifest.raw, "bundle": NEWER.bundle}
    ),
    "manifest-of-another-component": Attack(
        INDEX,
        "name-mismatch",
        lambda: {"manifest": ELSEWHERE.manifest.raw, "bundle": ELSEWHERE.bundle},
    ),
    "manifest-of-another-component-any-version": Attack(
        INDEX, "name-mismatch", lambda: {"manifest": ELSEWHERE.manifest.raw, "version": None}
    ),
    "another-version-asked-for": Attack(
        INDEX, "name-mismatch", lambda: {"version": parse_version("1.1.0")}
    ),
    "another-spelling-asked-for": Attack(
        INDEX, "name-mismatch", lambda: {"version": parse_version("1.0")}
    ),
    "manifest-not-in-the-index": Attack(
        INDEX,
        "chain-broken",
        lambda: {
            "manifest": manifest_of(tree(version="7.0")).raw,
            "version": parse_version("7.0"),
        },
    ),
    "other-content-under-the-version": Attack(
        INDEX,
        "digest-mismatch",
        lambda: {"manifest": manifest_of({**RELEASE.files, "README.md": b"evil"}).raw},
    ),
    "older-index": Attack(
        INDEX,
        "chain-broken",
        lambda: {
            "project": new_role([PUBLISHER], NOW, "project"),
        },
    ),
    "bundle-of-another-release": Attack(INDEX, "digest-mismatch", lambda: {"bundle": NEWER.bundle}),
    "bundle-signed-again": Attack(
        INDEX, "digest-mismatch", lambda: {"bundle": bundle_over(RELEASE.files)}
    ),
    "bundle-rewritten": Attack(INDEX, "digest-mismatch", lambda: {"bundle": MALLEABLE}),
    "index-of-another-length": Attack(
        INDEX,
        "digest-mismatch",
        role(NAME.role, PUBLISHER, lambda s: s["targets"][MANIFEST_PATH].update(length=1)),
    ),
    "index-of-another-bundle-length": Attack(
        INDEX,
        "digest-mismatch",
        role(NAME.role, PUBLISHER, lambda s: s["targets"][BUNDLE_PATH].update(length=1)),
    ),
    "index-of-another-kind": Attack(
        INDEX,
        "tree-mismatch",
        role(
            NAME.role,
            PUBLISHER,
            lambda s: s["targets"][MANIFEST_PATH]["custom"].update(kind="prompt"),
        ),
    ),
    "index-of-other-requirements": Attack(
        INDEX,
        "tree-mismatch",
        role(
            NAME.role,
            PUBLISHER,
            lambda s: s["targets"][MANIFEST_PATH]["custom"].update(requires={"evil/dep": ""}),
        ),
    ),
    # signature
    "bundle-by-a-stranger": Attack(
        SIGNATURE,
        "key-unlisted",
        lambda: indexed(RELEASE.manifest.raw, bundle_over(RELEASE.files, STRANGER)),
    ),
    "bundle-by-the-organisation": Attack(
        SIGNATURE,
        "key-unlisted",
        lambda: indexed(RELEASE.manifest.raw, bundle_over(RELEASE.files, ORG_KEY)),
    ),
    "bundle-listed-but-of-another-release": Attack(
        SIGNATURE,
        "digest-mismatch",
        lambda: indexed(RELEASE.manifest.raw, NEWER.bundle),
    ),
    "bundle-without-a-file": Attack(
        SIGNATURE,
        "tree-mismatch",
        lambda: indexed(
            RELEASE.manifest.raw,
            bundle_over({k: v for k, v in RELEASE.files.items() if k != "README.md"}),
        ),
    ),
    "bundle-with-one-file-more": Attack(
        SIGNATURE,
        "tree-mismatch",
        lambda: indexed(RELEASE.manifest.raw, bundle_over({**RELEASE.files, "more": b"x"})),
    ),
    "bundle-no-json": Attack(
        SIGNATURE, "malformed", lambda: indexed(RELEASE.manifest.raw, b"no bundle")
    ),
    "signature-over-another-list": Attack(
        SIGNATURE,
        "signature-invalid",
        lambda: indexed(
            RELEASE.manifest.raw,
            changed_json(
                RELEASE.bundle,
                lambda b: b["dsseEnvelope"].update(
                    signatures=json.loads(NEWER.bundle)["dsseEnvelope"]["signatures"]
                ),
            ),
        ),
    ),
    # a publisher's old releases after a change of keys
    "old-release-after-a-change-of-keys": Attack(
        SIGNATURE,
        "key-unlisted",
        lambda: {
            "organisation": changed_role(ROLES[NAME.org], [ORG_KEY], handed_to(STRANGER)),
            "project": changed_role(ROLES[NAME.role], [STRANGER], lambda s: None),
        },
    ),
    # description
    "forge-toml-of-another-release": Attack(
        DESCRIPTION, "digest-mismatch", lambda: {"forge_toml": NEWER.files["forge.toml"]}
    ),
    "forge-toml-empty": Attack(DESCRIPTION, "digest-mismatch", lambda: {"forge_toml": b""}),
    "manifest-says-another-licence": Attack(
        DESCRIPTION,
        "name-mismatch",
        described_otherwise(lambda m: m["metadata"].update(license="MIT")),
    ),
    "manifest-says-another-summary": Attack(
        DESCRIPTION,
        "name-mismatch",
        described_otherwise(lambda m: m["metadata"].update(summary="Safe")),
    ),
    "manifest-says-a-risk": Attack(
        DESCRIPTION,
        "name-mismatch",
        described_otherwise(
            lambda m: m["metadata"].update(risk={"class": "minimal", "rationale": "x"})
        ),
    ),
    # files
    "file-changed": Attack(
        FILES, "digest-mismatch", lambda: with_files(**{"README.md": b"# evil\n"})
    ),
    "file-missing": Attack(FILES, "tree-mismatch", lambda: with_files(**{"README.md": None})),
    "file-extra": Attack(FILES, "tree-mismatch", lambda: with_files(**{"evil.py": b"x"})),
    "file-extra-with-escape": Attack(
        FILES, "tree-mismatch", lambda: with_files(**{"\x1b[2Jevil": b"x"})
    ),
    "git-folder-planted": Attack(
        FILES, "tree-mismatch", lambda: with_files(**{".git/hooks/pre-commit": b"x"})
    ),
    "file-renamed": Attack(
        FILES, "tree-mismatch", lambda: with_files(**{"README.md": None, "readme.md": b"# card\n"})
    ),
    "no-files-at-all": Attack(FILES, "tree-mismatch", lambda: {"observed": {}}),
    "file-of-another-length": Attack(
        FILES,
        "length-mismatch",
        lambda: {
            "observed": {
                **entries(RELEASE.files),
                "README.md": FileEntry("README.md", 8, sha256(b"# card\n")),
            }
        },
    ),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_every_attack_fails_exactly_at_its_check(attack: Attack) -> None:
    assert_fails_at(verify(**attack.change()), attack.title, attack.code)


@pytest.mark.parametrize("title", TITLES[:-1])
def test_every_check_has_its_attacks(title: str) -> None:
    assert any(attack.title == title for attack in ATTACKS.values())
