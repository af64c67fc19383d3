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


TEXT = st.text(st.sampled_from('ab.-/="\\é\u202e\n {}:,'), max_size=6)
ENTRIES = st.builds(
    lambda role, act, subject, version, sha256, seconds: Entry(
        act="role" if role else act,
        subject=subject,
        version=version if role else None,
        sha256=sha256,
        at=None if role else datetime.fromtimestamp(seconds, UTC),
    ),
    st.booleans(),
    TEXT.filter(lambda text: text != "role"),
    TEXT,
    st.integers(1, 2**53 - 1),
    st.none() | st.sampled_from(["0" * 64, "9f" * 32]),
    st.integers(0, 2**37),
)


@given(entry=ENTRIES)
def test_every_entry_comes_back(entry: Entry) -> None:
    assert parse_entry(entry.to_bytes()) == entry


@given(
    data=st.sampled_from(
        [
            role_entry("minds-lab.darija-lid", 1234, b"x").to_bytes(),
            Entry(act="release.yank", subject="a/b==1.0", sha256="0" * 64, at=NOW).to_bytes(),
            Entry(act="member.set", subject="minds-lab", at=NOW).to_bytes(),
        ]
    ),
    place=st.integers(0, 200),
    length=st.integers(0, 2),
    other=st.sampled_from([b"", b" ", b"0", b"9", b"A", b"f", b'"', b",", b"\\", b"\xff", b"\n"]),
)
def test_whatever_is_taken_is_in_its_one_encoding(
    data: bytes, place: int, length: int, other: bytes
) -> None:
    """Usual leaves are read without a reader of JSON: it must never read what that would not, nor
    read it otherwise."""
    changed = data[:place] + other + data[place + length :]
    try:
        entry = parse_entry(changed)
    except MalformedError:
        return
    assert entry.to_bytes() == changed
    at = None if entry.at is None else f"{entry.at:%Y-%m-%dT%H:%M:%SZ}"
    told = {"act": entry.act, "subject": entry.subject, "version": entry.version, "at": at}
    found = {**told, "sha256": entry.sha256}
    assert json.loads(changed) == {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize(
    "data",
    [
        b'{"act":"x","at":"2026-02-31T12:00:00Z","subject":"a"}',
        b'{"act":"x","at":"2026-13-01T12:00:00Z","subject":"a"}',
        b'{"act":"x","at":"2026-01-01T24:00:00Z","subject":"a"}',
        b'{"act":"x","at":"0999-01-01T12:00:00Z","subject":"a"}',
        b'{"act":"x","at":"0000-01-01T12:00:00Z","subject":"a"}',
        b'{"act":"role","subject":"a","version":9007199254740992}',
        b'{"act":"role","subject":"a","version":1000000000000000000000}',
        b'{"act":"role","subject":"a","version":1}\n',
        b'{"act":"role","subject":"a"}',
        b'{"act":"x","subject":"a","version":1}',
        b'{"act":"role","at":"2026-01-01T12:00:00Z","subject":"a","version":1}',
    ],
)
def test_what_only_looks_usual_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_entry(data)


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
