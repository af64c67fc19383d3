"""The resolver picks what PEP 440 and yanking say, and explains what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from packaging.version import Version

from forge_cli.errors import ForgeError, describe
from forge_cli.resolve import Release, resolve
from signing.errors import WithheldError
from signing.names import ComponentName, Requirement
from signing.status import Withheld

Index = Mapping[str, Sequence[tuple[str, Mapping[str, str], str | None]]]


def run(
    index: Index, *requirements: str, preferred: Mapping[str, str] | None = None
) -> dict[str, str]:
    def lookup(name: ComponentName) -> list[Release] | None:
        releases = index.get(str(name))
        if releases is None:
            return None
        return [
            Release(component=name, version=Version(v), requires=r, yanked=y)
            for v, r, y in releases
        ]

    wanted = [Requirement.parse(text) for text in requirements]
    known = {ComponentName.parse(n): Version(v) for n, v in (preferred or {}).items()}
    return {str(n): str(r.version) for n, r in resolve(wanted, lookup, known).items()}


def versions(*numbers: str) -> list[tuple[str, Mapping[str, str], str | None]]:
    return [(number, {}, None) for number in numbers]


def test_the_newest_that_fits_is_chosen_with_what_it_needs() -> None:
    index: Index = {
        "o/a": [("1.0", {"o/b": "<2"}, None), ("2.0", {"o/b": ">=2"}, None)],
        "o/b": versions("1.0", "1.5", "2.0"),
    }
    assert run(index, "o/a") == {"o/a": "2.0", "o/b": "2.0"}
    assert run(index, "o/a<2") == {"o/a": "1.0", "o/b": "1.5"}


def test_it_goes_back_when_the_newest_cannot_be_had_together() -> None:
    index: Index = {
        "o/a": [("1.0", {"o/c": "==1.0"}, None), ("2.0", {"o/c": "==2.0"}, None)],
        "o/b": [("1.0", {"o/c": "==1.0"}, None)],
        "o/c": versions("1.0", "2.0"),
    }
    assert run(index, "o/a", "o/b") == {"o/a": "1.0", "o/b": "1.0", "o/c": "1.0"}


@pytest.mark.parametrize(
    ("requirement", "chosen"),
    [("o/a", "1.0"), ("o/a>=2.0b1", "2.0b1"), ("o/a==2.0b1", "2.0b1"), ("o/a>0.5", "1.0")],
)
def test_prereleases_only_where_asked_for(requirement: str, chosen: str) -> None:
    assert run({"o/a": versions("1.0", "2.0b1")}, requirement) == {"o/a": chosen}


def test_a_component_with_nothing_but_prereleases_is_usable() -> None:
    assert run({"o/a": versions("1.0a1", "1.0b1")}, "o/a") == {"o/a": "1.0b1"}


@pytest.mark.parametrize(
    ("requirement", "chosen"), [("o/a", "1.0"), ("o/a>=1", "1.0"), ("o/a==1.1", "1.1")]
)
def test_yanked_versions_are_picked_by_their_exact_number_only(
    requirement: str, chosen: str
) -> None:
    index: Index = {"o/a": [("1.0", {}, None), ("1.1", {}, "broken")]}
    assert run(index, requirement) == {"o/a": chosen}


@pytest.mark.parametrize("requirement", ["o/a>=1.1", "o/a==1.*", "o/a~=1.1"])
def test_a_range_never_picks_a_yanked_version(requirement: str) -> None:
    with pytest.raises(ForgeError) as caught:
        run({"o/a": [("1.1", {}, "broken")]}, requirement)
    assert "1.1 (yanked)" in caught.value.message


def test_what_is_locked_is_kept_while_it_fits() -> None:
    index: Index = {"o/a": versions("1.0", "1.1", "2.0")}
    assert run(index, "o/a", preferred={"o/a": "1.0"}) == {"o/a": "1.0"}
    assert run(index, "o/a>=1.1", preferred={"o/a": "1.0"}) == {"o/a": "2.0"}


def test_a_conflict_says_who_wants_what_and_what_there_is() -> None:
    index: Index = {
        "o/a": [("1.0", {"o/c": ">=2,<3"}, None)],
        "o/b": [("1.0", {"o/c": "<2"}, None)],
        "o/c": versions("1.0", "2.0"),
    }
    with pytest.raises(ForgeError) as caught:
        run(index, "o/a", "o/b")
    assert caught.value.code == "unsatisfiable"
    for line in ("o/a 1.0 wants >=2,<3", "o/b 1.0 wants <2", "the registry has 2.0, 1.0"):
        assert line in caught.value.message


def test_an_unknown_component_is_not_found_and_nobody_else_is_asked() -> None:
    with pytest.raises(ForgeError) as caught:
        run({"o/a": [("1.0", {"o/gone": ">=1"}, None)]}, "o/a")
    assert caught.value.code == "not-found"
    assert "o/a 1.0 wants >=1" in caught.value.message


def test_a_circle_of_requirements_resolves() -> None:
    index: Index = {"o/a": [("1.0", {"o/b": ""}, None)], "o/b": [("1.0", {"o/a": ">=1"}, None)]}
    assert run(index, "o/a") == {"o/a": "1.0", "o/b": "1.0"}


def test_a_conflict_names_every_wish_of_the_person() -> None:
    index: Index = {"o/a": versions("1.0", "2.0"), "o/b": [("1.0", {"o/a": "<2"}, None)]}
    with pytest.raises(ForgeError) as caught:
        run(index, "o/a>=2", "o/a<3", "o/b")
    assert "you want >=2" in caught.value.message
    assert "you want <3" in caught.value.message
    assert "o/b 1.0 wants <2" in caught.value.message


def withheld(number: str, state: str = "quarantined") -> Withheld:
    return Withheld(
        component=ComponentName.parse("o/b"),
        version=Version(number),
        manifest_sha256="ab" * 32,
        state=state,
        reason="odd",
        since=datetime(2026, 5, 1, tzinfo=UTC),
    )


def run_withheld(
    bad: Mapping[str, str], index: Index, *requirements: str, preferred: str | None = None
) -> dict[str, str]:
    """`run` with versions of o/b that are withheld: ``{version: state}``."""

    def lookup(name: ComponentName) -> list[Release] | None:
        return [
            Release(
                component=name,
                version=Version(v),
                requires=r,
                yanked=y,
                withheld=withheld(v, bad[v]) if str(name) == "o/b" and v in bad else None,
            )
            for v, r, y in index[str(name)]
        ]

    known = {} if preferred is None else {ComponentName.parse("o/b"): Version(preferred)}
    wanted = [Requirement.parse(text) for text in requirements]
    return {str(n): str(r.version) for n, r in resolve(wanted, lookup, known).items()}


class TestWithheld:
    INDEX: ClassVar[Index] = {
        "o/a": [("1.0", {}, None), ("2.0", {"o/b": ">=2"}, None)],
        "o/b": versions("1.0", "2.0"),
    }

    def test_another_version_is_taken(self) -> None:
        assert run_withheld({"2.0": "quarantined"}, self.INDEX, "o/b") == {"o/b": "1.0"}

    def test_also_of_those_who_need_it(self) -> None:
        assert run_withheld({"2.0": "revoked"}, self.INDEX, "o/a") == {"o/a": "1.0"}

    def test_what_is_locked_is_not_preferred(self) -> None:
        chosen = run_withheld({"2.0": "revoked"}, self.INDEX, "o/b", preferred="2.0")
        assert chosen == {"o/b": "1.0"}

    @pytest.mark.parametrize("wish", ["o/b==2.0", "o/b>=2", "o/a==2.0"])
    def test_naming_it_exactly_does_not_help(self, wish: str) -> None:
        with pytest.raises(WithheldError) as caught:
            run_withheld({"2.0": "revoked"}, self.INDEX, wish)
        assert caught.value.code == "release-revoked"
        assert describe(caught.value).exit_code == 7

    def test_all_of_them_are_named(self) -> None:
        with pytest.raises(WithheldError) as caught:
            run_withheld({"2.0": "revoked", "1.0": "quarantined"}, self.INDEX, "o/b")
        assert "o/b==2.0 must not be used: revoked since 2026-05-01" in caught.value.message
        assert "nothing else is left: 1.0 withheld too" in caught.value.message

    def test_a_conflict_stays_a_conflict(self) -> None:
        with pytest.raises(ForgeError) as caught:
            run_withheld({"2.0": "revoked"}, self.INDEX, "o/b>2")
        assert caught.value.code == "unsatisfiable"
        assert "2.0 (revoked), 1.0" in caught.value.message
