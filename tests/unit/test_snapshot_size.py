"""How large a snapshot is, which every client fetches whenever anything was published."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pytest

from signing.keys import generate_key
from signing.role_edits import sign_snapshot, sign_timestamp
from signing.roles import parse_signed

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
KEY = generate_key("ed25519")


def versions(name: str, releases: int = 33) -> dict[str, int]:
    """Three hundred organisations of ten projects each, all of one length of name."""
    found = {"targets": 9, "registrar": 300}
    for org in range(300):
        found[f"lab{org:03}"] = 11
        found |= {f"lab{org:03}.{name}{project}": releases for project in range(10)}
    return found


def test_three_thousand_projects_fit_into_110_kb_and_a_tenth_of_it_compressed() -> None:
    snapshot = sign_snapshot(versions("m"), 9999, KEY, NOW)
    assert len(parse_signed(snapshot, "snapshot", "snapshot").signed.meta) == 3302
    assert len(snapshot) <= 110_000
    assert len(gzip.compress(snapshot, mtime=0)) <= 11_000


def test_a_role_costs_its_name_and_little_else() -> None:
    """With longer names more bytes: of each role nothing is said but name and version."""
    roles = versions("language-model-for-darija-")
    snapshot = sign_snapshot(roles, 9999, KEY, NOW)
    said = sum(len(f'"{role}.json":{{"version":{number}}},') for role, number in roles.items())
    assert len(snapshot) - said <= 400
    assert len(gzip.compress(snapshot, mtime=0)) <= 11_000


@pytest.mark.parametrize("version", [1, 7, 9999])
def test_the_timestamp_names_the_snapshots_own_version(version: int) -> None:
    snapshot = sign_snapshot({"targets": 1}, version, KEY, NOW)
    stamp = parse_signed(sign_timestamp(snapshot, 3, KEY, NOW), "timestamp", "timestamp").signed
    assert (stamp.snapshot_meta.version, stamp.snapshot_meta.length) == (version, len(snapshot))
