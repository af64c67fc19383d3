"""A snapshot is written by hand, for speed: byte by byte what the library would write."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot

from signing.keys import generate_key
from signing.role_edits import expiry, sign_snapshot, sign_timestamp
from signing.roles import listed_in, parse_signed

NOW = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
KEY = generate_key("ed25519")
ROLES = {"targets": 3, "registrar": 12, "lab": 1, "lab.m-1": 10, "lab.m": 999, "lab-2.m": 1}


@pytest.mark.parametrize(
    "roles", [{}, ROLES, {f"lab{n}.m": n + 1 for n in range(300)}, {'no "name"': 1, "lab": 2}]
)
def test_the_bytes_are_the_librarys(roles: dict[str, int]) -> None:
    data = sign_snapshot(roles, 7, KEY, NOW)
    metadata: Metadata[Snapshot] = Metadata.from_bytes(data)
    assert metadata.to_bytes() == data
    assert metadata.signed_bytes in data
    assert {name: each.version for name, each in metadata.signed.meta.items()} == {
        f"{role}.json": version for role, version in roles.items()
    }
    assert metadata.signed.expires == expiry(NOW, "snapshot")
    assert listed_in(data) == roles


def test_the_library_accepts_the_signature() -> None:
    root = Root()
    root.add_key(KEY.public.tuf, "snapshot")
    data = sign_snapshot(ROLES, 7, KEY, NOW)
    root.verify_delegate("snapshot", *_parts(data))


def _parts(data: bytes) -> tuple[bytes, dict[str, object]]:
    metadata = Metadata.from_bytes(data)
    return metadata.signed_bytes, metadata.signatures


def test_the_version_told_and_the_version_read_are_one() -> None:
    data = sign_snapshot(ROLES, 7, KEY, NOW)
    read, told = (
        parse_signed(sign_timestamp(data, 2, KEY, NOW, **given), "timestamp", "timestamp").signed
        for given in ({}, {"snapshot_version": 7})
    )
    assert read == told
