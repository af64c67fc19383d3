"""A registry with a policy in it, and what its interface says of releases, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from builders import NAME, Release, World, forge_toml

from signing.names import ComponentName

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
