"""A file without a chunk list: one stream, hashed as it comes, continued where it stopped.

The part that is there already, from this process or one that was killed, is hashed once and
continued with ``Range`` and ``If-Range`` (RFC 9110 §14); a server that ignores both sends the
whole file, which is as good. Nothing beyond the signed length is ever read.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from urllib3.response import BaseHTTPResponse

from signing.errors import VerificationError

from ..cache import Cache
from ..errors import ForgeError, NetworkError
from ..exclusive import Exclusive
from ..output import Progress
from .crew import Stopped
from .http import BLOCK_BYTES, Http, pause_seconds
from .line import Line
from .metadata import not_served
from .sources import Source
from .wanted import ANOTHER_MIRROR, OtherRangeError, Wanted, other_range

_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeFetch:
    """Fetches files in one piece into ``cache``."""

    line: Line
    cache: Cache
    progress: Progress

    def fetch(self, want: Wanted) -> None:
        """The blob is in the cache afterwards.

        Raises:
            Busy: another process fetches it.
            VerificationError: ``digest-mismatch`` or ``length-mismatch``, from every source.
            NetworkError: no source could be reached often enough.
        """
        with closing(Exclusive(self.cache.partial(want.digest))) as file:
            path = file.path
            if self.cache.has(want.digest, want.size):  # another process was quicker
                path.unlink()
                self.progress.advance(want.size)
                return
            try:
                self._from_any_source(want, path)
            except VerificationError:
                with suppress(OSError):
                    path.unlink()
                raise

    def _from_any_source(self, want: Wanted, path: Path) -> None:
        tried: list[Source] = []
        while True:
            source = self.line.sources.pick(tried)
            assert source is not None
            alone = len(tried) == len(self.line.sources) - 1
            try:
                return self._from(
                    source, want, path, self.line.http if alone else self.line.impatient()
                )
            except (ForgeError, VerificationError) as error:
                if error.code == "window-closed":
                    raise
                tried.append(source)
                self.line.sources.failed(source, error)
                if len(tried) == len(self.line.sources):
                    raise

    def _from(self, source: Source, want: Wanted, path: Path, http: Http) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            with _Part.open(path, want, self.progress) as part:
                begun_at = part.size
                try:
                    self._receive(source, want, part, http)
                except OtherRangeError:
                    part.discard()
                    continue
                except NetworkError as error:
                    self.line.lanes.trouble()
                    # `Http` was patient already. Here, only a connection that brought
                    # something before it broke deserves another one.
                    if part.size == begun_at or attempt == _ATTEMPTS or error.code != "network":
                        raise
                    self.line.crew.sleep(pause_seconds(min(attempt, 3)))
                    continue
                if part.hasher.hexdigest() == want.digest:
                    self.line.sources.worked(source, part.size - begun_at)
                    break
                found = part.hasher.hexdigest()
                part.discard()
                # What lay on this disk may have been damaged here: fetch it whole, once more.
                if begun_at == 0 or attempt == _ATTEMPTS:
                    raise VerificationError(
                        "digest-mismatch", want.label, f"sha256 {want.digest}", found,
                        ANOTHER_MIRROR,
                    )  # fmt: skip
        self.cache.adopt(path, want.digest)

    def _receive(self, source: Source, want: Wanted, part: _Part, http: Http) -> None:
        """Add what is missing to ``part``. Raises NetworkError when the connection breaks."""
        if part.size == want.size:
            return
        headers = {}
        if part.size:
            headers = {"Range": f"bytes={part.size}-", "If-Range": f'"{want.digest}"'}
        address = source.address(want.digest)
        with http.open("GET", address, headers=headers) as response:
            if response.status not in (200, 206):
                raise not_served(f"{want.label} ({address})", response.status, response)
            if response.status == 206 and not (part.size and _continues_at(response, part.size)):
                raise other_range(want.label)
            if response.status == 200 and part.size:
                part.restart()
            require_length(want, part.size, response)
            part.receive(response, self.line)
            if part.size < want.size:
                raise NetworkError(
                    f"{want.label}: the answer ended after {part.size} of {want.size} bytes",
                    hint="run the same command again; it continues where it stopped",
                )


def require_length(want: Wanted, have: int, response: BaseHTTPResponse) -> None:
    """Refuses an answer that announces more than the signed length."""
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and have + int(announced) > want.size:
        raise VerificationError(
            "length-mismatch",
            want.label,
            f"{want.size} bytes",
            f"{have + int(announced)} bytes announced",
        )


def too_long(want: Wanted) -> VerificationError:
    return VerificationError(
        "length-mismatch",
        want.label,
        f"{want.size} bytes",
        f"more than {want.size} bytes",
        ANOTHER_MIRROR,
    )


class _Part:
    """An unfinished file, open for appending, with the hash of what it holds."""

    def __init__(self, path: Path, want: Wanted, progress: Progress) -> None:
        self._want = want
        self._progress = progress
        self._file = path.open("r+b", buffering=0)
        self._buffer = memoryview(bytearray(BLOCK_BYTES))
        self.hasher = hashlib.sha256()
        self.size = 0
        self._reported = 0

    @classmethod
    def open(cls, path: Path, want: Wanted, progress: Progress) -> _Part:
        part = cls(path, want, progress)
        part._read_back()
        return part

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read_back(self) -> None:
        """Hash what an earlier run left; a part longer than the file is worth nothing."""
        if os.fstat(self._file.fileno()).st_size > self._want.size:
            self._file.truncate(0)
        while count := self._file.readinto(self._buffer):
            self._add(self._buffer[:count])

    def _add(self, data: memoryview | bytes) -> None:
        self.hasher.update(data)
        self.size += len(data)
        if self.size > self._reported:
            self._progress.advance(self.size - self._reported)
            self._reported = self.size

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        self.hasher = hashlib.sha256()
        self.size = 0

    def receive(self, response: BaseHTTPResponse, line: Line) -> None:
        """Write and hash the body, block by block, never past the signed length."""
        while True:
            if line.crew.stop.is_set():
                raise Stopped
            # One byte more than we may keep, so that a longer answer shows itself.
            data = line.read(response, self._want.size - self.size + 1, self._want.label)
            if not data:
                return
            if self.size + len(data) > self._want.size:
                self.discard()
                raise too_long(self._want)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file.fileno(), view) :]
            self._add(data)

    def discard(self) -> None:
        """Keep nothing: the next attempt begins at the first byte."""
        self._file.truncate(0)


def _continues_at(response: BaseHTTPResponse, start: int) -> bool:
    """Whether a 206 brings exactly one range, beginning at ``start``."""
    text = str(response.headers.get("Content-Range", ""))
    return text.startswith(f"bytes {start}-")
