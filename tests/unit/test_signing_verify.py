"""`verify_release`: for every check an attack that fails there, and a world in which none does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from builders import (
    NAME,
    NOW,
    World,
    changed_json,
    changed_role,
    entries,
    later,
    manifest_of,
    sha256,
    signed_by,
    signed_release,
    tree,
)
from log_builders import Log, NamedKey

from signing import oms
from signing.digests import fingerprint
from signing.encoding import canonical_json
from signing.errors import SigningError, VerificationError
from signing.keys import generate_key
from signing.manifest import FileEntry
from signing.names import ComponentName, parse_version
from signing.report import Check, Report
from signing.role_edits import add_project, add_release, new_role, set_yanked
from signing.roles import role_version
from signing.tlog.policy import Witnesses
from signing.verify import verify_release

Change = Callable[[dict[str, Any]], object]
WORLD = World(log=Log(), with_status=True)
RELEASE = WORLD.publish(tree(requires={"a/b": ">=1"}))
NEWER = WORLD.publish(tree(version="1.1.0"))
ELSEWHERE = WORLD.publish(tree(ComponentName.parse("other-lab/tool")))
ORG_KEY, PUBLISHER = WORLD.org_keys[NAME.org], WORLD.project_keys[str(NAME)]
AUTHORITY = WORLD.authority
ROLES = WORLD.roles
STRANGER = generate_key("p256")
ONLINE = WORLD.snapshot_key

TITLES = (
    "root of trust",
    "organisation",
    "publishers",
    "freshness",
    "manifest and index",
    "signature",
    "description",
    "files",
    "history",
    "status",
    "reviews",
)
ROOT, ORGANISATION, PUBLISHERS, FRESHNESS, INDEX, SIGNATURE, DESCRIPTION, FILES = TITLES[:8]
HISTORY, STATUS, REVIEWS = TITLES[8:]


def verify(**changed: Any) -> Report:
    """The report on `RELEASE`; ``changed`` replaces evidence by name, or an option."""
    names = (
        "roots",
        "targets",
        "registrar",
        "organisation",
        "project",
        "manifest",
        "bundle",
        "log_proof",
        "status",
    )
    replaced = {key: changed.pop(key) for key in (*names, "refreshed_at") if key in changed}
    return WORLD.verify(RELEASE, evidence=WORLD.evidence(RELEASE, **replaced), **changed)  # type: ignore[no-any-return]


def assert_fails_at(report: Report, title: str, code: str) -> Check:
    failure = report.first_failure
    assert failure is not None, "everything passed"
    assert (failure.title, failure.error and failure.error.code) == (title, code), failure.detail
    place = TITLES.index(title)
    assert [check.status for check in report.checks[:place]] == ["passed"] * place
    assert {check.status for check in report.checks[place + 1 :]} <= {"not-checked"}
    assert not report.ok
    with pytest.raises(SigningError) as caught:
        report.require()
    assert caught.value is failure.error
    assert failure.detail.isprintable()
    return failure


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


# --- each attack, and where it ends -------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    title: str
    code: str
    change: Callable[[], dict[str, Any]]


def role(name: str, key: Any, change: Change = lambda s: None) -> Callable[[], dict[str, Any]]:
    """Evidence in which one role is changed and signed by ``key``."""
    field = {"targets": "targets", "registrar": "registrar", NAME.org: "organisation"}.get(
        name, "project"
    )
    return lambda: {field: changed_role(ROLES[name], [key], change)}


def touched(field: str, name: str) -> Callable[[], dict[str, Any]]:
    """A role changed on the way, with the signatures it had."""
    return lambda: {
        field: changed_json(
            ROLES[name], lambda m: m["signed"].update(expires="2030-01-01T00:00:00Z")
        )
    }


def expired(signed: dict[str, Any]) -> None:
    signed["expires"] = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


def add_target(path: str) -> Change:
    return lambda s: s["targets"].update({path: {"length": 1, "hashes": {"sha256": "0" * 64}}})


def delegations(change: Change) -> Change:
    return lambda s: change(s["delegations"])


def keys_of(signer: Any) -> dict[str, Any]:
    return {signer.public.keyid: signer.public.tuf.to_dict()}


def handed_to(signer: Any) -> Change:
    """The first delegation gets the key of ``signer`` instead of its own."""
    return delegations(
        lambda d: (
            d.update(keys=keys_of(signer)),
            d["roles"][0].update(keyids=[signer.public.keyid]),
        )
    )


OTHER_WORLD = World()
OTHER_RELEASE = OTHER_WORLD.publish(tree(requires={"a/b": ">=1"}))


def forged_root() -> bytes:
    """The genuine root with the attacker's key as its targets role, signed by the attacker."""

    def change(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["keys"].update(keys_of(STRANGER))
        for name in ("root", "targets"):
            signed["roles"][name]["keyids"] = [STRANGER.public.keyid]

    return changed_role(WORLD.root, [STRANGER], change)


def rotated(version: int = 2, by_new: bool = True, by_old: bool = True) -> bytes:
    """The next root: a new root key, everything else as it was."""

    def change(signed: dict[str, Any]) -> None:
        signed["version"] = version
        signed["keys"].update(keys_of(NEW_ROOT))
        signed["roles"]["root"]["keyids"] = [NEW_ROOT.public.keyid]

    keys = [NEW_ROOT] * by_new + [AUTHORITY.root_key] * by_old
    return changed_role(WORLD.root, keys, change)


def twofold_root() -> bytes:
    def change(signed: dict[str, Any]) -> None:
        keyid = AUTHORITY.root_key.public.keyid
        signed["version"] = 2
        signed["keys"]["0" * 64] = signed["keys"][keyid]
        signed["roles"]["root"]["keyids"].append("0" * 64)

    return changed_role(WORLD.root, [AUTHORITY.root_key], change)


NEW_ROOT = generate_key("ed25519")
MANIFEST_PATH = NAME.target("1.0.0", "manifest.json")
BUNDLE_PATH = NAME.target("1.0.0", "release.sigstore.json")


def indexed(manifest: bytes, bundle: bytes, *keys: Any) -> dict[str, Any]:
    """Manifest and bundle with an index that lists exactly these, signed by the publisher."""

    def change(signed: dict[str, Any]) -> None:
        for path, data in ((MANIFEST_PATH, manifest), (BUNDLE_PATH, bundle)):
            signed["targets"][path].update(length=len(data), hashes={"sha256": sha256(data)})

    project = changed_role(ROLES[NAME.role], keys or [PUBLISHER], change)
    return {"project": project, "manifest": manifest, "bundle": bundle}


def bundle_over(files: dict[str, bytes], key: Any = PUBLISHER) -> bytes:
    return oms.sign_bundle(entries(files).values(), str(RELEASE.manifest), key)


def with_files(**changed: bytes | None) -> dict[str, Any]:
    files = dict(RELEASE.files)
    for path, data in changed.items():
        if data is None:
            del files[path]
        else:
            files[path] = data
    return {"observed": entries(files)}


def lying_manifest(change: Change) -> bytes:
    value = json.loads(RELEASE.manifest.raw)
    change(value)
    return canonical_json(value)


def described_otherwise(change: Change) -> Callable[[], dict[str, Any]]:
    """Manifest and bundle agree with each other and the index, but not with forge.toml."""
    return lambda: indexed(lying_manifest(change), RELEASE.bundle)


MALLEABLE = changed_json(RELEASE.bundle, lambda b: b["verificationMaterial"].pop("tlogEntries"))


def log_proof(change: Callable[[bytes], bytes] = bytes) -> dict[str, bytes]:
    """The genuine proof, changed."""
    proof = WORLD.evidence(RELEASE).log_proof
    assert proof is not None
    return {"log_proof": change(proof)}


def proof_of_another_role() -> dict[str, bytes]:
    assert WORLD.log is not None
    return {"log_proof": WORLD.log.proof(NAME.org, WORLD.roles[NAME.org], NOW)}


def proof_in_another_log() -> dict[str, bytes]:
    log = Log()
    log.add_role(NAME.role, role_version(WORLD.roles[NAME.role]), WORLD.roles[NAME.role])
    return {"log_proof": log.proof(NAME.role, WORLD.roles[NAME.role], NOW)}


def unlogged() -> dict[str, bytes]:
    """A release index that everybody signed who must, and that is not in the log."""
    project = changed_role(ROLES[NAME.role], [PUBLISHER], lambda r: r.update(version=7))
    return {"project": project, **log_proof()}


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
