"""Answers that are kept while nothing in the registry changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class Kept(Generic[_Answer]):
    """The newest used answers: at most ``most`` of them, each with the stamp that it holds for."""

    most: int
    _answers: OrderedDict[Hashable, tuple[Hashable, _Answer]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Hashable, stamp: Hashable, make: Callable[[], _Answer]) -> _Answer:
        """The answer to ``key`` as of ``stamp``, made anew where another one is kept."""
        kept = self.find(key, stamp)
        if kept is not None:
            return kept
        answer = make()
        self.keep(key, stamp, answer)
        return answer

    def find(self, key: Hashable, stamp: Hashable) -> _Answer | None:
        """The answer that is kept for ``key`` as of ``stamp``."""
        with self._lock:
            kept = self._answers.get(key)
            if kept is None or kept[0] != stamp:
                return None
            self._answers.move_to_end(key)
            return kept[1]

    def keep(self, key: Hashable, stamp: Hashable, answer: _Answer) -> None:
        """Keeps an answer that was made after ``stamp`` was looked up."""
        with self._lock:
            self._answers[key] = (stamp, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > self.most:
                self._answers.popitem(last=False)
