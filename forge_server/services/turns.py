"""Asking for one thing once, when several threads want it at the same moment."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from weakref import WeakValueDictionary


class Turn:
    """Whose turn it is to ask for one thing."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()


@dataclass(slots=True)
class Turns:
    """A `Turn` for each key that somebody holds one of."""

    _turns: WeakValueDictionary[str, Turn] = field(default_factory=WeakValueDictionary)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, key: str) -> Turn:
        with self._lock:
            return self._turns.setdefault(key, Turn())
