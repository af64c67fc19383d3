"""The auditor: roots as the tree has them, and what no honest log contains."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_builders import TileTree

from signing.errors import MalformedError, VerificationError
from signing.tlog.audit import Auditor, concerns
from signing.tlog.checkpoint import Checkpoint
from signing.tlog.entries import Entry, parse_entry, role_entry

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


def leaves(count: int) -> list[bytes]:
    return [
        role_entry("minds-lab", version, b"%d" % version).to_bytes()
        for version in range(1, count + 1)
    ]


TREE = TileTree(leaves(300))


@given(size=st.integers(0, 300), stop=st.integers(0, 300))
def test_the_root_is_the_trees_also_after_a_pause(size: int, stop: int) -> None:
    auditor = Auditor()
    list(auditor.add(TREE.entries[: min(stop, size)]))
    auditor = Auditor.from_bytes(auditor.to_bytes())
    list(auditor.add(TREE.entries[min(stop, size) : size]))
    auditor.require(Checkpoint(origin="x", size=size, root=TREE.root(size)))
    assert auditor.problems == []


def test_other_leaves_than_the_checkpoints_are_noticed() -> None:
    auditor = Auditor()
    list(auditor.add([*TREE.entries[:9], b"{}"]))
    with pytest.raises(VerificationError) as caught:
        auditor.require(Checkpoint(origin="x", size=10, root=TREE.root(10)))
    assert caught.value.code == "log-inconsistent"
    with pytest.raises(VerificationError):
        Auditor().require(Checkpoint(origin="x", size=10, root=TREE.root(10)))


@pytest.mark.parametrize("versions", [[1, 1], [1, 3], [2], [1, 2, 1]])
def test_versions_that_do_not_follow_are_a_problem(versions: list[int]) -> None:
    auditor = Auditor()
    list(auditor.add(role_entry("a", n, b"x").to_bytes() for n in versions))
    assert len(auditor.problems) == 1
    assert "role a: expected version" in auditor.problems[0]


def test_a_leaf_that_nobody_understands_is_a_problem() -> None:
    auditor = Auditor()
    assert list(auditor.add([b"x"])) == []
    assert "leaf 0" in auditor.problems[0]


def test_an_entry_comes_back() -> None:
    act = Entry(act="release.yank", subject="minds-lab/a==1.0", at=NOW)
    for entry in (act, role_entry("a", 1, b"x")):
        assert parse_entry(entry.to_bytes()) == entry


GOOD = {"act": "release.publish", "at": "2026-11-01T12:00:00Z", "sha256": "0" * 64, "subject": "a"}


@pytest.mark.parametrize(
    "change",
    [
        {"at": None}, {"act": "role"}, {"version": 1}, {"at": "2026-11-01 12:00"}, {"more": 1},
        {"sha256": "A" * 64}, {"sha256": "0"}, {"subject": 5}, {"subject": "x" * 301},
        {"act": "role", "at": None, "version": 0}, {"act": "role", "version": 1},
    ],
)  # fmt: skip
def test_a_spoilt_entry_is_refused(change: dict[str, object]) -> None:
    value = {key: item for key, item in (GOOD | change).items() if item is not None}
    with pytest.raises(MalformedError):
        parse_entry(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def test_there_is_one_encoding() -> None:
    parse_entry(json.dumps(GOOD, separators=(",", ":"), sort_keys=True).encode())
    with pytest.raises(MalformedError):
        parse_entry(json.dumps(GOOD).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{}", Auditor().to_bytes().replace(b'"size":0', b'"size":1')]
)
def test_spoilt_state_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Auditor.from_bytes(data)


@pytest.mark.parametrize(
    ("subject", "own"),
    [
        ("minds-lab", True), ("minds-lab.model", True), ("minds-lab/model==1.0", True),
        ("minds-lab-2", False), ("minds", False), ("registrar", False), ("other/minds-lab", False),
    ],
)  # fmt: skip
def test_what_concerns_an_organisation(subject: str, own: bool) -> None:
    assert concerns(Entry(act="x", subject=subject, at=NOW), "minds-lab") is own
