"""From the database to the published tree: the order of writes that a crash cannot spoil.

The database is the truth, the published tree is written from it. One transaction holds a
change, the roles that carry it, and the snapshot and timestamp that announce it. After the
commit, under a lock between all processes, whatever is not in the tree yet is written in an
order that never refers to something that is not there: target files and roles, the snapshot among
them, of which nobody knows yet; the log's tiles and checkpoint; and ``timestamp.json`` last. Only
then are the rows marked as published. A crash in between leaves rows that are not marked; the next
start, or the next change, writes them again, which changes nothing where it was done already.

Two snapshots of one version cannot differ, because a version comes into being in the
transaction that holds the write lock, and its bytes are kept before anybody sees them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from signing.errors import MalformedError
from signing.keys import PrivateKey
from signing.role_edits import expiry, sign_snapshot, sign_timestamp
from signing.roles import EXPIRY, MAX_SNAPSHOT_BYTES, parse_signed
from signing.tlog.policy import policy_of
from storage import BlobStore, PublishedTree, put_together

from ..db.engine import Database
from ..db.models import Component, MetadataVersion, Release, ReviewStatement, Role
from ..errors import RegistryError
from .clock import Clock
from .forward import publish_forward
from .gathering import Gathering
from .locks import Lock
from .log_files import History, LogFiles, Published
from .log_keys import LogKeys
from .online_keys import KeyRing, OnlineKeys
from .restored import why_unconfirmed
from .review_roles import statement_file
from .rolebook import add_role, current_role, current_row, head_version, head_versions
from .switch import why_switched_off

TIMESTAMP = "timestamp.json"
TIMESTAMP_AGE = timedelta(hours=1)
_ROLES: Final = Role.__table__.c
_HEADS: Final = (
    select(_ROLES.metadata_id).where(_ROLES.name.in_(("root", "targets"))).order_by(_ROLES.name)
)
_NEXT: Final = "next snapshot"  # in the info of a session, which lives as long as a transaction
_KEPT_SNAPSHOTS = 20  # rows; the files of older ones go later (`superseded`)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFile:
    """A manifest or bundle: the blob that holds it and its path in the published tree."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Todo:
    releases: Sequence[tuple[int, str]]  # (row id, digest of the bundle)
    targets: Sequence[TargetFile]
    roles: Sequence[tuple[int, str, int, bytes]]  # (row id, role, version, bytes), by id
    leaves: Sequence[tuple[str, int, int | None]]  # (role, version, number in the log)
    statements: Sequence[tuple[str, str, bytes]]  # (target path, digest, envelope)


@dataclass(frozen=True, slots=True)
class Publication:
    database: Database
    tree: PublishedTree
    blobs: BlobStore
    keys: KeyRing
    clock: Clock
    lock: Lock
    log: LogFiles
    log_keys: LogKeys
    history: History
    # The keys that a root and a targets role of such row ids let the server sign with. Only of rows
    # that are committed: these are never deleted, so their ids mean the same for ever.
    _sound: dict[tuple[int, ...], OnlineKeys] = field(default_factory=dict)
    # The newest snapshot that this process has published, with all that it announces.
    _published: deque[int] = field(default_factory=lambda: deque(maxlen=1))
    _gathering: Gathering[int, int] = field(default_factory=Gathering)

    @property
    def read_only(self) -> str | None:
        """Why no changes are taken: nothing can be signed under the roles as they are now, or the
        operator says so; None when all is well."""
        with self.database.read() as session:
            return self._why_unable(session) or why_switched_off(session)

    @property
    def unable(self) -> str | None:
        """Why nothing can be signed, not even again; None when all is well."""
        with self.database.read() as session:
            return self._why_unable(session)

    def require_writable(self) -> None:
        """Raises RegistryError (``read-only``) when the server cannot sign, or shall not."""
        with self.database.read() as session:
            self.check_writable(session)

    def check_writable(self, session: Session) -> None:
        """`require_writable`, as of a transaction that only reads."""
        heads = _heads(session)
        keys = self._keys(session, heads)
        if heads not in self._sound:
            self._sound.clear()
            self._sound[heads] = keys
        _require_switched_on(session)

    def can_sign(self, session: Session) -> bool:
        """Whether the server holds the keys that the roles in this transaction list."""
        return self._why_unable(session) is None

    def _keys(self, session: Session, heads: tuple[int, ...] | None = None) -> OnlineKeys:
        known = self._sound.get(heads or _heads(session))
        if known is None:
            reason = self._why_unable(session)
        else:
            reason = self._why_old(session) or why_unconfirmed(session)
        if reason is not None:
            raise RegistryError("read-only", reason)
        return known or self.keys.choose(current_role(session, "root"))

    def _why_unable(self, session: Session) -> str | None:
        root, targets = current_role(session, "root"), current_role(session, "targets")
        return (
            self.keys.why_read_only(root)
            or self._why_no_log(targets)
            or self._why_old(session)
            or why_unconfirmed(session)
        )

    def _why_old(self, session: Session) -> str | None:
        return None if self.history.reason is None else self.history.look(session)

    def _why_no_log(self, targets: bytes | None) -> str | None:
        policy = None if targets is None else policy_of(targets)
        held = self.log_keys.verifiers()
        if policy is None or any(key in policy.keys for key in held):
            return None
        return (
            "its log key is not among those that the targets role names (expected one of "
            f"{', '.join(key.vkey for key in policy.keys)}, "
            f"found {', '.join(key.vkey for key in held)})"
        )

    def announce(self, session: Session, *, always: bool = False) -> int:
        """Signs the snapshot of the roles as they are in this transaction, and its timestamp.

        Returns the snapshot's version. Nobody sees it before `materialise`. ``always`` is for what
        is no change of a publisher's: it is done while the operator takes none, too.

        Raises:
            RegistryError: ``read-only``: it cannot sign, shall not, or no client would read it.
        """
        if not always:
            _require_switched_on(session)
        keys = self._keys(session)  # under the root of this very transaction
        now = self.clock()
        version = self.next_snapshot(session)
        data = sign_snapshot(head_versions(session), version, keys.snapshot, now)
        _require_readable(data)
        row = add_role(session, "snapshot", version, data, now, expiry(now, "snapshot"))
        session.info.pop(_NEXT, None)
        self._stamp(session, row, keys)
        _forget(session, "snapshot", version - _KEPT_SNAPSHOTS)
        return version

    def next_snapshot(self, session: Session) -> int:
        """The version of the snapshot that `announce` will make in this transaction."""
        # Asked for every release, and nobody else writes meanwhile.
        if _NEXT not in session.info:
            session.info[_NEXT] = head_version(session, "snapshot") + 1
        return int(session.info[_NEXT])

    def _stamp(self, session: Session, snapshot: MetadataVersion, keys: OnlineKeys) -> None:
        now = self.clock()
        version = head_version(session, "timestamp") + 1
        data = sign_timestamp(
            snapshot.data, version, keys.timestamp, now, snapshot.log_index,
            snapshot_version=snapshot.version,
        )  # fmt: skip
        add_role(session, "timestamp", version, data, now, expiry(now, "timestamp"))
        _forget(session, "timestamp", version - 1)

    def materialise(self, snapshot: int | None = None) -> int:
        """Writes what is committed but not yet in the published tree; returns how many roles.
        ``snapshot`` is the one that the caller waits for: it is not looked for any more once this
        process has published it.

        Raises:
            BackendError: the tree or a blob could not be written or read. What is missing is
                written by the next call.
        """
        if snapshot is None:
            return self._materialise() if self.is_behind() else 0
        if self._has_published(snapshot):
            return 0
        # Of many that publish at once, one writes, syncs and asks the witnesses for all who had
        # committed by then.
        return self._gathering.ask(snapshot, self._materialise_all)

    def _materialise_all(self, snapshots: Sequence[int]) -> list[int]:
        done = 0 if self._has_published(max(snapshots)) else self._materialise()
        return [done] * len(snapshots)

    def _materialise(self) -> int:
        with self.lock.held() as still_held:
            # Another process, who held it before us, may have done it all.
            if not self.is_behind():
                return 0
            todo = self._todo()
            stamps = [row for row in todo.roles if row[1] == "timestamp"]
            put_together(self.tree, self._files(todo))
            checkpoint = self.log.write(todo.leaves, still_held)
            if stamps:
                still_held()
                _, _, version, data = stamps[-1]
                publish_forward(self.tree, TIMESTAMP, data, lambda seen: self._later(seen, version))
            self._mark(todo, checkpoint)
            self._published.extend(row[2] for row in todo.roles if row[1] == "snapshot")
        return len(todo.roles)

    def _files(self, todo: _Todo) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """``(path, what reads it)`` of the target files and of the roles that have a version in
        their name."""
        for target in todo.targets:
            yield target.path, partial(self._blob, target.sha256)
        for path, digest, envelope in todo.statements:
            yield statement_file(path, digest), partial(bytes, envelope)
        for _, role, version, data in todo.roles:
            if role != "timestamp":
                yield f"{version}.{role}.json", partial(bytes, data)

    def _blob(self, digest: str) -> bytes:
        with self.blobs.open(digest) as file:
            return file.read()

    def _later(self, seen: bytes, version: int) -> bool:
        """Whether the published timestamp ``seen`` is one of ours that came after ``version``.
        Whoever published it had committed it before; what the database has not is a stranger's."""
        try:
            found = int(parse_signed(seen, TIMESTAMP, "timestamp").signed.version)
        except MalformedError:
            return False
        with self.database.read() as session:
            return version < found <= head_version(session, "timestamp")

    def _has_published(self, snapshot: int) -> bool:
        """Whether this process has published what ``snapshot`` announces."""
        return bool(self._published) and self._published[-1] >= snapshot

    def is_behind(self) -> bool:
        """Whether something is committed that is not in the published tree yet."""
        with self.database.read() as session:
            waiting = select(MetadataVersion.id).where(MetadataVersion.published_at.is_(None))
            if session.scalar(waiting.limit(1)) is not None:
                return True
        return self.log.is_behind()

    def refresh(self) -> bool:
        """Signs again what is due, and publishes it; returns whether anything was published. Any
        number of processes may call this."""
        self.sign_again()
        return self.materialise() > 0

    def sign_again(self) -> dict[str, int]:
        """Signs the timestamp again when it is older than an hour, the snapshot when half its
        life is over, and both when the root names other keys since; returns ``{role: version}``
        of what was signed."""
        if self.unable is not None or not self._is_stale():
            return {}
        with self.database.write() as session:
            # Looked at again: another process may have done it while we waited.
            snapshot_old, timestamp_old = self._ages(session)
            if snapshot_old:
                self.announce(session, always=True)
            elif timestamp_old:
                row = current_row(session, "snapshot")
                assert row is not None
                self._stamp(session, row, self._keys(session))
            due = {"snapshot": snapshot_old, "timestamp": snapshot_old or timestamp_old}
            return {role: head_version(session, role) for role, signed in due.items() if signed}

    def _is_stale(self) -> bool:
        with self.database.read() as session:
            return any(self._ages(session))

    def _ages(self, session: Session) -> tuple[bool, bool]:
        """Whether (snapshot, timestamp) are old enough to be signed again."""
        now = self.clock()
        snapshot = current_row(session, "snapshot")
        timestamp = current_row(session, "timestamp")
        if snapshot is None or timestamp is None:
            return True, True
        keys = self._keys(session)
        return (
            now - snapshot.created_at > EXPIRY["snapshot"] / 2
            or not _is_signed_by(snapshot, keys.snapshot),
            now - timestamp.created_at > TIMESTAMP_AGE
            or not _is_signed_by(timestamp, keys.timestamp),
        )

    def _todo(self) -> _Todo:
        """Everything not yet in the tree, as of one moment: a closed set, in which whatever a
        snapshot lists is either in the set or published before."""
        with self.database.read() as session:
            roles = session.execute(
                select(
                    MetadataVersion.id,
                    MetadataVersion.role,
                    MetadataVersion.version,
                    MetadataVersion.data,
                    MetadataVersion.log_index,
                )
                .where(MetadataVersion.published_at.is_(None))
                .order_by(MetadataVersion.id)
            ).all()
            releases = session.execute(
                select(Release, Component)
                .join(Component, Release.component_id == Component.id)
                .where(Release.stored_at.is_(None))
            ).all()
            statements = session.execute(
                select(
                    ReviewStatement.path, ReviewStatement.sha256, ReviewStatement.envelope
                ).where(ReviewStatement.stored_at.is_(None))
            ).all()
            return _Todo(
                statements=[(path, digest, data) for path, digest, data in statements],
                roles=[(id_, role, version, data) for id_, role, version, data, _ in roles],
                leaves=[(role, version, number) for _, role, version, _, number in roles],
                releases=[(release.id, release.bundle_sha256) for release, _ in releases],
                targets=[
                    target
                    for release, component in releases
                    for target in target_files(
                        component.organisation, component.name, release.version,
                        release.manifest_sha256, release.bundle_sha256,
                    )
                ],
            )  # fmt: skip

    def _mark(self, todo: _Todo, checkpoint: Published | None) -> None:
        """Notes what is in the tree; at the end and at once, for every transaction waits for those
        of the publishers."""
        now = self.clock()
        with self.database.write() as session:
            if checkpoint is not None:
                self.log.mark(session, checkpoint)
            for start in range(0, len(todo.roles), 500):  # far below SQLite's limit of parameters
                ids = [row[0] for row in todo.roles[start : start + 500]]
                session.execute(
                    update(MetadataVersion)
                    .where(MetadataVersion.id.in_(ids))
                    .values(published_at=now)
                )
            for start in range(0, len(todo.statements), 500):
                batch = todo.statements[start : start + 500]
                # What was replaced meanwhile waits for its own turn.
                session.execute(
                    update(ReviewStatement)
                    .where(
                        ReviewStatement.path.in_([path for path, _, _ in batch]),
                        ReviewStatement.sha256.in_([digest for _, digest, _ in batch]),
                    )
                    .values(stored_at=now)
                )
            for start in range(0, len(todo.releases), 500):
                part = todo.releases[start : start + 500]
                # A release that got another bundle meanwhile waits for its own turn.
                session.execute(
                    update(Release)
                    .where(
                        Release.id.in_([row for row, _ in part]),
                        Release.bundle_sha256.in_([bundle for _, bundle in part]),
                    )
                    .values(stored_at=now)
                )


def _heads(session: Session) -> tuple[int, ...]:
    """The row ids of the current root and targets role."""
    return tuple(session.connection().execute(_HEADS).scalars())


def _require_readable(snapshot: bytes) -> None:
    """One that clients refuse would end the registry for all of them, not only for who is one too
    many; nothing would mend it, since there is no way back to a smaller one."""
    if len(snapshot) > MAX_SNAPSHOT_BYTES:
        raise RegistryError(
            "read-only",
            f"its snapshot would have {len(snapshot)} bytes, of which clients read "
            f"{MAX_SNAPSHOT_BYTES}: its operator must split the registry",
        )


def _require_switched_on(session: Session) -> None:
    reason = why_switched_off(session)
    if reason is not None:
        raise RegistryError("read-only", reason)


def _is_signed_by(row: MetadataVersion, key: PrivateKey) -> bool:
    return key.public.keyid in parse_signed(row.data, row.role, row.role).signatures


def _forget(session: Session, role: str, before: int) -> None:
    """Drops rows of ``role`` that nobody needs again, so that hourly signing costs no space."""
    session.execute(
        delete(MetadataVersion).where(
            MetadataVersion.role == role,
            MetadataVersion.version < before,
            MetadataVersion.published_at.is_not(None),
        )
    )


def target_files(
    organisation: str, name: str, version: str, manifest_sha256: str, bundle_sha256: str
) -> tuple[TargetFile, TargetFile]:
    """The two target files of a release, where TUF clients look for them (TUF 1.0 §6.2)."""
    return (
        TargetFile(
            path=target_path(organisation, name, version, "manifest.json", manifest_sha256),
            sha256=manifest_sha256,
        ),
        TargetFile(
            path=target_path(organisation, name, version, "release.sigstore.json", bundle_sha256),
            sha256=bundle_sha256,
        ),
    )


def target_path(organisation: str, name: str, version: str, file: str, sha256: str) -> str:
    return f"targets/{organisation}/{name}/{version}/{sha256}.{file}"
