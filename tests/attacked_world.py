"""A release that verifies, and the pieces of attacks on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from builders import NAME, NOW, World, changed_json, changed_role, entries, sha256, tree
from log_builders import Log

from signing import oms
from signing.encoding import canonical_json
from signing.errors import SigningError
from signing.keys import generate_key
from signing.names import ComponentName
from signing.report import Check, Report
from signing.roles import role_version

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
    # Of what is handed on by name nothing is known to the types.
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
