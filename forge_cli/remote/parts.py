"""A file in parts: what has arrived is not sent again, by whichever process comes next.

Of a new version of a file that is public already only what changed is sent, and the registry takes
the rest from there. Where the registry keeps files in an object store, parts go straight there
(`direct`).
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from signing.chunks import ChunkList

from ..chunking import average_for, cut
from ..errors import ForgeError, RemoteError
from ..output import Progress
from ..recipes import Limits, Segment, places, plan_recipe, sent_bytes
from .api import Api, member
from .crew import Crew
from .direct import DirectParts, DirectWay
from .http import BLOCK_BYTES
from .sending import Body, Sender

_BEGIN_AGAIN: Final = 5


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
class PartsUploads:
    """Sends files in parts for ``component``. For several threads.

    ``note_rate`` is told the bytes of each part that went through the registry, and when it began.
    """

    api: Api
    component: str
    crew: Crew
    sender: Sender
    progress: Progress
    note_rate: Callable[[int, float], None]
    direct: DirectWay = field(default_factory=DirectWay)
    limits: Limits | None = None
    sent_bytes: int = 0
    reused_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask_limits(self) -> Limits | None:
        """What the registry says of parts, asked for until it has said it; None for one that takes
        whole files only."""
        with self._lock:
            self.limits = self.limits or self._fetch_limits()
        return self.limits

    def _fetch_limits(self) -> Limits | None:
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

    @property
    def query(self) -> str:
        """What each request says of the component."""
        return f"component={quote(self.component, safe='')}"

    def send(
        self,
        file: Outgoing,
        segments: Sequence[Segment],
        *,
        alone: bool = False,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """The registry has the file afterwards; False where it had it before.

        ``alone``: this thread is one of the crew already, so it sends the parts by itself, as long
        as it ``goes_on``; False also where it did not to the end.

        Raises:
            RemoteError: refused, for instance ``digest-mismatch``.
            NetworkError: the registry could not be reached often enough.
        """
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
            sender=self.sender,
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
            self.sender.put(path, self.query, body, headers)
            self.note_rate(segment.length, began)

        if not alone:
            self.crew.run(send, parts.todo)
            return len(parts.todo)
        for number, item in enumerate(parts.todo):
            if not goes_on():
                return number
            send(item)
        return len(parts.todo)

    def plain(self, file: Outgoing) -> list[Segment]:
        """All of the file, to be sent."""
        assert self.limits is not None
        return plan_recipe(file.size, None, {}, self.limits)

    def recipe(self, file: Outgoing) -> list[Segment]:
        """With what the registry can take from older files."""
        assert self.limits is not None
        best = self.plain(file)
        for chunks, have in self._matches(file):
            made = plan_recipe(file.size, chunks, have, self.limits)
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
            self.crew.sleep(1.0)


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
