"""What all fetches of one command share: connections, sources, lanes, pace and the stop sign."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Final

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from .crew import Crew
from .http import Http, lost
from .lanes import Lanes
from .pace import Pace
from .sources import Sources

# What is there is read at once, and no block is waited for: a slow line's bytes are counted as they
# come, and kept when it breaks. What a fast one brings meanwhile is worth few steps of Python.
_READ_BYTES: Final = 2 << 20


@dataclass(slots=True, kw_only=True)
class Line:
    """The way from the sources to this machine. ``received`` counts the bytes of bodies."""

    http: Http
    sources: Sources
    crew: Crew
    lanes: Lanes
    pace: Pace
    received: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # Larger than each block to come, and given back at once: glibc keeps blocks up to that size
        # from now on. Else the kernel maps and clears each anew, a tenth of what it has to do here.
        bytearray(_READ_BYTES + (1 << 20))
        self.pace.sleep = self.crew.sleep
        # The same connections and the same count, but a pause that Ctrl-C ends, and that tells:
        # `Http` only ever waits when a request failed or was refused for being too many.
        self.http = replace(self.http, sleep=self._wait)

    def impatient(self) -> Http:
        """The same connections for when another source can be asked instead of waiting."""
        return replace(self.http, attempts=1)

    def _wait(self, seconds: float) -> None:
        self.lanes.trouble()
        self.crew.sleep(seconds)

    def read(self, response: BaseHTTPResponse, most: int, label: str) -> bytes:
        """The next bytes of the body, at most ``most``; b"" at its end.

        Raises:
            NetworkError: the connection broke.
        """
        block = self.pace.take(min(_READ_BYTES, most))
        try:
            data = response.read1(block)
        except (HTTPError, ConnectionError, TimeoutError) as error:
            raise lost(label, error) from error
        with self._lock:
            self.received += len(data)
        self.lanes.moved(len(data))
        return data
