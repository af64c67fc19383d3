"""Which steps of a walk are broken: none is left out that fails as no other does."""

from __future__ import annotations

import pytest
import thorough

KINDS = ["fsync < a < x", "fsync < a < y", "fsync < a < x", "link < b < x", "fsync < a < z"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "EVERY_STEP", False)


def test_the_first_of_each_kind() -> None:
    assert thorough.of_each_kind(KINDS) == [1, 2, 4, 5]


def test_two_ways_share_the_kinds_and_both_take_what_the_last_line_tells_apart() -> None:
    both = [thorough.of_each_kind(KINDS, way=way, ways=2) for way in (0, 1)]
    assert both == [[1, 2, 4, 5], [1, 4]]
    assert set().union(*both) == set(thorough.of_each_kind(KINDS))


def test_the_long_run_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "EVERY_STEP", True)
    assert thorough.of_each_kind(KINDS, way=1, ways=2) == [1, 2, 3, 4, 5]


def test_a_kind_is_the_lines_of_ours_that_led_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "_OURS", (__file__,))

    def caller() -> str:
        return thorough.kind_of_step("fsync")

    once, again = (caller() for _ in range(2))
    other = caller()
    assert once == again != other
    assert once.startswith(f"fsync < {caller.__qualname__}:")
