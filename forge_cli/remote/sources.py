"""Where blobs come from: mirrors in the order that the person gave, and the registry itself.

No source is trusted: whatever it sends is compared with what was signed. So a source that is down,
lacks a file or sends other bytes costs time and nothing else, as long as another one is there.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ..errors import NotThereError


@dataclass(slots=True, eq=False)
class Source:
    """One place with blobs below ``url``; ``failures`` in a row so far."""

    url: str
    failures: int = 0
    ranges: bool = True
    bytes: int = 0

    def address(self, digest: str) -> str:
        return f"{self.url}/blobs/{digest}"


@dataclass(slots=True)
class Sources:
    """All sources, the preferred one first."""

    urls: Sequence[str]
    _all: list[Source] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._all = [Source(url) for url in dict.fromkeys(self.urls)]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._all)

    def pick(self, avoid: Collection[Source] = ()) -> Source | None:
        """The one that failed least lately, in the order given; None when all are to be avoided."""
        with self._lock:
            rest = [source for source in self._all if source not in avoid]
            return min(rest, key=lambda source: source.failures, default=None)

    def worked(self, source: Source, count: int) -> None:
        with self._lock:
            source.failures = 0
            source.bytes += count

    def failed(self, source: Source, error: Exception) -> None:
        """``source`` did not do for what was asked of it. One that merely lacks a file, as a mirror
        of a part does, is as good as before for all others."""
        if isinstance(error, NotThereError):
            return
        with self._lock:
            source.failures += 1
