"""Sending files to the registry: the chunk lists first, then the files that they describe.

The registry hashes what arrives, so a file is not read twice here: if it changed since it was
hashed, the registry refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ..output import Progress
from .api import Api
from .crew import Crew
from .pace import Pace
from .sending import Body, Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A file to send under its digest. ``chunks`` names its chunk list, if it has one."""

    digest: str
    size: int
    source: Path | bytes
    label: str
    chunks: str | None = None


@dataclass(slots=True, kw_only=True)
class Uploader:
    """Sends blobs for ``component`` with the rights of ``api``'s token."""

    api: Api
    component: str
    parallel: int
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    _crew: Crew = field(init=False)
    _sender: Sender = field(init=False)

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
        lists = {file.chunks for file in files}
        # With its list at hand the registry compares a file while it comes in.
        self._crew.run(self._send_whole, [file for file in files if file.digest in lists])
        rest = [file for file in files if file.digest not in lists]
        self._crew.run(self._send_whole, sorted(rest, key=lambda file: -file.size))

    def _send_whole(self, file: Outgoing) -> None:
        query = f"component={quote(self.component, safe='')}"
        if file.chunks is not None:
            query += f"&chunks={file.chunks}"
        self._sender.put(f"blobs/{file.digest}", query, Body(source=file.source, size=file.size))
