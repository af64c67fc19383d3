"""Moving files: several at a time, hashed in line, continued where they stopped.

Down: each file is written to ``partial/<digest>.part`` and becomes a blob of the cache only when
its digest is right. A part that is there already, from this process or one that was killed, is
hashed once and continued with ``Range`` and ``If-Range`` (RFC 9110 §14); a server that ignores
both sends the whole file, which is as good. Nothing beyond the signed length is ever read.

Up: the body goes from the file to the socket, with sendfile where the connection is plain HTTP.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from signing.errors import VerificationError

from ..cache import Cache
from ..errors import NetworkError
from ..output import Progress
from .crew import Crew, Stopped
from .http import BLOCK_BYTES, Http, lost, pause_seconds
from .trust import not_served

_ATTEMPTS: Final = 20


class _OtherRangeError(NetworkError):
    """A 206 that does not continue where we stopped: take the whole file instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A blob to fetch: ``label`` is what messages call it, such as a path."""

    digest: str
    size: int
    label: str


@dataclass(slots=True, kw_only=True)
class Downloader:
    """Fetches blobs of the registry at ``url`` into ``cache``."""

    http: Http
    url: str
    cache: Cache
    parallel: int
    progress: Progress
    _crew: Crew = field(init=False)

    def __post_init__(self) -> None:
        self._crew = Crew(self.parallel)
        # The same connections and the same count, but a pause that Ctrl-C ends.
        self.http = replace(self.http, sleep=self._crew.sleep)

    def fetch(self, wanted: Sequence[Wanted]) -> None:
        """Every blob of ``wanted`` is in the cache afterwards, verified.

        Raises:
            VerificationError: ``digest-mismatch`` or ``length-mismatch``.
            NetworkError: the registry could not be reached often enough.
            OSError: the disk is full or may not be written.
        """
        self.cache.require_writable()
        # The largest first, so that the last minute is not one thread's alone.
        self._crew.run(self._fetch_one, sorted(wanted, key=lambda want: -want.size))

    def _fetch_one(self, want: Wanted) -> None:
        path = self.cache.partial(want.digest)
        with path.open("ab") as lock:
            # Another forge may be on the same file: it goes first, and then it is there.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self.cache.has(want.digest, want.size):
                with suppress(OSError):
                    path.unlink()
                self.progress.advance(want.size)
                return
            if not os.path.exists(path):
                path.touch()
            try:
                self._fetch_locked(want, path)
            except VerificationError:
                with suppress(OSError):
                    path.unlink()
                raise

    def _fetch_locked(self, want: Wanted, path: Path) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            with _Part.open(path, want, self.progress) as part:
                begun_at = part.size
                try:
                    self._receive(want, part)
                except _OtherRangeError:
                    part.discard()
                    continue
                except NetworkError:
                    # `Http` was patient already. Here, only a connection that brought
                    # something before it broke deserves another one.
                    if part.size == begun_at or attempt == _ATTEMPTS:
                        raise
                    self._crew.sleep(pause_seconds(min(attempt, 3)))
                    continue
                if part.hasher.hexdigest() == want.digest:
                    break
                found = part.hasher.hexdigest()
                part.discard()
                # What lay on this disk may have been damaged here: fetch it whole, once more.
                if begun_at == 0 or attempt == _ATTEMPTS:
                    raise VerificationError(
                        "digest-mismatch",
                        want.label,
                        f"sha256 {want.digest}",
                        found,
                        "nothing of it was kept; try another mirror and tell the operator",
                    )
        self.cache.adopt(path, want.digest)

    def _receive(self, want: Wanted, part: _Part) -> None:
        """Add what is missing to ``part``. Raises NetworkError when the connection breaks."""
        if part.size == want.size:
            return
        headers = {}
        if part.size:
            headers = {"Range": f"bytes={part.size}-", "If-Range": f'"{want.digest}"'}
        address = f"{self.url}/blobs/{want.digest}"
        with self.http.open("GET", address, headers=headers) as response:
            if response.status not in (200, 206):
                raise not_served(f"{want.label} ({address})", response.status)
            if response.status == 206 and not (part.size and _continues_at(response, part.size)):
                raise _OtherRangeError(
                    f"{want.label}: the registry sent another range than was asked for"
                )
            if response.status == 200 and part.size:
                part.restart()
            self._require_length(want, part, response)
            part.receive(response, self._crew.stop)
            if part.size < want.size:
                raise NetworkError(
                    f"{want.label}: the answer ended after {part.size} of {want.size} bytes",
                    hint="run the same command again; it continues where it stopped",
                )

    @staticmethod
    def _require_length(want: Wanted, part: _Part, response: BaseHTTPResponse) -> None:
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and part.size + int(announced) > want.size:
            raise VerificationError(
                "length-mismatch",
                want.label,
                f"{want.size} bytes",
                f"{part.size + int(announced)} bytes announced",
            )


class _Part:
    """An unfinished file, open for appending, with the hash of what it holds."""

    def __init__(self, path: Path, want: Wanted, progress: Progress) -> None:
        self._path = path
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
            self._add(count)

    def _add(self, count: int) -> None:
        self.hasher.update(self._buffer[:count])
        self.size += count
        if self.size > self._reported:
            self._progress.advance(self.size - self._reported)
            self._reported = self.size

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        self.hasher = hashlib.sha256()
        self.size = 0

    def receive(self, response: BaseHTTPResponse, stop: threading.Event) -> None:
        """Write and hash the body, block by block, never past the signed length."""
        while True:
            if stop.is_set():
                raise Stopped
            # One byte more than we may keep, so that a longer answer shows itself.
            room = min(BLOCK_BYTES, self._want.size - self.size + 1)
            try:
                count = response.readinto(self._buffer[:room])
            except (HTTPError, ConnectionError, TimeoutError) as error:
                raise lost(f"{self._want.label}", error) from error
            if not count:
                return
            if self.size + count > self._want.size:
                self.discard()
                raise VerificationError(
                    "length-mismatch",
                    self._want.label,
                    f"{self._want.size} bytes",
                    f"more than {self._want.size} bytes",
                    "nothing of it was kept; try another mirror and tell the operator",
                )
            _write_all(self._file.fileno(), self._buffer[:count])
            self._add(count)

    def discard(self) -> None:
        """Keep nothing: the next attempt begins at the first byte."""
        self._file.truncate(0)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _continues_at(response: BaseHTTPResponse, start: int) -> bool:
    """Whether a 206 brings exactly one range, beginning at ``start``."""
    text = str(response.headers.get("Content-Range", ""))
    return text.startswith(f"bytes {start}-")
