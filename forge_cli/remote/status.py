"""The status host's word as this client sees it, checked against the registry before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from signing.digests import sha256_hex
from signing.errors import VerificationError
from signing.roles import delegations_of, parse_targets, verify_role
from signing.status import ROLE, LogSeen, Status, status_in
from signing.status_rules import (
    check_follows,
    check_minimum,
    is_superseded,
    log_to_check,
    require_named,
    snapshot_versions,
    stale,
)
from signing.tlog.entries import role_entry
from signing.updates import check_shape

from ..border import sound
from .log import LogView
from .status_memory import StatusMemory

# The bytes of a version of a role; not looked at.
FetchRole = Callable[[str, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """What this client was shown of the registry, against which the host's word is held. All of it
    was verified before."""

    roots: Sequence[bytes]
    targets: bytes
    snapshot: bytes
    log: LogView | None
    memory: StatusMemory
    fetch: FetchRole
    now: datetime

    @property
    def is_named(self) -> bool:
        """Whether the authority names a status host."""
        with sound("the targets role"):
            return ROLE in delegations_of(self.targets, "targets")

    def check(self, role: bytes) -> Status:
        """What ``role`` says, after establishing that everybody is told so (the log holds it), that
        the registry shows nothing older, that its log begins as the status host saw it, and that no
        revocation was taken back; then it is kept.

        Signatures and expiry of ``role`` were checked before.

        Raises:
            VerificationError: ``not-in-log``, ``rollback``, ``status-contradicts``,
                ``revocation-lifted``, ``digest-mismatch``.
        """
        with sound(f"the role {ROLE}"):
            parsed = parse_targets(role, ROLE).signed
            check_shape(ROLE, parsed)
            status, version = status_in(parsed), parsed.version
            delegator = parse_targets(self.targets, "targets").signed
            check_follows(delegator, self.memory.role(), status, version)
            if self.log is not None:
                self.log.require_logged(ROLE, version, role_entry(ROLE, version, role))
            self.require_seen_log(status)
            named = self._named_snapshot(status)
            if not is_superseded(named, self.roots):
                check_minimum(status, named, snapshot_versions(self.snapshot))
        self.memory.keep_snapshot(status.snapshot.sha256, named)
        self.memory.keep(role)
        return status

    def stale(self, version: int) -> VerificationError:
        """Since when nobody renewed the word of this version, as it says itself."""
        data = self.fetch(ROLE, version)
        with sound(f"the role {ROLE}"):
            signed = verify_role(self.targets, ROLE, data).signed
            return stale(status_in(signed), signed.expires, self.now)

    def require_true(self, status: Status) -> None:
        """Establishes that what somebody else is about to say is true, as far as is seen here.

        Raises:
            VerificationError: ``rollback``, ``status-contradicts``, ``digest-mismatch``.
        """
        if (self.require_seen_log(status) is None) is not (self.log is None):
            expected = "none" if self.log is None else f"a state of {self.log.policy.origin}"
            raise VerificationError("status-contradicts", f"role {ROLE}: the log", expected, "none")
        with sound("the snapshot"):
            named = self._named_snapshot(status)
            check_minimum(status, named, snapshot_versions(self.snapshot))

    def require_seen_log(self, status: Status) -> LogSeen | None:
        """Establishes that the log begins as the host saw it; None where that binds nobody."""
        seen = log_to_check(status, None if self.log is None else self.log.policy)
        if self.log is not None and seen is not None:
            self.log.require_prefix(seen)
        return seen

    def _named_snapshot(self, status: Status) -> bytes:
        """The bytes that it names: of the current snapshot, kept ones, or asked for."""
        if sha256_hex(self.snapshot) == status.snapshot.sha256:
            return self.snapshot
        kept = self.memory.snapshot(status.snapshot.sha256)
        if kept is not None:
            return kept
        fetched = self.fetch("snapshot", status.snapshot.version)
        require_named(status, fetched)
        return fetched
