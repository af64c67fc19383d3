"""Releases whose files are not handed out: by the status host, by this registry, by an order.

The table `Withholding` is what pages, the catalogue and every blob ask. Its rows of the status host
repeat what that host signed, and are brought up to date in the very transaction that takes a new
word of it (`follow_status`). The registry's own rows are unsigned: they can refuse a file and never
make one acceptable. Manifests and signatures stay readable whatever happens: they are the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from packaging.version import Version
from sqlalchemy import bindparam, delete, or_, select
from sqlalchemy.orm import Session

from signing.names import ComponentName
from signing.status import QUARANTINED, REVOKED, Withheld

from ..db.engine import Database
from ..db.models import Release, ReleaseFile
from ..db.recall_models import TakenBlob, Withholding
from ..errors import RegistryError
from .status import named_status

STATUS: Final = "status"
REGISTRY: Final = "registry"
TAKEDOWN: Final = "takedown"
HELD: Final = "held"
"""The state of a release that the registry itself quarantined."""
REMOVED: Final = "removed"
"""The state of a release whose files were deleted by order of an authority."""
_GRAVITY: Final = (HELD, QUARANTINED, REVOKED, REMOVED)

# Made once: every download asks it.
_HELD: Final = select(Withholding.manifest_sha256).where(
    Withholding.manifest_sha256 == Release.manifest_sha256
)
_HOLDS: Final = or_(
    ReleaseFile.sha256 == bindparam("digest"), ReleaseFile.chunks == bindparam("digest")
)
_IN_FORCE: Final = (
    select(ReleaseFile.release_id)
    .join(Release, Release.id == ReleaseFile.release_id)
    .where(_HOLDS, ~_HELD.exists())
    .limit(1)
)
_EVIDENCE: Final = (
    select(Release.id)
    .where(
        or_(
            Release.manifest_sha256 == bindparam("digest"),
            Release.bundle_sha256 == bindparam("digest"),
        )
    )
    .limit(1)
)
_WHY: Final = (
    select(Withholding)
    .join(Release, Release.manifest_sha256 == Withholding.manifest_sha256)
    .join(ReleaseFile, ReleaseFile.release_id == Release.id)
    .where(_HOLDS)
    .limit(20)
)
_TAKEN: Final = (
    select(Withholding)
    .join(TakenBlob, TakenBlob.manifest_sha256 == Withholding.manifest_sha256)
    .where(TakenBlob.sha256 == bindparam("digest"), Withholding.source == TAKEDOWN)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class HandedOut:
    """Which blobs may be handed out to everybody."""

    database: Database

    def is_public(self, digest: str) -> bool:
        """Whether the blob belongs to a published release that nobody withholds."""
        with self.database.read() as session:
            return is_in_force(session, digest)

    def require_public(self, digest: str) -> None:
        """Raises RegistryError (``withheld``, ``taken-down``, ``blob-not-found``) unless the blob
        may be handed out."""
        with self.database.read() as session:
            require_in_force(session, digest)


def is_in_force(session: Session, digest: str) -> bool:
    """Whether a release that nobody withholds contains the blob, or it is evidence."""
    values = {"digest": digest}
    return any(session.scalar(query, values) is not None for query in (_IN_FORCE, _EVIDENCE))


def require_in_force(session: Session, digest: str) -> None:
    """Establishes that the blob may be handed out.

    Raises:
        RegistryError: ``withheld`` or ``taken-down``, of the release that holds it; or
            ``blob-not-found``.
    """
    if is_in_force(session, digest):
        return
    rows = session.scalars(_WHY, {"digest": digest}).all()
    rows = rows or session.scalars(_TAKEN, {"digest": digest}).all()
    if not rows:
        raise RegistryError("blob-not-found", "no published release contains these bytes")
    raise refusal_of(max(rows, key=_gravity))


def refusal_of(row: Withholding) -> RegistryError:
    """Why nothing of the release is handed out."""
    release = f"{row.component}=={row.version}"
    facts = {
        "release": release,
        "state": row.state,
        "reason": row.reason,
        "since": f"{row.since:%Y-%m-%dT%H:%M:%SZ}",
        "manifest_sha256": row.manifest_sha256,
    }
    if row.source == TAKEDOWN:
        return RegistryError(
            "taken-down",
            f"{release} was taken down on {row.since:%Y-%m-%d}: {row.reason}",
            "it does not come back; take another version",
            reference=row.reference,
            **facts,
        )
    return RegistryError(
        "withheld",
        f"{release} is {_WORDS[row.state]} since {row.since:%Y-%m-%d %H:%M} UTC: {row.reason}",
        "take another version"
        + ("" if row.state == REVOKED else ", or ask again later: it may be lifted"),
        **facts,
    )


_WORDS: Final = {
    HELD: "quarantined by the registry",
    QUARANTINED: "quarantined by the status host",
    REVOKED: "revoked by the status host",
}


def withheld_by_digest(session: Session) -> Mapping[str, Withheld]:
    """``{manifest_sha256: Withheld}`` of every release that is withheld now; the gravest word
    counts. ``state`` is also `HELD` or `REMOVED` here."""
    found: dict[str, Withheld] = {}
    for row in sorted(session.execute(_ALL), key=_gravity):
        found[row.manifest_sha256] = Withheld(
            component=ComponentName.parse(row.component),
            version=Version(row.version),
            manifest_sha256=row.manifest_sha256,
            state=row.state,
            reason=row.reason,
            since=row.since,
        )
    return found


_ALL: Final = select(Withholding.__table__)


def follow_status(session: Session) -> None:
    """Brings the rows of the status host to what its current signed word says."""
    state = named_status(session)
    session.execute(delete(Withholding).where(Withholding.source == STATUS))
    for one in () if state is None else state.withheld:
        put(
            session, STATUS, one.component, str(one.version), one.manifest_sha256, one.state,
            one.reason, one.since,
        )  # fmt: skip


def put(
    session: Session,
    source: str,
    component: ComponentName,
    version: str,
    manifest_sha256: str,
    state: str,
    reason: str,
    since: datetime,
    reference: str | None = None,
) -> None:
    """Withholds a release from now on."""
    session.merge(
        Withholding(
            manifest_sha256=manifest_sha256, source=source, component=str(component),
            version=version, state=state, reason=reason, reference=reference, since=since,
        )
    )  # fmt: skip


def withheld_blobs(session: Session) -> tuple[Sequence[Withholding], list[str]]:
    """Every withholding, and the digests of all blobs that are not handed out for it, sorted: what
    a mirror must stop serving."""
    rows = session.scalars(
        select(Withholding).order_by(Withholding.component, Withholding.version, Withholding.source)
    ).all()
    held = select(Withholding.manifest_sha256)
    suspects: set[str] = set()
    for column in (ReleaseFile.sha256, ReleaseFile.chunks):
        query = (
            select(column)
            .join(Release, Release.id == ReleaseFile.release_id)
            .where(Release.manifest_sha256.in_(held), column.is_not(None))
            .distinct()
        )
        suspects.update(str(digest) for digest in session.scalars(query))
    suspects.update(session.scalars(select(TakenBlob.sha256)))
    return rows, sorted(digest for digest in suspects if not is_in_force(session, digest))


def _gravity(row: Any) -> int:
    return _GRAVITY.index(row.state)
