"""The status host's word as this client sees it: checked against the registry, and kept.

    <state>/status/role.json                 the last one, in its exact bytes
    <state>/status/<sha256>.snapshot.json    the snapshot that it names

What is kept serves three purposes: a revocation cannot be taken back and no older word be shown to
who has seen it; what costs a request is asked for once; and without a network it is still known
what was withheld the last time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from signing.digests import sha256_hex
from signing.errors import MalformedError
from signing.roles import parse_targets
from signing.status import (
    Status,
    check_follows,
    check_minimum,
    is_superseded,
    log_to_check,
    snapshot_versions,
    status_in,
    status_of,
)
from signing.tlog.entries import role_entry
from signing.updates import check_shape

from ..border import sound
from ..files import write_private
from .log import LogView

# The bytes of a version of a role; not looked at.
FetchRole = Callable[[str, int], bytes]


class StatusMemory:
    """What is kept of the status host's word in a registry's folder of what was seen."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "status"

    def role(self) -> bytes | None:
        """The last word that was verified here; None where there is none that can be read."""
        with suppress(FileNotFoundError, MalformedError):
            data = (self._folder / "role.json").read_bytes()
            status_of(data)
            return data
        return None

    def status(self) -> Status | None:
        """What the last word says."""
        data = self.role()
        return None if data is None else status_of(data)

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
        path = self._snapshot(sha256)
        if path.exists():
            return
        write_private(path, data)
        for other in self._folder.glob("*.snapshot.json"):
            if other != path:
                other.unlink(missing_ok=True)

    def _snapshot(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.snapshot.json"


def check_status(
    role: bytes,
    *,
    roots: Sequence[bytes],
    targets: bytes,
    snapshot: bytes,
    log: LogView | None,
    memory: StatusMemory,
    fetch: FetchRole,
) -> Status:
    """What ``role`` says, after establishing that everybody is told so (the log holds it), that the
    registry shows nothing older, that its log begins as the status host saw it, and that no
    revocation was taken back; then it is kept.

    Signatures and expiry of ``role`` were checked before.

    Raises:
        VerificationError: ``not-in-log``, ``rollback``, ``status-contradicts``,
            ``revocation-lifted``, ``digest-mismatch``.
    """
    with sound("the role status"):
        parsed = parse_targets(role, "status").signed
        check_shape("status", parsed)
        status = status_in(parsed)
        delegator = parse_targets(targets, "targets").signed
        check_follows(delegator, memory.role(), status, parsed.version)
        seen = log_to_check(status, None if log is None else log.policy)
        if log is not None:
            log.require_logged("status", parsed.version, role_entry("status", parsed.version, role))
            if seen is not None:
                log.require_prefix(seen)
        named = named_snapshot(status, snapshot, memory, fetch)
        if not is_superseded(named, roots):
            check_minimum(status, named, snapshot_versions(snapshot))
    memory.keep_snapshot(status.snapshot.sha256, named)
    memory.keep(role)
    return status


def named_snapshot(status: Status, current: bytes, memory: StatusMemory, fetch: FetchRole) -> bytes:
    """The bytes that the role names: of the current snapshot, kept ones, or asked for."""
    if sha256_hex(current) == status.snapshot.sha256:
        return current
    kept = memory.snapshot(status.snapshot.sha256)
    return kept if kept is not None else fetch("snapshot", status.snapshot.version)
