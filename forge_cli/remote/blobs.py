"""Fetching blobs into the cache: several at a time, and ranges of large ones.

A lane takes the next file that nobody fetches and brings it to its end; lanes that have none left
help with the ranges of the others. A file that another process fetches is put back and looked at
again later, so two processes share the files of one release. How many lanes there are follows the
line (`lanes`).

A blob enters the cache when the digest of the whole, taken from the file on the disk, is right,
whatever was verified before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from signing.chunks import MAX_LIST_BYTES, ChunkList, parse_chunk_list
from signing.digests import sha256_hex
from signing.errors import MalformedError, VerificationError

from ..cache import Cache
from ..errors import ForgeError, NetworkError
from ..exclusive import Busy
from ..output import Progress
from .chunked import ChunkFetch, NoRangesError
from .crew import Crew, Stopped
from .http import Http, read_limited
from .lanes import Lanes
from .line import Line
from .pace import Pace
from .partial import Partial
from .reuse import Reuse
from .sources import Source, Sources
from .wanted import ANOTHER_MIRROR, Old, Wanted
from .whole import WholeFetch

__all__ = ["Downloader", "Old", "Wanted"]

_LEAST_SPAN: Final = 4 << 20
_MOST_SPAN: Final = 64 << 20
_LOOK_AGAIN_SECONDS: Final = 0.1
_RESCANS: Final = 2


@dataclass(slots=True, kw_only=True)
class Downloader:
    """Fetches blobs from ``urls`` (mirrors first, the registry last) into ``cache``."""

    http: Http
    urls: Sequence[str]
    cache: Cache
    parallel: int
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    reused_bytes: int = 0
    _line: Line = field(init=False)
    _queue: deque[Wanted] = field(default_factory=deque)
    _active: list[ChunkFetch] = field(default_factory=list)
    _lock: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._line = Line(
            http=self.http,
            sources=Sources(self.urls),
            crew=Crew(self.parallel),
            lanes=Lanes(self.parallel),
            pace=self.pace,
        )

    @property
    def received_bytes(self) -> int:
        """What came over the network, chunk lists and repetitions included."""
        return self._line.received

    def fetch(self, wanted: Sequence[Wanted]) -> None:
        """Every blob of ``wanted`` is in the cache afterwards, verified.

        Raises:
            VerificationError: ``digest-mismatch`` or ``length-mismatch``.
            NetworkError: no source could be reached often enough.
            OSError: the disk is full or may not be written.
        """
        self.cache.require_writable()
        # The largest first, so that the last minute is not one thread's alone.
        self._queue.extend(sorted(wanted, key=lambda want: -want.size))
        self._line.crew.run(self._lane, range(self.parallel))

    def fetch_parts(self, want: Wanted, partial: Partial, parts: Sequence[range]) -> None:
        """The chunks ``parts`` of one file are in ``partial`` afterwards, each verified; no others
        are asked for. What came stays, for whoever fetches the whole one day.

        Raises as `fetch`, but that nothing is said about the digest of the whole.
        """
        fetch = ChunkFetch(want=want, partial=partial, line=self._line, progress=self.progress)
        left = deque(parts)

        def lane(_: int) -> None:
            while left:
                with suppress(IndexError):  # another lane took the last one
                    self._part(fetch, left.popleft())

        self._line.crew.run(lane, range(self.parallel))

    def _part(self, fetch: ChunkFetch, numbers: range) -> None:
        while not fetch.partial.has_all(numbers):
            if self._line.crew.stop.is_set():
                raise Stopped
            if not self._range(fetch, numbers):
                self._look_again()  # the source knows no ranges, and another lane reads it all

    def _lane(self, number: int) -> None:
        while not self._line.crew.stop.is_set():
            if number >= self._line.lanes.allowed:
                if self._finished():
                    return
                self._look_again()
                continue
            want = self._next_file()
            if want is not None:
                self._bring(want)
            elif not self._help():
                if self._finished():
                    return
                self._look_again()
        raise Stopped

    def _look_again(self) -> None:
        """A moment later, or as soon as another lane came to an end with something."""
        with self._lock:
            self._lock.wait(_LOOK_AGAIN_SECONDS)

    def _next_file(self) -> Wanted | None:
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def _finished(self) -> bool:
        with self._lock:
            return not self._queue and not self._active

    def _help(self) -> bool:
        """Fetch one range of a file that another lane brings; False when there is none."""
        with self._lock:
            active = list(self._active)
        return any(not fetch.streamed and self._range(fetch) for fetch in active)

    def _bring(self, want: Wanted) -> None:
        """See one file to its end, or put it back when another process is at it."""
        try:
            chunks = self.chunk_list(want)
            if chunks is None:
                whole = WholeFetch(line=self._line, cache=self.cache, progress=self.progress)
                whole.fetch(want)
            else:
                self._bring_chunks(want, chunks)
        except Busy:
            self._look_again()
            with self._lock:
                self._queue.append(want)

    def _bring_chunks(self, want: Wanted, chunks: ChunkList) -> None:
        partial = Partial(self.cache.partial(want.digest), chunks)
        try:
            if self.cache.has(want.digest, want.size):  # another process was quicker
                partial.remove()
                self.progress.advance(want.size)
                return
            self._reuse(want, partial)
            fetch = ChunkFetch(want=want, partial=partial, line=self._line, progress=self.progress)
            for _ in range(_RESCANS + 1):
                self._fetch_all(fetch)
                found = partial.digest()
                if found == want.digest:
                    partial.release()
                    self.cache.adopt(partial.path, want.digest)
                    return
                # Chunks were copied unread and are others, or have changed on this disk since they
                # were verified; or the list is another file's, and then no repetition helps.
                if not partial.rescan():
                    break
            partial.remove()
            raise VerificationError(
                "digest-mismatch", want.label, f"sha256 {want.digest}", found, ANOTHER_MIRROR
            )
        finally:
            partial.close()

    def _fetch_all(self, fetch: ChunkFetch) -> None:
        with self._lock:
            self._active.append(fetch)
        try:
            while not fetch.partial.done:
                if self._line.crew.stop.is_set():
                    raise Stopped
                if not self._range(fetch):
                    self._look_again()
        finally:
            with self._lock:
                self._active.remove(fetch)
                self._lock.notify_all()

    def _range(self, fetch: ChunkFetch, within: range | None = None) -> bool:
        """Fetch the next range of the file; False when there was none to take."""
        numbers = fetch.partial.take(self._span(fetch.want.size), within)
        if not numbers:
            return False
        try:
            fetch.fetch(numbers)
        except NoRangesError:
            return False
        finally:
            fetch.partial.give_back(numbers)
            with self._lock:
                self._lock.notify_all()
        return True

    def _span(self, size: int) -> int:
        """How much to ask for at once: less when others wait to help."""
        if self._queue or self._line.lanes.allowed == 1:
            return _MOST_SPAN
        return max(_LEAST_SPAN, min(_MOST_SPAN, size // (4 * self._line.lanes.allowed)))

    def _reuse(self, want: Wanted, partial: Partial) -> None:
        here = want.size - partial.missing_bytes()
        self.progress.advance(here)
        if not want.olds or partial.done:
            return
        for count in Reuse(self.cache, want).fill(partial):
            self.reused_bytes += count
            self.progress.advance(count)
            if self._line.crew.stop.is_set():
                raise Stopped

    def chunk_list(self, want: Wanted) -> ChunkList | None:
        """The file's list, from the cache or from a source; None where the file goes whole."""
        if want.chunks is None:
            return None
        data = self.cache.read_list(want.chunks)
        if data is None:
            data = self.fetch_list(want.chunks, want.label)
        if data is None:
            return None
        where = f"{want.label}: chunk list {want.chunks}"
        try:
            return parse_chunk_list(data, want.size, where)
        except MalformedError as error:
            raise VerificationError(
                "chunks-malformed", where, error.expected, error.found,
                "the publisher signed a list that is none; tell the operator",
            ) from None  # fmt: skip

    def fetch_list(self, chunks: str, label: str) -> bytes | None:
        """The bytes of a chunk list, kept in the cache; None where no source has it, because
        a list only helps: what it describes is verified by its own digest."""
        tried: list[Source] = []
        while (source := self._line.sources.pick(tried)) is not None:
            alone = len(tried) == len(self._line.sources) - 1
            http = self._line.http if alone else self._line.impatient()
            tried.append(source)
            with (
                suppress(NetworkError, ForgeError),
                http.open("GET", source.address(chunks)) as response,
            ):
                if response.status == 200:
                    data = read_limited(response, MAX_LIST_BYTES)
                    if sha256_hex(data) == chunks:
                        self.cache.put(data)
                        return data
        return None
