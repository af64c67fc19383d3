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
        with self._lock:
            kept = self._answers.get(key)
            if kept is not None and kept[0] == stamp:
                self._answers.move_to_end(key)
                return kept[1]
        answer = make()
        with self._lock:
            self._answers[key] = (stamp, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > self.most:
                self._answers.popitem(last=False)
        return answer
