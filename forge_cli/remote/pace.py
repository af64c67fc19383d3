"""How fast, and when, bytes may move: ``--max-rate 500k`` and ``--window 22:00-06:00``.

One pace is shared by all threads of a command. Rates are measured with a clock that nobody can
set; the window is about the clock on the wall, which is asked anew for each block, so that a
clock that is put right while the command runs counts from then on.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as TimeOfDay
from typing import Final

from ..errors import NetworkError, UsageError

_RATE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([kKmMgG]?)(?:i?[bB])?(?:/s)?")
_UNITS: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9}
_LEAST_BLOCK: Final = 4096
_SPAN: Final = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


def parse_rate(text: str) -> int:
    """Bytes per second: ``500k``, ``2.5M``, ``800``; units are powers of 1000.

    Raises:
        UsageError: something else, or less than 1 kB/s.
    """
    match = _RATE.fullmatch(text.strip())
    rate = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if rate < 1000:
        raise UsageError(
            f"--max-rate: expected bytes per second such as 500k or 2M, found {text!r}"
        )
    return rate


@dataclass(frozen=True, slots=True)
class Window:
    """The hours of the day, local time, in which bytes may move."""

    begin: TimeOfDay
    end: TimeOfDay

    @classmethod
    def parse(cls, text: str) -> Window:
        """``22:00-06:00``. Raises UsageError."""
        match = _SPAN.fullmatch(text.strip())
        try:
            if match is None:
                raise ValueError
            hours = [
                TimeOfDay(int(match[1]), int(match[2])),
                TimeOfDay(int(match[3]), int(match[4])),
            ]
        except ValueError:
            raise UsageError(
                f"--window: expected two times of the day such as 22:00-06:00, found {text!r}"
            ) from None
        if hours[0] == hours[1]:
            raise UsageError(f"--window: expected two different times, found {text!r}")
        return cls(*hours)

    def holds(self, now: datetime) -> bool:
        """Whether ``now`` (local time) lies in it; it may go over midnight."""
        at = now.time()
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end

    def seconds_until(self, now: datetime) -> float:
        """How long until it opens next."""
        opening = datetime.combine(now.date(), self.begin, now.tzinfo)
        if opening <= now:
            opening += timedelta(days=1)
        return (opening - now).total_seconds()

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"


class Pace:
    """Says how many bytes may be moved now, and waits until that is true.

    ``sleep`` is how it waits: a transfer gives it one that Ctrl-C ends.
    """

    def __init__(
        self,
        max_rate: int | None = None,
        window: Window | None = None,
        *,
        clock: Callable[[], datetime] = datetime.now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_rate = max_rate
        self.window = window
        self.sleep: Callable[[float], object] = time.sleep
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free_at = 0.0  # when what was given out so far has had its time

    def wait_for_window(self, say: Callable[[str], object]) -> None:
        """Returns once the window is open. For the beginning of a transfer."""
        while self.window is not None and not self.window.holds(self._clock()):
            seconds = self.window.seconds_until(self._clock())
            say(f"waiting for the window {self.window}, {seconds / 3600:.1f} hours from now")
            # In pieces: a laptop that slept or a clock that was set is noticed within a minute.
            while seconds > 0 and not self.window.holds(self._clock()):
                self.sleep(min(60.0, seconds))
                seconds = self.window.seconds_until(self._clock())

    def take(self, wanted: int) -> int:
        """How many bytes, at most ``wanted``, to move next; returns when their time has come.

        Raises:
            NetworkError: ``window-closed``.
        """
        if self.window is not None and not self.window.holds(self._clock()):
            raise NetworkError(
                f"the window {self.window} has closed",
                hint="run the same command again: it waits for the window and continues",
                code="window-closed",
            )
        if self.max_rate is None or not wanted:
            return wanted
        count = min(wanted, max(_LEAST_BLOCK, self.max_rate // 4))
        with self._lock:
            now = self._monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + count / self.max_rate
        if begin > now:
            self.sleep(begin - now)
        return count
