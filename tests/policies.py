"""A registry with a policy in it, and what its interface says of releases, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from builders import NAME, Release, World, forge_toml, sha256

from signing.bodies import DECISION, Body, role_of, target_path
from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName
from signing.review import CRITERIA, Verdict, sign_decision
from signing.review_edits import edit_reviews
from signing.role_edits import delegate, sign_role
from signing.roles import parse_targets

BASELINE = ComponentName.parse("gov-ma/health-baseline")
PICKLE = 'formats-denied = ["pickle"]'


def policy_tree(
    rules: str, version: str = "1.0.0", name: ComponentName = BASELINE
) -> dict[str, bytes]:
    text = f'schema = 1\ntitle = "Health baseline"\n[rules]\n{rules}\n'
    return {
        "forge.toml": forge_toml(name, version, kind="policy"),
        "README.md": b"# Health baseline\n",
        "policy.toml": text.encode(),
    }


def publish_policy(
    world: World, rules: str, version: str = "1.0.0", name: ComponentName = BASELINE
) -> Release:
    return world.publish(policy_tree(rules, version, name))


def with_file(path: str, version: str = "1.0.0", name: ComponentName = NAME) -> dict[str, bytes]:
    """A small release that holds one file more."""
    return {
        "forge.toml": forge_toml(name, version),
        "README.md": b"# card\n",
        path: version.encode() * 20,
    }


def said(
    published: Mapping[str, datetime],
    name: ComponentName = NAME,
    **more: Any,
) -> dict[str, bytes]:
    """``{URL path: bytes}`` of what the registry's interface says of ``name``: when each version
    was published; ``findings`` and ``scans`` of every version."""
    base = f"/api/v1/components/{name}"
    versions = [
        {"version": version, "published_at": at.isoformat()} for version, at in published.items()
    ]
    answers = {base: {"component": str(name), "versions": versions}}
    for version in published:
        for kind, items in more.items():
            answers[f"{base}/{version}/{kind}"] = {kind: items}
    return {path: json.dumps(answer).encode() for path, answer in answers.items()}


def days_ago(world: World, days: float) -> datetime:
    return world.now - timedelta(days=days)


def name_body(world: World, body: str) -> PrivateKey:
    """The authority names a reviewer body, or gives it another key; returns its reviewer's key."""
    key = generate_key("p256")
    signed = parse_targets(world.roles["targets"], "targets").signed
    signed.version += 1
    if signed.delegations is not None and signed.delegations.roles is not None:
        signed.delegations.roles.pop(role_of(body), None)
    delegate(signed, role_of(body), [key.public], 1)
    assert signed.delegations is not None
    assert signed.delegations.roles is not None
    extra = Body(display_name=body, organisations=frozenset()).to_json()
    signed.delegations.roles[role_of(body)].unrecognized_fields["forge"] = extra
    world.set_role("targets", sign_role(signed, [world.authority.targets_key]))
    world.publish_metadata()
    return key


def review(
    world: World, body: str, key: PrivateKey, release: Release, days: int = 90, number: int = 2
) -> None:
    """The body's reviewer passes a release."""
    manifest = release.manifest
    version = str(manifest.version)
    verdict = Verdict(
        body=body, component=manifest.component, version=version,
        manifest_sha256=manifest.digest, passed=True, number=number, at=world.now,
        expires=world.now + timedelta(days=days), policy=CRITERIA,
    )  # fmt: skip
    path = target_path(body, manifest.component, version, DECISION)
    envelope = sign_decision(verdict, key)
    current = world.roles.get(role_of(body))
    role = edit_reviews(current, role_of(body), add={path: envelope}, keys=[key], now=world.now)
    world.set_role(role_of(body), role)
    folder, _, name = path.rpartition("/")
    world.targets[f"/tuf/targets/{folder}/{sha256(envelope)}.{name}"] = envelope
    world.publish_metadata()


def withdraw(world: World, body: str, key: PrivateKey, release: Release) -> None:
    """The body's reviewer takes the decision back."""
    manifest = release.manifest
    path = target_path(body, manifest.component, str(manifest.version), DECISION)
    current = world.roles[role_of(body)]
    role = edit_reviews(current, role_of(body), drop=[path], keys=[key], now=world.now)
    world.set_role(role_of(body), role)
    world.publish_metadata()
