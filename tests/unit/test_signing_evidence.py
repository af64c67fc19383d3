"""The evidence file: what travels with a release keeps every byte, and nothing else is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

import pytest
from builders import NOW, World, changed_json, later, tree

from signing.errors import MalformedError
from signing.evidence import Evidence

Change = Callable[[dict[str, Any]], object]
WORLD = World()
RELEASE = WORLD.publish(tree())
EVIDENCE = WORLD.evidence(RELEASE, refreshed_at=NOW)


@pytest.mark.parametrize("refreshed_at", [None, NOW, later(days=3)], ids=["never", "now", "later"])
@pytest.mark.parametrize("roots", [1, 3])
def test_survives_the_round_trip_byte_for_byte(refreshed_at: Any, roots: int) -> None:
    evidence = WORLD.evidence(RELEASE, refreshed_at=refreshed_at, roots=(WORLD.root,) * roots)
    again = Evidence.from_json(evidence.to_json())
    assert again == evidence
    assert again.to_json() == evidence.to_json()


def test_what_was_read_back_verifies() -> None:
    evidence = Evidence.from_json(EVIDENCE.to_json())
    assert WORLD.verify(RELEASE, evidence=evidence).ok


def test_the_instant_is_written_in_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=1)))
    data = WORLD.evidence(RELEASE, refreshed_at=local).to_json()
    assert b'"refreshed_at":"2026-05-01T12:00:00Z"' in data


def without(name: str) -> Change:
    return lambda evidence: evidence.pop(name)


MALFORMED: dict[str, Change] = {
    "schema-2": lambda e: e.update(schema=2),
    "schema-missing": lambda e: e.pop("schema"),
    "unknown-field": lambda e: e.update(snapshot="x"),
    "no-roots": lambda e: e.update(roots=[]),
    "roots-missing": lambda e: e.pop("roots"),
    "roots-text": lambda e: e.update(roots="x"),
    "root-object": lambda e: e.update(roots=[{}]),
    "roots-many": lambda e: e.update(roots=["x"] * 1001),
    **{
        f"no-{name}": without(name)
        for name in ("targets", "registrar", "organisation", "project", "manifest", "bundle")
    },
    "manifest-object": lambda e: e.update(manifest={}),
    "instant-word": lambda e: e.update(refreshed_at="today"),
    "instant-null": lambda e: e.update(refreshed_at=None),
    "instant-number": lambda e: e.update(refreshed_at=5),
    "instant-local": lambda e: e.update(refreshed_at="2026-05-01T12:00:00+01:00"),
    "instant-year-zero": lambda e: e.update(refreshed_at="0000-05-01T12:00:00Z"),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_refuses_evidence_in_another_form(change: Change) -> None:
    with pytest.raises(MalformedError, match="evidence"):
        Evidence.from_json(changed_json(EVIDENCE.to_json(), change))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{}", b"[" * 100_000])
def test_refuses_what_is_no_evidence(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Evidence.from_json(data)
