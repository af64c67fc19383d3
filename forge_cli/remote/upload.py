"""Sending files to the registry: the chunk lists first, then the files that they describe.

A small file goes in one request. A large one, one that a broken line has cut, and one of which the
registry has an older version goes in `parts`.

The registry hashes what arrives, so nothing is believed of this side: a file that changed since it
was hashed is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from ..errors import NetworkError, RemoteError
from ..output import Progress
from ..recipes import Segment, sent_bytes
from .api import Api
from .crew import Crew, Stopped
from .direct import DirectWay
from .http import pause_seconds
from .pace import Pace
from .parts import Outgoing, PartsUploads
from .sending import Body, Sender

__all__ = ["Outgoing", "Uploader"]

_PARTS_FROM_BYTES: Final = 64 << 20
_DIRECT_FROM_BYTES: Final = 16 << 20
_ONE_REQUEST_SECONDS: Final = 20.0  # what takes longer in one request goes in parts
_WORTH_RESUMING: Final = 4 << 20
_LOOK_SECONDS: Final = 0.2  # how often those who wait look whether all was stopped


@dataclass(slots=True, kw_only=True)
class Uploader:
    """Sends blobs for ``component`` with the rights of ``api``'s token."""

    api: Api
    component: str
    parallel: int
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    parts: PartsUploads = field(init=False)
    _crew: Crew = field(init=False)
    _sender: Sender = field(init=False)
    _sent_whole: int = 0  # bytes
    _rate: float | None = None  # bytes a second of one request
    _line_asked: bool = False
    _line_known: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._crew = Crew(self.parallel)
        self.pace.sleep = self._crew.sleep
        self._sender = Sender(api=self.api, crew=self._crew, progress=self.progress, pace=self.pace)
        self.parts = PartsUploads(
            api=self.api,
            component=self.component,
            crew=self._crew,
            sender=self._sender,
            progress=self.progress,
            note_rate=self._note_rate,
        )

    @property
    def direct(self) -> DirectWay:
        """Whether parts go straight to the store."""
        return self.parts.direct

    @property
    def sent_bytes(self) -> int:
        """What went over the network."""
        return self._sent_whole + self.parts.sent_bytes

    @property
    def reused_bytes(self) -> int:
        """What the registry took from older files."""
        return self.parts.reused_bytes

    def send(self, files: Sequence[Outgoing]) -> None:
        """The registry holds every file of ``files`` afterwards, durably.

        Raises:
            RemoteError: refused, for instance ``digest-mismatch`` or a missing right.
            NetworkError: the registry could not be reached often enough.
        """
        names = {file.chunks for file in files if file.chunks is not None}
        # With its list at hand the registry compares a file while it comes in.
        self._crew.run(self._send_whole, [file for file in files if file.digest in names])
        rest = [file for file in files if file.digest not in names]
        least = min(_DIRECT_FROM_BYTES, _PARTS_FROM_BYTES)
        if any(file.olds or file.size >= least for file in rest):
            self.parts.ask_limits()
        large = self._large(rest)
        self._crew.run(self._send, sorted(_without(rest, large), key=lambda file: -file.size))
        self._send_large(sorted(large, key=lambda file: -file.size))

    def send_ahead(self, file: Outgoing, chunks: Outgoing, goes_on: Callable[[], bool]) -> bool:
        """Sends a file and its chunk list by this thread alone; False where the registry has the
        file, or parts are to go and ``goes_on`` says No: `send` finds those that are there.

        Raises as `send`.
        """
        limits = self.parts.ask_limits()
        if limits is None:
            segments: Sequence[Segment] = ()
        else:
            segments = self.parts.plain(file) if file.olds is None else self.parts.recipe(file)
        if any(segment.source is not None for segment in segments):
            if sent_bytes(segments) == 0 or not goes_on():
                return False  # public already as it is, or soon: the offer will tell
            self._send_whole(chunks)
            # Whether the whole is here already is said when it begins.
            return self.parts.send(file, segments, alone=True, goes_on=goes_on)
        if self.api.has("blobs", file.digest, query={"component": self.component}):
            return False
        with self._line_known_for(file):
            if self._is_quick(file):
                self._send_whole(chunks)
                self._send(file)
                return True
            if limits is None or not goes_on():
                return False
            self._send_whole(chunks)
            return self.parts.send(file, segments, alone=True, goes_on=goes_on)

    @contextmanager
    def _line_known_for(self, file: Outgoing) -> Iterator[None]:
        """Before the block something is known of the line, where that decides how ``file`` goes:
        the first such file finds out with its first part, and others wait for that. In parts all
        of them would be hashed once more on both sides."""
        if self._is_quick(file) or self.direct.open or self._rate is not None:
            yield
            return
        with self._lock:
            first, self._line_asked = not self._line_asked, True
        if not first:
            while not self._line_known.wait(_LOOK_SECONDS):
                if self._crew.stop.is_set():
                    raise Stopped
        try:
            yield
        finally:
            self._line_known.set()  # also where nothing came of it

    def stop(self) -> None:
        """All threads leave what they send, between two blocks."""
        self._crew.stop.set()

    def _large(self, files: Sequence[Outgoing]) -> list[Outgoing]:
        """Those that may have to go in parts."""
        if self.parts.limits is None:
            return []
        least = _DIRECT_FROM_BYTES if self.direct.open else _PARTS_FROM_BYTES
        return [file for file in files if file.olds or file.size >= least]

    def _send_large(self, files: Sequence[Outgoing]) -> None:
        """In parts, as long as nothing is known of the line, or it is slow. What it carries in a
        few seconds goes in one request: bytes of a part are hashed once more on both sides."""
        news: list[Outgoing] = [file for file in files if file.olds is None]
        changed: list[tuple[Outgoing, list[Segment]]] = []

        def compare(file: Outgoing) -> None:
            segments = self.parts.recipe(file)
            if all(segment.source is None for segment in segments):
                news.append(file)  # it has nothing of any older one
            elif sent_bytes(segments) < _PARTS_FROM_BYTES:
                # What takes long is the registry's reading of the whole: of several at once.
                self.parts.send(file, segments, alone=True)
            else:
                changed.append((file, segments))

        self._crew.run(compare, [file for file in files if file.olds is not None])
        for file, segments in changed:
            self.parts.send(file, segments)
        waiting = sorted(news, key=lambda file: -file.size)
        while waiting:
            quick = [file for file in waiting if self._is_quick(file)]
            if quick:
                self._crew.run(self._send, quick)
                waiting = _without(waiting, quick)
            else:
                file = waiting.pop(0)
                self.parts.send(file, self.parts.plain(file))

    def _is_quick(self, file: Outgoing) -> bool:
        if self.direct.open:
            return file.size < _DIRECT_FROM_BYTES
        if self._rate is None:
            return file.size < _PARTS_FROM_BYTES
        return file.size / self._rate <= _ONE_REQUEST_SECONDS

    # --- in one request ---------------------------------------------------------------------

    def _send(self, file: Outgoing) -> None:
        """In one request, or in parts when that breaks or the line turned out to be slow."""
        slow = self._rate is not None and file.size / self._rate > _ONE_REQUEST_SECONDS
        if file.size < _WORTH_RESUMING:
            return self._send_whole(file)
        if not slow:
            try:
                return self._send_whole(file, attempts=1)
            except NetworkError as error:
                if error.code != "network":
                    raise
                self._crew.sleep(pause_seconds(1))
            except RemoteError as error:
                if error.status not in (429, 502, 503, 504):
                    raise
                self._crew.sleep(pause_seconds(1))
        if self.parts.ask_limits() is None:
            return self._send_whole(file)
        self.parts.send(file, self.parts.plain(file), alone=True)
        return None

    def _send_whole(self, file: Outgoing, attempts: int = 5) -> None:
        query = self.parts.query
        if file.chunks is not None:
            query += f"&chunks={file.chunks}"
        began = time.monotonic()
        body = Body(source=file.source, size=file.size)
        self._sender.put(f"blobs/{file.digest}", query, body, attempts=attempts)
        with self._lock:
            self._sent_whole += file.size
        self._note_rate(file.size, began)

    def _note_rate(self, size: int, began: float) -> None:
        if size >= _WORTH_RESUMING:
            with self._lock:
                self._rate = size / max(1e-3, time.monotonic() - began)
            self._line_known.set()


def _without(files: Sequence[Outgoing], some: Sequence[Outgoing]) -> list[Outgoing]:
    """``files`` without ``some``."""
    digests = {file.digest for file in some}
    return [file for file in files if file.digest not in digests]
