"""Sending files to the registry: the chunk lists first, then the files that they describe.

A small file goes in one request. A large one, and one that a broken line has cut, goes in parts:
what has arrived is not sent again, by whichever process comes next. Of a new version of a file
that is public already, only what changed is sent, and the registry takes the rest from there. Where
the registry keeps files in an object store, parts go straight there (`direct`).

The registry hashes what arrives, so nothing is believed of this side: a file that changed since it
was hashed is refused.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from signing.chunks import ChunkList

from ..chunking import average_for, cut
from ..errors import ForgeError, NetworkError, RemoteError
from ..output import Progress
from ..recipes import Limits, Segment, places, plan_recipe, sent_bytes
from .api import Api, member
from .crew import Crew, Stopped
from .direct import DirectParts, DirectWay
from .http import BLOCK_BYTES, pause_seconds
from .pace import Pace
from .sending import Body, Sender

_PARTS_FROM_BYTES: Final = 64 << 20
_DIRECT_FROM_BYTES: Final = 16 << 20
_ONE_REQUEST_SECONDS: Final = 20.0  # what takes longer in one request goes in parts
_WORTH_RESUMING: Final = 4 << 20
_BEGIN_AGAIN: Final = 5
_LOOK_SECONDS: Final = 0.2  # how often those who wait look whether all was stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A file to send under its digest. ``chunks`` names its chunk list, if it has one.

    ``own`` gives that list, and ``olds`` public blobs, by digest, with theirs, from which the
    registry can take pieces: asked when they are needed, for lists take memory.
    """

    digest: str
    size: int
    source: Path | bytes
    label: str
    chunks: str | None = None
    own: Callable[[], ChunkList | None] = lambda: None
    olds: Callable[[], Mapping[str, ChunkList]] | None = None


@dataclass(slots=True, kw_only=True)
class Uploader:
    """Sends blobs for ``component`` with the rights of ``api``'s token."""

    api: Api
    component: str
    parallel: int
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    sent_bytes: int = 0
    reused_bytes: int = 0
    direct: DirectWay = field(default_factory=DirectWay)
    _crew: Crew = field(init=False)
    _sender: Sender = field(init=False)
    _limits: Limits | None = None
    _rate: float | None = None  # bytes a second of one request
    _line_asked: bool = False
    _line_known: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._crew = Crew(self.parallel)
        self.pace.sleep = self._crew.sleep
        self._sender = Sender(api=self.api, crew=self._crew, progress=self.progress, pace=self.pace)

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
            self._limits = self._fetch_limits()
        large = self._large(rest)
        self._crew.run(self._send, sorted(_without(rest, large), key=lambda file: -file.size))
        self._send_large(sorted(large, key=lambda file: -file.size))

    def send_ahead(self, file: Outgoing, chunks: Outgoing, goes_on: Callable[[], bool]) -> bool:
        """Sends a file and its chunk list by this thread alone; False where the registry has the
        file, or parts are to go and ``goes_on`` says No: `send` finds those that are there.

        Raises as `send`.
        """
        with self._lock:
            self._limits = self._limits or self._fetch_limits()
        if self._limits is None:
            segments: Sequence[Segment] = ()
        else:
            segments = self._plain(file) if file.olds is None else self._recipe(file)
        if any(segment.source is not None for segment in segments):
            if sent_bytes(segments) == 0 or not goes_on():
                return False  # public already as it is, or soon: the offer will tell
            self._send_whole(chunks)
            # Whether the whole is here already is said when it begins.
            return self._send_parts(file, segments, alone=True, goes_on=goes_on)
        if self.api.has("blobs", file.digest, query={"component": self.component}):
            return False
        with self._line_known_for(file):
            if self._is_quick(file):
                self._send_whole(chunks)
                self._send(file)
                return True
            if self._limits is None or not goes_on():
                return False
            self._send_whole(chunks)
            return self._send_parts(file, segments, alone=True, goes_on=goes_on)

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
        if self._limits is None:
            return []
        least = _DIRECT_FROM_BYTES if self.direct.open else _PARTS_FROM_BYTES
        return [file for file in files if file.olds or file.size >= least]

    def _send_large(self, files: Sequence[Outgoing]) -> None:
        """In parts, as long as nothing is known of the line, or it is slow. What it carries in a
        few seconds goes in one request: bytes of a part are hashed once more on both sides."""
        news: list[Outgoing] = [file for file in files if file.olds is None]
        changed: list[tuple[Outgoing, list[Segment]]] = []

        def compare(file: Outgoing) -> None:
            segments = self._recipe(file)
            if all(segment.source is None for segment in segments):
                news.append(file)  # it has nothing of any older one
            elif sent_bytes(segments) < _PARTS_FROM_BYTES:
                # What takes long is the registry's reading of the whole: of several at once.
                self._send_parts(file, segments, alone=True)
            else:
                changed.append((file, segments))

        self._crew.run(compare, [file for file in files if file.olds is not None])
        for file, segments in changed:
            self._send_parts(file, segments)
        waiting = sorted(news, key=lambda file: -file.size)
        while waiting:
            quick = [file for file in waiting if self._is_quick(file)]
            if quick:
                self._crew.run(self._send, quick)
                waiting = _without(waiting, quick)
            else:
                file = waiting.pop(0)
                self._send_parts(file, self._plain(file))

    def _is_quick(self, file: Outgoing) -> bool:
        if self.direct.open:
            return file.size < _DIRECT_FROM_BYTES
        if self._rate is None:
            return file.size < _PARTS_FROM_BYTES
        return file.size / self._rate <= _ONE_REQUEST_SECONDS

    def _fetch_limits(self) -> Limits | None:
        """None for a registry that takes whole files only."""
        try:
            answer = self.api.get("uploads")
        except RemoteError as error:
            if error.status in (404, 405):
                return None
            raise
        names = ("min_bytes", "max_bytes", "max_segments")
        limits = Limits(**{name: member(answer, name, int) for name in names})
        self.direct.open = self.direct.closed is None and answer.get("direct") is True
        return limits

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
        with self._lock:
            self._limits = self._limits or self._fetch_limits()
        if self._limits is None:
            return self._send_whole(file)
        self._send_parts(file, self._plain(file), alone=True)
        return None

    def _send_whole(self, file: Outgoing, attempts: int = 5) -> None:
        query = self._query
        if file.chunks is not None:
            query += f"&chunks={file.chunks}"
        began = time.monotonic()
        body = Body(source=file.source, size=file.size)
        self._sender.put(f"blobs/{file.digest}", query, body, attempts=attempts)
        with self._lock:
            self.sent_bytes += file.size
        self._note_rate(file.size, began)

    def _note_rate(self, size: int, began: float) -> None:
        if size >= _WORTH_RESUMING:
            with self._lock:
                self._rate = size / max(1e-3, time.monotonic() - began)
            self._line_known.set()

    @property
    def _query(self) -> str:
        return f"component={quote(self.component, safe='')}"

    # --- in parts -----------------------------------------------------------------------------

    def _send_parts(
        self,
        file: Outgoing,
        segments: Sequence[Segment],
        *,
        alone: bool = False,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """``alone``: this thread is one of the crew already, so it sends the parts by itself, as
        long as it ``goes_on``; False when it did not to the end, or the registry has the file."""
        for _ in range(_BEGIN_AGAIN):
            answer = self._begin(file, segments)
            if member(answer, "state") == "stored":
                self.progress.advance(file.size)
                return False
            upload = member(answer, "upload")
            here = set(member(answer, "parts", list))
            for number, segment in enumerate(segments):
                if segment.source is not None or number in here:
                    self.progress.advance(segment.length)
            todo = [
                (number, segment)
                for number, segment in enumerate(segments)
                if segment.source is None and number not in here
            ]
            parts = self._direct_parts(file, upload, todo)
            try:
                sent = self._send_each(file, parts, alone=alone, goes_on=goes_on)
                if sent < len(todo):
                    self._leave(file, todo[:sent], todo[sent:])
                    return False
                self._finish(file, upload)
            except RemoteError as error:
                if error.code == "digest-mismatch" and parts.sent:
                    # The store holds something else than what went there.
                    self.direct.close("it did not keep what was sent to it")
                # Swept meanwhile, or another process has finished or aborted it: look again.
                elif error.code not in ("upload-not-found", "parts-missing"):
                    raise
                self.progress.advance(-file.size)
                continue
            with self._lock:
                self.sent_bytes += sum(segment.length for _, segment in todo)
                self.reused_bytes += file.size - sent_bytes(segments)
            return True
        raise ForgeError(
            "registry-malformed",
            f"{file.label}: the registry loses the parts that it has confirmed",
            hint="tell its operator; nothing was published",
        )

    def _leave(
        self,
        file: Outgoing,
        sent: Sequence[tuple[int, Segment]],
        rest: Sequence[tuple[int, Segment]],
    ) -> None:
        """Somebody else goes on with it, and will report all of it as progress."""
        with self._lock:
            self.sent_bytes += sum(segment.length for _, segment in sent)
        self.progress.advance(sum(segment.length for _, segment in rest) - file.size)

    def _direct_parts(
        self, file: Outgoing, upload: str, todo: Sequence[tuple[int, Segment]]
    ) -> DirectParts:
        return DirectParts(
            api=self.api,
            component=self.component,
            upload=upload,
            todo=todo,
            sha256=lambda segment: _sha256(file.source, segment),
            sender=self._sender,
            way=self.direct,
        )

    def _send_each(
        self, file: Outgoing, parts: DirectParts, *, alone: bool, goes_on: Callable[[], bool]
    ) -> int:
        """How many of the parts were sent, from the first on."""

        def send(item: tuple[int, Segment]) -> None:
            number, segment = item
            body = Body(source=file.source, size=segment.length, start=segment.at)
            if parts.send(number, body):
                return
            digest = base64.b64encode(parts.digest(number, segment)).decode()
            headers = {"Content-Digest": f"sha-256=:{digest}:"}
            path = f"uploads/{parts.upload}/parts/{number}"
            began = time.monotonic()
            self._sender.put(path, self._query, body, headers)
            self._note_rate(segment.length, began)

        if not alone:
            self._crew.run(send, parts.todo)
            return len(parts.todo)
        for number, item in enumerate(parts.todo):
            if not goes_on():
                return number
            send(item)
        return len(parts.todo)

    def _plain(self, file: Outgoing) -> list[Segment]:
        """All of the file, to be sent."""
        assert self._limits is not None
        return plan_recipe(file.size, None, {}, self._limits)

    def _recipe(self, file: Outgoing) -> list[Segment]:
        """With what the registry can take from older files."""
        assert self._limits is not None
        best = self._plain(file)
        for chunks, have in self._matches(file):
            made = plan_recipe(file.size, chunks, have, self._limits)
            if sent_bytes(made) < sent_bytes(best):
                best = made
        return best

    def _matches(self, file: Outgoing) -> list[tuple[ChunkList, dict[bytes, tuple[str, int]]]]:
        """The file's chunks beside those of the old blobs that were cut as finely.

        A file that grew over a power of two is cut more coarsely than its old version: then it
        is cut once more, as that was.
        """
        listed = file.own() if file.olds is not None else None
        if listed is None or file.olds is None or not isinstance(file.source, Path):
            return []
        groups: dict[int, dict[str, ChunkList]] = {}
        for blob, chunks in file.olds().items():
            groups.setdefault(average_for(chunks.size), {})[blob] = chunks
        found = []
        for average, lists in groups.items():
            own: ChunkList | None = listed
            if average != average_for(file.size):
                with file.source.open("rb", buffering=0) as source:
                    own = cut(source, file.size, average=average)
            if own is not None:
                found.append((own, places(lists)))
        return found

    def _begin(self, file: Outgoing, segments: Sequence[Segment]) -> Any:
        sources = sorted({each.source for each in segments if each.source is not None})
        rows: list[list[int]] = [
            [each.length]
            if each.source is None
            else [each.length, sources.index(each.source), each.start]
            for each in segments
        ]
        body = self._described(file) | {"sources": sources, "segments": rows}
        return self.api.post("uploads", body=body)

    def _described(self, file: Outgoing) -> dict[str, object]:
        body: dict[str, object] = {
            "component": self.component, "sha256": file.digest, "size": file.size,
        }  # fmt: skip
        if file.chunks is not None:
            body["chunks"] = file.chunks
        return body

    def _finish(self, file: Outgoing, upload: str) -> None:
        """The registry has read the whole; of a large file it says meanwhile that it is at it."""
        while True:
            answer = self.api.post("uploads", upload, "finish", body=self._described(file))
            if member(answer, "state") == "stored":
                return
            self._crew.sleep(1.0)


def _without(files: Sequence[Outgoing], some: Sequence[Outgoing]) -> list[Outgoing]:
    """``files`` without ``some``."""
    digests = {file.digest for file in some}
    return [file for file in files if file.digest not in digests]


def _sha256(source: Path | bytes, segment: Segment) -> bytes:
    if isinstance(source, bytes):
        return hashlib.sha256(source[segment.at : segment.end]).digest()
    hasher, left = hashlib.sha256(), segment.length
    with source.open("rb", buffering=0) as file:
        file.seek(segment.at)
        while left and (data := file.read(min(BLOCK_BYTES, left))):
            hasher.update(data)
            left -= len(data)
    return hasher.digest()
