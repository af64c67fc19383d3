"""Signed metadata compressed for who accepts it: compressed once, and kept while there is room.

In memory, and not as ``.gz`` files beside the published ones: those would cost every publish an
fsync for each, and would be files that nobody signed among files that everybody mirrors. A web
server that serves the tree itself compresses it itself.

Only metadata: blobs and tiles are sent as they are stored, and what the API answers may hold a
secret beside words of a stranger's choice, whose compressed length tells something about both.
"""

from __future__ import annotations

import gzip
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Request

from signing.roles import MAX_SNAPSHOT_BYTES

MIN_BYTES = 1000  # below that it fits into one packet anyway
MAX_BYTES = MAX_SNAPSHOT_BYTES  # nobody reads more of a role; larger files go as they are
_KEPT_BYTES = 32 * 1024 * 1024


def accepts_gzip(request: Request, size: int) -> bool:
    """Whether a file of ``size`` bytes is to be sent compressed (RFC 9110 §12.5.3).

    Never when a range of it is asked for: ranges are of the bytes as they are stored.
    """
    return (
        MIN_BYTES <= size <= MAX_BYTES
        and "Range" not in request.headers
        and request.accept_encodings.best_match(("gzip", "identity")) == "gzip"
    )


@dataclass(slots=True)
class GzipCache:
    """The newest used compressed files, at most ``max_bytes`` of them together."""

    max_bytes: int = _KEPT_BYTES
    _kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, name: str, read: Callable[[], bytes]) -> bytes:
        """The compressed form of what ``read`` gives, under a ``name`` that means these bytes and
        never others."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        data = gzip.compress(read(), mtime=0)  # the same bytes give the same bytes
        with self._lock:
            if name not in self._kept:
                self._kept[name] = data
                self._bytes += len(data)
            while self._bytes > self.max_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data
