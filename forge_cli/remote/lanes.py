"""How many requests at a time: as many as make it faster, and fewer when the line suffers.

It begins with a few. When a span of time with one more lane moved clearly more, another is
added; when it did not, that one is taken away again and nothing is tried for a while. Errors,
time-outs and refusals for being too many (429, 503) halve the number at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

_SPAN_SECONDS: Final = 1.0
_GAIN: Final = 1.15  # less than this is noise
_REST_SPANS: Final = 20


class Lanes:
    """How many lanes may be open now: ``allowed``, from 1 to ``most``."""

    def __init__(
        self, most: int, start: int = 2, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self.allowed = min(start, most)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._began: float | None = None
        self._moved = 0
        self._before = 0.0  # bytes a second, before the last lane was added
        self._trying = False
        self._resting = 0

    def moved(self, count: int) -> None:
        """``count`` bytes arrived."""
        with self._lock:
            now = self._monotonic()
            if self._began is None:
                self._began = now
            self._moved += count
            span = now - self._began
            if span >= _SPAN_SECONDS:
                self._judge(self._moved / span)
                self._began, self._moved = now, 0

    def trouble(self) -> None:
        """A connection broke, timed out or was refused for being too many."""
        with self._lock:
            self.allowed = max(1, self.allowed // 2)
            self._trying, self._resting = False, _REST_SPANS
            self._began, self._moved = None, 0

    def _judge(self, rate: float) -> None:
        if self._trying:
            self._trying = False
            if rate < self._before * _GAIN:
                self.allowed -= 1
                self._resting = _REST_SPANS
                return
        if self._resting:
            self._resting -= 1
        elif self.allowed < self.most:
            self._before, self._trying = rate, True
            self.allowed += 1
