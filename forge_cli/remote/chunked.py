"""Ranges of a file with a chunk list: each chunk is compared with the list when it is complete.

A chunk that is another is fetched again, alone, from whichever source failed least; one that gave
it wrong three times is not asked for it any more, and when none is left the command ends with the
chunk's number.
A source that ignores ``Range`` is read from the beginning, in one stream, as long as no other
source does better.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from urllib3.response import BaseHTTPResponse

from signing.chunks import Chunk
from signing.errors import VerificationError

from ..errors import ForgeError, NetworkError
from ..output import Progress
from .crew import Stopped
from .http import Http, pause_seconds
from .line import Line
from .metadata import not_served
from .partial import Partial
from .sources import Source
from .wanted import Wanted, other_range
from .whole import require_length, too_long

_FRUITLESS: Final = 20
_FRUIT_BYTES: Final = 16 << 10  # what a connection must bring to be worth another at once
_SAME_SOURCE: Final = 3


class BadChunkError(Exception):  # handled here: another try, another source
    """A chunk came with other bytes."""

    def __init__(self, chunk: Chunk, found: str) -> None:
        super().__init__(str(chunk))
        self.chunk = chunk
        self.found = found


class NoRangesError(Exception):  # handled here: one stream
    """The whole file came where a range was asked for, and somebody reads it already."""


@dataclass(slots=True)
class _Place:
    """Where in a range the next byte goes; the chunk there is hashed as it grows.

    ``chunk`` is the one that the byte belongs to, and the last of the range when all came. Bytes of
    a chunk that is here, or that somebody else writes, are passed over.
    """

    numbers: range
    partial: Partial
    number: int = field(init=False)
    at: int = field(init=False)
    chunk: Chunk = field(init=False)
    tapping: bool = False
    _hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    _claimed: int = 0  # those from `number` up to this one are claimed
    _right: list[int] = field(default_factory=list)
    _came: int = 0  # their bytes

    def __post_init__(self) -> None:
        self.begin(self.numbers.start)

    @property
    def done(self) -> bool:
        return self.number == self.numbers.stop

    def begin(self, number: int) -> None:
        self.number = number
        if not self.done:
            self.chunk = self.partial.chunks[number]
            self.at = self.chunk.start

    def let_go(self) -> None:
        """Others may write what did not come; of a chunk that is not complete nothing is kept."""
        if self._claimed > self.number:
            self.partial.let_go(range(self.number, self._claimed))
            self._claimed = self.number
            self.begin(self.number)

    def mark(self) -> int:
        """Puts down which chunks came since the last time; returns how many bytes."""
        right, self._right = self._right, []
        self.partial.mark(*right)
        came, self._came = self._came, 0
        return came

    def open_tap(self) -> None:
        """An answer begins: its bytes are handed on to the digest of the whole, if they are the
        next ones for it."""
        at_start = not self.done and self.at == self.chunk.start
        self.tapping = at_start and self.partial.begin_tap(self.number)

    def close_tap(self) -> None:
        if self.tapping:
            self.partial.end_tap()
        self.tapping = False

    def add(self, data: memoryview) -> None:
        """The next bytes, none beyond the range; `mark` has the chunks that became complete.

        Raises:
            BadChunkError: one is complete and another; it begins anew.
        """
        while data:
            if ours := self._ours(len(data)):
                self.partial.write(data[:ours], self.at)
                self._take(data[:ours])
                data = data[ours:]
            else:
                self.close_tap()  # it was taken up, or will be, from the file
                data = data[self._pass(len(data)) :]

    def _ours(self, size: int) -> int:
        """How many of the next ``size`` bytes may be written here."""
        chunks = self.partial.chunks
        last = chunks.at(self.at + size - 1)
        if self._claimed <= self.number and self.at > self.chunk.start:
            return 0  # its beginning was not ours
        if self._claimed <= last:
            first = max(self._claimed, self.number)
            self._claimed = self.partial.claim(range(first, last + 1))
        if self._claimed <= self.number:
            return 0
        return min(self.at + size, chunks.start(self._claimed)) - self.at

    def _pass(self, size: int) -> int:
        count = min(size, self.chunk.end - self.at)
        self.at += count
        if self.at == self.chunk.end:
            self.begin(self.number + 1)
        return count

    def _take(self, data: memoryview) -> None:
        # Some 15,000 times a GiB: what is done here for each chunk shows beside hashing it.
        first, begin, rest = self.number, self.at, data
        while rest:
            if self.at == self.chunk.start:
                self._hasher = hashlib.sha256()
            part = rest[: self.chunk.end - self.at]
            rest = rest[len(part) :]
            self._hasher.update(part)
            self.at += len(part)
            if self.at == self.chunk.end:
                self._complete()
        if self.tapping:
            right = max(0, self.partial.chunks.start(self.number) - begin)
            if self.number > first:
                self.partial.tap(data[:right])
                self.partial.tapped(self.number - 1)
            self.partial.tap(data[right:])

    def _complete(self) -> None:
        if self._hasher.digest() != self.chunk.digest:
            bad, found = self.chunk, self._hasher.hexdigest()
            self.close_tap()
            self.begin(self.number)
            raise BadChunkError(bad, found)
        self._right.append(self.number)
        self._came += self.chunk.length
        self.begin(self.number + 1)


@dataclass(slots=True, kw_only=True)
class ChunkFetch:
    """Fetches ranges of one file into its `Partial`. For several threads."""

    want: Wanted
    partial: Partial
    line: Line
    progress: Progress
    streamed: bool = False  # somebody reads it from the beginning to the end
    _bad: Counter[tuple[int, str]] = field(default_factory=Counter)

    def fetch(self, numbers: range) -> None:
        """The chunks ``numbers``, which the caller took, are in the file afterwards.

        Raises:
            NoRangesError: they are not, but somebody else brings them.
            VerificationError: ``digest-mismatch`` of a chunk, ``length-mismatch``.
            NetworkError: no source could be reached often enough.
        """
        place = _Place(numbers, self.partial)
        try:
            self._fetch(place)
        finally:
            place.let_go()

    def _fetch(self, place: _Place) -> None:
        given_up: list[Source] = []
        fruitless = 0
        while not place.done:
            avoid = [*given_up, *self._wrong(place.number)]
            source = self.line.sources.pick(avoid)
            if source is None:  # all failed; those that gave wrong chunks will do for others
                raise self._refused(place.chunk)
            before = self.line.received
            began = (place.number, place.at)
            try:
                alone = len(given_up) == len(self.line.sources) - 1
                self._receive(source, place, self.line.http if alone else self.line.impatient())
                self.line.sources.worked(source, 0)
            except BadChunkError as error:
                self._bad[error.chunk.number, source.url] += 1
                if self.line.sources.pick([*given_up, *self._wrong(error.chunk.number)]) is None:
                    raise self._refused(error.chunk, error.found) from None
                self.line.sources.failed(source, error)
            except VerificationError as error:
                given_up.append(source)
                self.line.sources.failed(source, error)
                if len(given_up) == len(self.line.sources):
                    raise
            except (NetworkError, ForgeError) as error:
                if error.code == "window-closed":
                    raise
                self.line.lanes.trouble()
                self.line.sources.failed(source, error)
                moved = (place.number, place.at) != began
                if not moved or error.code != "network":
                    given_up.append(source)
                    if len(given_up) == len(self.line.sources):
                        raise
                    continue
                # It brought something before it broke: that is kept, and it deserves another
                # connection, as long as it goes on bringing something.
                given_up.clear()
                fruitless = 0 if self.line.received - before >= _FRUIT_BYTES else fruitless + 1
                if fruitless == _FRUITLESS:
                    raise
                self.line.crew.sleep(pause_seconds(min(fruitless + 1, 3)))

    def _wrong(self, number: int) -> list[Source]:
        """The sources that gave this chunk wrong often enough."""
        return [s for s in self.line.sources if self._bad[number, s.url] >= _SAME_SOURCE]

    def _refused(self, chunk: Chunk, found: str = "other bytes, from every source") -> Exception:
        return VerificationError(
            "digest-mismatch",
            f"{self.want.label}, {chunk}",
            f"sha256 {chunk.digest.hex()}",
            found,
            "the other chunks are kept; try another mirror (--mirror URL) and tell the operator",
        )

    def _receive(self, source: Source, place: _Place, http: Http) -> None:
        chunks, numbers = self.partial.chunks, place.numbers
        end = chunks.start(numbers.stop)
        headers = {}
        if (place.at, end) != (0, self.want.size):
            headers = {
                "Range": f"bytes={place.at}-{end - 1}",
                "If-Range": f'"{self.want.digest}"',
            }
        address = source.address(self.want.digest)
        with http.open("GET", address, headers=headers) as response:
            if response.status not in (200, 206):
                raise not_served(f"{self.want.label} ({address})", response.status, response)
            if response.status == 206:
                expected = f"bytes {place.at}-{end - 1}/{self.want.size}"
                if not headers or response.headers.get("Content-Range") != expected:
                    raise other_range(self.want.label)
                self._read(response, place)
            elif headers:
                place.let_go()
                self._stream(response)
                place.begin(numbers.stop)
            else:
                require_length(self.want, 0, response)
                self._read(response, place)
                self._require_end(response)

    def _stream(self, response: BaseHTTPResponse) -> None:
        """Takes all that is missing from an answer that begins at the first byte."""
        if self.streamed:
            raise NoRangesError
        self.streamed = True
        place = _Place(range(len(self.partial.chunks)), self.partial)
        try:
            require_length(self.want, 0, response)
            self._read(response, place)
            self._require_end(response)
        finally:
            place.let_go()
            self.streamed = False

    def _read(self, response: BaseHTTPResponse, place: _Place) -> None:
        place.open_tap()
        try:
            self._read_all(response, place)
        finally:
            place.close_tap()
            self.partial.follow()

    def _read_all(self, response: BaseHTTPResponse, place: _Place) -> None:
        last = self.partial.chunks.start(place.numbers.stop)
        while not place.done:
            if self.line.crew.stop.is_set():
                raise Stopped
            data = self.line.read(response, last - place.at, self.want.label)
            if not data:
                raise NetworkError(
                    f"{self.want.label}: the answer ended after {place.at} of {last} bytes",
                    hint="run the same command again; it continues where it stopped",
                )
            try:
                place.add(memoryview(data))
            finally:
                self.progress.advance(place.mark())

    def _require_end(self, response: BaseHTTPResponse) -> None:
        """Nothing may follow the last byte of the whole file."""
        if self.line.read(response, 1, self.want.label):
            raise too_long(self.want)
