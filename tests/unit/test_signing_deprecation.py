"""Deprecations and successors in the index of a project's role."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from builders import NAME, NOW, World, changed_role, tree

from signing.deprecation import Deprecation, component_of, parse_successor
from signing.errors import MalformedError, VerificationError
from signing.names import parse_version
from signing.role_edits import set_deprecated, set_yanked
from signing.roles import releases_of
from signing.updates import check_role_update

ONE, TWO = parse_version("1.0.0"), parse_version("2.0.0")


@pytest.fixture(scope="module")
def world() -> World:
    made = World()
    for version in ("1.0.0", "2.0.0"):
        made.publish(tree(version=version))
    return made


def test_it_is_said_of_some_and_taken_back(world: World) -> None:
    role, org, key = world.roles[NAME.role], world.roles[NAME.org], world.project_keys[str(NAME)]
    said = Deprecation(reason="old", successor="lab/other")
    later = NOW + timedelta(minutes=1)
    both = set_deprecated(role, NAME, [ONE, TWO], said, [key], later)
    check_role_update(NAME.role, both, role, org, later)
    assert [one.deprecated for one in releases_of(both, NAME).values()] == [said, said]
    assert str(said) == "old; use lab/other"
    one = set_deprecated(both, NAME, [TWO], None, [key], later)
    assert [entry.deprecated for entry in releases_of(one, NAME).values()] == [said, None]
    # The index of before reads as it did: nothing was said.
    assert all(entry.deprecated is None for entry in releases_of(role, NAME).values())


def test_a_yank_and_a_deprecation_leave_each_other_alone(world: World) -> None:
    role, key = world.roles[NAME.role], world.project_keys[str(NAME)]
    said = Deprecation(reason="old")
    role = set_deprecated(role, NAME, [ONE], said, [key], NOW)
    role = set_yanked(role, NAME, ONE, "bad", [key], NOW, successor=f"{NAME}==2.0.0")
    entry = releases_of(role, NAME)["1.0.0"]
    assert (entry.yanked, entry.yanked_successor, entry.deprecated) == (
        "bad", f"{NAME}==2.0.0", said,
    )  # fmt: skip
    role = set_yanked(role, NAME, ONE, None, [key], NOW)
    entry = releases_of(role, NAME)["1.0.0"]
    assert (entry.yanked, entry.yanked_successor, entry.deprecated) == (None, None, said)


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "\x1b[2J", "x" * 1001])
def test_a_reason_is_one_plain_line(world: World, reason: str) -> None:
    with pytest.raises(MalformedError):
        set_deprecated(
            world.roles[NAME.role], NAME, [ONE], Deprecation(reason=reason),
            [world.project_keys[str(NAME)]], NOW,
        )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "lab", "lab/x/y", "lab/x==", "lab/x>=1", "lab/x==1.0+l", "é/x"]
)
def test_a_successor_is_a_name(world: World, text: str) -> None:
    role, key = world.roles[NAME.role], world.project_keys[str(NAME)]
    with pytest.raises(MalformedError):
        parse_successor(text)
    said = Deprecation(reason="x", successor=text)
    with pytest.raises(MalformedError):
        set_deprecated(role, NAME, [ONE], said, [key], NOW)
    with pytest.raises(MalformedError):
        set_yanked(role, NAME, ONE, "x", [key], NOW, successor=text)


def test_successors_in_their_parts() -> None:
    assert component_of("lab/x==1.0")[1] == "1.0"
    assert component_of("lab/x")[1] is None


def test_of_what_is_not_there_nothing_is_said(world: World) -> None:
    with pytest.raises(VerificationError) as caught:
        set_deprecated(
            world.roles[NAME.role],
            NAME,
            [parse_version("3.0")],
            None,
            [world.project_keys[str(NAME)]],
            NOW,
        )
    assert caught.value.code == "chain-broken"


SPOILT: dict[str, dict[str, Any]] = {
    "no reason": {"deprecated": {"successor": "lab/x"}},
    "no object": {"deprecated": "old"},
    "more than that": {"deprecated": {"reason": "old", "since": "x"}},
    "a reason of two lines": {"deprecated": {"reason": "a\nb"}},
    "an empty reason": {"deprecated": {"reason": ""}},
    "no name": {"deprecated": {"reason": "x", "successor": "lab"}},
    "a successor of nothing": {"yanked_successor": "lab/x"},
    "a successor that is none": {"yanked": "x", "yanked_successor": 1},
}


@pytest.mark.parametrize("case", SPOILT)
def test_other_forms_are_refused(world: World, case: str) -> None:
    path = NAME.target("1.0.0", "manifest.json")
    spoilt = changed_role(
        world.roles[NAME.role], [world.project_keys[str(NAME)]],
        lambda signed: signed["targets"][path]["custom"].update(SPOILT[case]),
    )  # fmt: skip
    with pytest.raises(MalformedError):
        releases_of(spoilt, NAME)
