"""The registry's own quarantine: it refuses to hand out a release's files until that is lifted.

It is unsigned and reversible, and can do nothing but refuse (docs/adr/0016). An operator begins and
ends it; two credible reports begin it by themselves (`services.reports`). Ending it closes the
reports that it rested on, so that the same ones do not begin it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from signing.names import ComponentName
from signing.roles import check_reason

from ..db.engine import Database
from ..db.models import Component, Release
from ..db.recall_models import ReportRow, Withholding
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .components import find_release, mark_changed
from .publication import Publication
from .withheld import HELD, REGISTRY, put


@dataclass(frozen=True, slots=True)
class Quarantine:
    database: Database
    audit: Audit
    publication: Publication
    clock: Clock

    def begin(self, caller: Caller, name: ComponentName, version: str, reason: str) -> bool:
        """Holds a release back; False when it was held already.

        Raises:
            RegistryError: no such release (``not-found``).
            MalformedError: a reason that is not one line of plain text.
        """
        check_reason(reason, required=True)
        with self.database.write() as session:
            release = require_published(session, name, version)
            begun = hold(session, self.audit, caller, name, release, reason, self.clock())
            if begun:
                show(session, self.publication)
        if begun:
            self.publication.materialise()
        return begun

    def end(self, caller: Caller, name: ComponentName, version: str, reason: str) -> bool:
        """Hands the release out again, and closes the reports about it; False when it was not held.

        Raises:
            RegistryError: no such release (``not-found``).
            MalformedError: a reason that is not one line of plain text.
        """
        check_reason(reason, required=True)
        with self.database.write() as session:
            release = require_published(session, name, version)
            digest, now = release.manifest_sha256, self.clock()
            session.execute(
                update(ReportRow)
                .where(ReportRow.manifest_sha256 == digest, ReportRow.closed_at.is_(None))
                .values(closed_at=now)
            )
            row = session.get(Withholding, (digest, REGISTRY))
            if row is None:
                return False
            session.delete(row)
            self.audit.record(
                session, caller, "release.unhold", f"{name}=={version}", manifest_sha256=digest,
                reason=reason,
            )  # fmt: skip
            mark_changed(session, Component.id == release.component_id)
            show(session, self.publication)
        self.publication.materialise()
        return True


def hold(
    session: Session,
    audit: Audit,
    caller: Caller,
    name: ComponentName,
    release: Release,
    reason: str,
    now: datetime,
) -> bool:
    """Begins the quarantine in this transaction; False when there was one."""
    digest = release.manifest_sha256
    if session.get(Withholding, (digest, REGISTRY)) is not None:
        return False
    put(session, REGISTRY, name, release.version, digest, HELD, reason, now)
    audit.record(
        session, caller, "release.hold", f"{name}=={release.version}", manifest_sha256=digest,
        reason=reason,
    )  # fmt: skip
    mark_changed(session, Component.id == release.component_id)
    return True


def show(session: Session, publication: Publication) -> None:
    """Announces a new timestamp: whatever was made of the registry's state before is made again.
    Where the registry cannot sign at the moment, it holds back all the same."""
    if publication.can_sign(session):
        publication.announce(session, always=True)


def require_published(session: Session, name: ComponentName, version: str) -> Release:
    """Raises RegistryError (``not-found``) unless the release is published."""
    release = find_release(session, name, version)
    if release is None:
        raise RegistryError(
            "not-found",
            f"{name}: expected a published version, found {version!r:.70}",
            f"see its versions: forge info {name}",
        )
    return release
