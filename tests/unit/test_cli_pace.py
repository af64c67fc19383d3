"""Rates, windows and lanes with clocks of their own: nothing here waits."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from forge_cli.errors import NetworkError, UsageError
from forge_cli.remote.lanes import Lanes
from forge_cli.remote.pace import Pace, Window, parse_rate


class Clocks:
    """A wall clock that anybody may set, and a monotonic one; sleeping moves both."""

    def __init__(self, wall: str = "2026-05-01 12:00") -> None:
        self.wall = datetime.fromisoformat(wall)
        self.monotonic = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds

    def pace(self, rate: int | None = None, window: str | None = None) -> Pace:
        pace = Pace(
            rate,
            None if window is None else Window.parse(window),
            clock=lambda: self.wall,
            monotonic=lambda: self.monotonic,
        )
        pace.sleep = self.sleep
        return pace


@pytest.mark.parametrize(
    ("text", "rate"),
    [("500k", 500_000), ("2M", 2_000_000), ("2.5M", 2_500_000), ("1G", 10**9), ("4096", 4096),
     ("64kB", 64_000), ("1MB/s", 10**6)],
)  # fmt: skip
def test_rates(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-5k", "0", "1", "1e9", "5 kbit", "k", "9" * 40])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UsageError):
        parse_rate(text)


@pytest.mark.parametrize("rate", [1000, 64_000, 10**6])
def test_no_more_than_the_rate_over_any_time(rate: int) -> None:
    clocks = Clocks()
    pace, moved = clocks.pace(rate), 0
    while moved < 10 * rate:
        moved += pace.take(1 << 20)
    assert moved / (clocks.monotonic - 1000.0 + 1e-9) <= rate * 1.6
    assert sum(clocks.slept) >= 5


def test_without_a_rate_nobody_waits() -> None:
    clocks = Clocks()
    assert clocks.pace().take(1 << 20) == 1 << 20
    assert clocks.slept == []


def test_a_wall_clock_that_jumps_does_not_change_the_rate() -> None:
    clocks = Clocks()
    pace = clocks.pace(10_000)
    for jump in (timedelta(days=-400), timedelta(days=800)):
        clocks.wall += jump
        before = clocks.monotonic
        for _ in range(10):
            pace.take(4096)
        assert 2 <= clocks.monotonic - before <= 6


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
        ("09:30-17:00", ["09:30", "16:59"], ["09:29", "17:00", "00:00"]),
    ],
)
def test_the_hours_of_a_window(window: str, inside: list[str], outside: list[str]) -> None:
    made = Window.parse(window)
    day = "2026-05-01"
    assert all(made.holds(datetime.fromisoformat(f"{day} {hour}")) for hour in inside)
    assert not any(made.holds(datetime.fromisoformat(f"{day} {hour}")) for hour in outside)


@pytest.mark.parametrize("text", ["", "22-6", "25:00-06:00", "10:00-10:00", "10:60-11:00", "x"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(UsageError):
        Window.parse(text)


def test_a_transfer_waits_for_its_window_and_stops_at_its_end() -> None:
    clocks, said = Clocks("2026-05-01 12:00"), []
    pace = clocks.pace(window="22:00-06:00")
    pace.wait_for_window(said.append)
    assert clocks.wall == datetime.fromisoformat("2026-05-01 22:00")
    assert len(said) == 1
    assert pace.take(100) == 100
    clocks.sleep(8 * 3600)
    with pytest.raises(NetworkError) as caught:
        pace.take(100)
    assert caught.value.code == "window-closed"


def test_a_clock_that_is_put_right_while_waiting_opens_the_window() -> None:
    clocks = Clocks("2026-05-01 12:00")
    pace = clocks.pace(window="22:00-06:00")
    true = clocks.sleep

    def sleep(seconds: float) -> None:
        true(seconds)
        clocks.wall = datetime.fromisoformat("2026-05-01 23:00")

    pace.sleep = sleep
    pace.wait_for_window(lambda text: None)
    assert len(clocks.slept) == 1


# --- lanes -------------------------------------------------------------------------------------


def run(lanes: Lanes, clocks: Clocks, rate_of: dict[int, float], spans: int) -> None:
    for _ in range(spans):
        lanes.moved(0)
        clocks.monotonic += 1.0
        lanes.moved(int(rate_of[lanes.allowed]))


def test_lanes_are_added_while_it_gets_faster_and_no_longer() -> None:
    clocks = Clocks()
    lanes = Lanes(8, monotonic=lambda: clocks.monotonic)
    rates = {n: min(n, 5) * 1e6 for n in range(1, 9)}  # five lanes fill the line
    run(lanes, clocks, rates, 12)
    assert lanes.allowed == 5


def test_a_line_that_one_fills_keeps_few() -> None:
    clocks = Clocks()
    lanes = Lanes(8, monotonic=lambda: clocks.monotonic)
    run(lanes, clocks, dict.fromkeys(range(1, 9), 1e6), 15)
    assert lanes.allowed <= 3


def test_trouble_halves_them_and_never_ends_at_none() -> None:
    clocks = Clocks()
    lanes = Lanes(8, start=8, monotonic=lambda: clocks.monotonic)
    seen = []
    for _ in range(5):
        lanes.trouble()
        seen.append(lanes.allowed)
    assert seen == [4, 2, 1, 1, 1]
    run(lanes, clocks, {n: n * 1e6 for n in range(1, 9)}, 10)
    assert lanes.allowed == 1  # not at once again
    run(lanes, clocks, {n: n * 1e6 for n in range(1, 9)}, 40)
    assert lanes.allowed > 1


def test_no_more_than_the_setting_says() -> None:
    clocks = Clocks()
    lanes = Lanes(1, monotonic=lambda: clocks.monotonic)
    run(lanes, clocks, {1: 1e6}, 10)
    assert lanes.allowed == 1
