"""What is kept of the status host's word in a registry's folder of what was seen.

    <state>/status/role.json                 the last one, in its exact bytes
    <state>/status/<sha256>.snapshot.json    the snapshot that it names

What is kept serves three purposes: a revocation cannot be taken back and no older word be shown to
who has seen it; what costs a request is asked for once; and without a network it is still known
what was withheld the last time.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from signing.digests import sha256_hex
from signing.errors import MalformedError

from ..files import write_private

if TYPE_CHECKING:
    from signing.status import Status


class StatusMemory:
    """What is kept of the status host's word in a registry's folder of what was seen."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "status"

    def role(self) -> bytes | None:
        """The last word that was verified here; None where there is none that can be read."""
        last = self._last()
        return None if last is None else last[0]

    def status(self) -> Status | None:
        """What the last word says."""
        last = self._last()
        return None if last is None else last[1]

    def _last(self) -> tuple[bytes, Status] | None:
        with suppress(FileNotFoundError, MalformedError):
            data = (self._folder / "role.json").read_bytes()
            # Where there is no word, as without a status host, nothing of TUF is imported for it.
            from signing.status import status_of

            return data, status_of(data)
        return None

    def keep(self, role: bytes) -> None:
        if self.role() != role:
            write_private(self._folder / "role.json", role)

    def forget(self) -> None:
        """The authority names no status host any more: what the last one said is over."""
        (self._folder / "role.json").unlink(missing_ok=True)

    def snapshot(self, sha256: str) -> bytes | None:
        with suppress(FileNotFoundError):
            data = self._snapshot(sha256).read_bytes()
            return data if sha256_hex(data) == sha256 else None
        return None

    def keep_snapshot(self, sha256: str, data: bytes) -> None:
        """Keep the snapshot that the role to be kept next names, and none besides."""
        if self.snapshot(sha256) is not None:
            return
        path = self._snapshot(sha256)
        write_private(path, data)
        for other in self._folder.glob("*.snapshot.json"):
            if other != path:
                other.unlink(missing_ok=True)

    def _snapshot(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.snapshot.json"
