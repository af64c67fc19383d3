"""What agencies say their hosts have installed, and recalls of releases from them.

An agency takes part because it asks to: a host reports under a label that the agency chooses, with
a token that can do nothing else (action ``inventory``, of that organisation). A label can be taken
away with everything under it. An agency sees its own hosts; everybody else, the publisher and the
operator included, sees counts.

A recall is begun by the organisation of the release, or by the operator or the CERT. It reaches
every host that has the release then, or reports it later. A host is *notified* when an account of
its agency has asked for the recalls, *acknowledged* when the agency says so, and *remedied* when
the agency says so or the host reports what it has and the release is not among it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.orm import Session

from signing.errors import MalformedError
from signing.names import ComponentName
from signing.roles import check_reason

from ..db.engine import Database
from ..db.models import Component
from ..db.recall_models import Installation, Recall, RecallNotice
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller, Identity
from .clock import Clock
from .components import mark_changed
from .publication import Publication
from .quarantine import require_published
from .rights import require_member, require_organisation

ACTION: Final = "inventory"
MAX_INSTALLED: Final = 2000
MAX_HOSTS: Final = 10_000
_HOST_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,58}[A-Za-z0-9])?"
HOST_PATTERN: Final = f"^{_HOST_LABEL}$"
_HOST = re.compile(_HOST_LABEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A release on a host."""

    component: str
    version: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """A host of an agency, with when it last said what it has."""

    host: str
    reported_at: datetime
    installed: Sequence[Installed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Hosts that had the release, and how many of them came how far; and of how many agencies."""

    hosts: int
    notified: int
    acknowledged: int
    remedied: int
    agencies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallRow:
    number: int
    release: str
    manifest_sha256: str
    reason: str
    by: str | None
    started_at: datetime
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRow:
    """A host of one's own agency that a recall reached, and how far it came."""

    recall: int
    release: str
    reason: str
    host: str
    notified_at: datetime | None
    acknowledged_at: datetime | None
    remedied_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recalls:
    database: Database
    audit: Audit
    publication: Publication
    clock: Clock
    cert_accounts: Collection[str]

    def report(
        self, caller: Caller, organisation: str, host: str, installed: Sequence[Installed]
    ) -> int:
        """Puts what a host has in the place of what it said before; returns for how many of these
        releases there is a recall.

        Raises:
            RegistryError: no member of the organisation, or a token for something else.
            MalformedError: a label that is none, too many components.
        """
        identity = _identity(caller)
        identity.require(ACTION, organisation=organisation)
        parse_host(host)
        if len(installed) > MAX_INSTALLED:
            raise MalformedError("request: installed", f"at most {MAX_INSTALLED}", len(installed))
        now = self.clock()
        with self.database.write() as session:
            require_member(session, identity, organisation, "reader")
            self._require_room(session, organisation, host)
            mine = _of_host(Installation, organisation, host)
            session.execute(delete(Installation).where(*mine))
            rows = [
                {
                    "organisation": organisation, "host": host, "component": one.component,
                    "version": one.version, "manifest_sha256": one.manifest_sha256,
                    "reported_at": now,
                }
                for one in {each.manifest_sha256: each for each in installed}.values()
            ]  # fmt: skip
            if rows:
                session.execute(insert(Installation), rows)
            return self._follow_host(session, organisation, host, installed, now)

    def forget(self, caller: Caller, organisation: str, host: str) -> bool:
        """Takes a host away with all that is known of it; False when nothing was."""
        identity = _identity(caller)
        identity.require(ACTION, organisation=organisation)
        with self.database.write() as session:
            require_member(session, identity, organisation, "reader")
            gone = 0
            for table in (Installation, RecallNotice):
                found = session.execute(delete(table).where(*_of_host(table, organisation, host)))
                gone += found.rowcount  # type: ignore[attr-defined]
            if gone:
                self.audit.record(session, caller, "inventory.forget", organisation, host=host)
            return gone > 0

    def hosts(self, caller: Caller, organisation: str) -> list[HostRow]:
        """The hosts of one's own agency by label."""
        identity = _identity(caller)
        identity.require("read", organisation=organisation)
        with self.database.read() as session:
            require_member(session, identity, organisation, "reader")
            rows = session.scalars(
                select(Installation)
                .where(Installation.organisation == organisation)
                .order_by(Installation.host, Installation.component)
            ).all()
        by_host: dict[str, list[Installation]] = {}
        for row in rows:
            by_host.setdefault(row.host, []).append(row)
        return [
            HostRow(
                host=host,
                reported_at=each[0].reported_at,
                installed=[
                    Installed(
                        component=row.component, version=row.version,
                        manifest_sha256=row.manifest_sha256,
                    )
                    for row in each
                ],
            )
            for host, each in by_host.items()
        ]  # fmt: skip

    def start(self, caller: Caller, name: ComponentName, version: str, reason: str) -> RecallRow:
        """Begins a recall; of a release that is recalled already, that recall.

        Raises:
            RegistryError: neither a publisher of the release's organisation nor the CERT, or no
                such release.
            MalformedError: a reason that is not one line of plain text.
        """
        check_reason(reason, required=True)
        with self.database.write() as session:
            by = self._require_may_start(session, caller, name)
            release = require_published(session, name, version)
            digest, now = release.manifest_sha256, self.clock()
            row = session.scalar(select(Recall).where(Recall.manifest_sha256 == digest))
            if row is None:
                row = Recall(
                    manifest_sha256=digest, component=str(name), version=version, reason=reason,
                    organisation=by, started_at=now,
                )  # fmt: skip
                session.add(row)
                session.flush()
                having = select(Installation.organisation, Installation.host).where(
                    Installation.manifest_sha256 == digest
                )
                for organisation, host in session.execute(having).all():
                    _reach(session, row.id, organisation, host)
                self.audit.record(
                    session, caller, "recall.start", f"{name}=={version}",
                    manifest_sha256=digest, reason=reason,
                )  # fmt: skip
                mark_changed(session, Component.id == release.component_id)
            shown = _shown(session, row)
        self.publication.materialise()
        return shown

    def all(self) -> list[RecallRow]:
        """Every recall with its counts, newest first: nothing in it names an agency or a host."""
        with self.database.read() as session:
            rows = session.scalars(select(Recall).order_by(Recall.id.desc()).limit(500)).all()
            return [_shown(session, row) for row in rows]

    def show(self, name: ComponentName, version: str) -> RecallRow:
        """The recall of a release. Raises RegistryError (``not-found``)."""
        with self.database.read() as session:
            return _shown(session, _require_recall(session, name, version))

    def notices(self, caller: Caller, organisation: str) -> list[NoticeRow]:
        """What recalls reached of one's own agency, newest first. Whoever asks is told, so the
        hosts count as notified from now on."""
        identity = _identity(caller)
        identity.require("read", organisation=organisation)
        with self.database.write() as session:
            require_member(session, identity, organisation, "reader")
            session.execute(
                update(RecallNotice)
                .where(
                    RecallNotice.organisation == organisation, RecallNotice.notified_at.is_(None)
                )
                .values(notified_at=self.clock())
            )
            rows = session.execute(
                select(RecallNotice, Recall)
                .join(Recall, Recall.id == RecallNotice.recall_id)
                .where(RecallNotice.organisation == organisation)
                .order_by(Recall.id.desc(), RecallNotice.host)
            )
            return [
                NoticeRow(
                    recall=recall.id,
                    release=f"{recall.component}=={recall.version}",
                    reason=recall.reason,
                    host=notice.host,
                    notified_at=notice.notified_at,
                    acknowledged_at=notice.acknowledged_at,
                    remedied_at=notice.remedied_at,
                )
                for notice, recall in rows
            ]

    def settle(
        self,
        caller: Caller,
        name: ComponentName,
        version: str,
        organisation: str,
        host: str | None,
        *,
        remedied: bool,
    ) -> int:
        """Writes down that the agency knows of the recall, or has dealt with it, on ``host`` or on
        all of its hosts; returns on how many that is new.

        Raises:
            RegistryError: no such recall, no right, or no such host of the agency (``not-found``).
        """
        identity = _identity(caller)
        identity.require("manage", organisation=organisation)
        now = self.clock()
        with self.database.write() as session:
            require_member(session, identity, organisation, "publisher")
            recall = _require_recall(session, name, version)
            query = select(RecallNotice).where(
                RecallNotice.recall_id == recall.id, RecallNotice.organisation == organisation
            )
            if host is not None:
                query = query.where(RecallNotice.host == host)
            rows = session.scalars(query).all()
            if not rows:
                raise RegistryError(
                    "not-found",
                    f"recall of {name}=={version}: expected a host of {organisation}, found none",
                    "see them: forge recall list --organisation " + organisation,
                )
            new = [row for row in rows if (row.remedied_at if remedied else row.acknowledged_at)
                   is None]  # fmt: skip
            for row in new:
                row.notified_at = row.notified_at or now
                row.acknowledged_at = row.acknowledged_at or now
                if remedied:
                    row.remedied_at = now
            act = "recall.remedy" if remedied else "recall.acknowledge"
            if new:
                self.audit.record(
                    session, caller, act, f"{name}=={version}", organisation=organisation,
                    hosts=len(new),
                )  # fmt: skip
            return len(new)

    def _require_may_start(
        self, session: Session, caller: Caller, name: ComponentName
    ) -> str | None:
        if caller.operator:
            return None
        identity = _identity(caller)
        identity.require("publish", organisation=name.org, component=str(name))
        if identity.user in self.cert_accounts:
            return None
        require_member(session, identity, name.org, "publisher")
        return name.org

    def _require_room(self, session: Session, organisation: str, host: str) -> None:
        require_organisation(session, organisation)
        others = select(func.count(Installation.host.distinct())).where(
            Installation.organisation == organisation, Installation.host != host
        )
        if (session.scalar(others) or 0) >= MAX_HOSTS:
            raise RegistryError(
                "quota-exceeded",
                f"{organisation}: expected at most {MAX_HOSTS} hosts",
                "take away those that are gone: forge inventory off",
            )

    def _follow_host(
        self,
        session: Session,
        organisation: str,
        host: str,
        installed: Sequence[Installed],
        now: datetime,
    ) -> int:
        """What the host says now settles old recalls, and new ones reach it."""
        has = {one.manifest_sha256 for one in installed}
        reached = session.scalars(select(RecallNotice).where(*_of_host(RecallNotice, organisation,
                                                                       host))).all()  # fmt: skip
        recalled: Mapping[int, str] = dict(
            session.execute(select(Recall.id, Recall.manifest_sha256)).all()
        )
        for notice in reached:
            if recalled[notice.recall_id] in has:
                notice.remedied_at = None  # it came back
            elif notice.remedied_at is None:
                notice.remedied_at = now
        known = {notice.recall_id for notice in reached}
        found = [number for number, digest in recalled.items() if digest in has]
        for number in found:
            if number not in known:
                _reach(session, number, organisation, host)
        return len(found)


def parse_host(text: str, where: str = "request: host") -> str:
    """``text`` if it may label a host: the agency's own name for it, no address or person."""
    if not _HOST.fullmatch(text):
        raise MalformedError(where, "1 to 60 letters, digits, dots and dashes", repr(text)[:80])
    return text


def _of_host(
    table: type[Installation] | type[RecallNotice], organisation: str, host: str
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.organisation == organisation, table.host == host


def _reach(session: Session, number: int, organisation: str, host: str) -> None:
    session.add(RecallNotice(recall_id=number, organisation=organisation, host=host))


def _require_recall(session: Session, name: ComponentName, version: str) -> Recall:
    row = session.scalar(
        select(Recall).where(Recall.component == str(name), Recall.version == version)
    )
    if row is None:
        raise RegistryError("not-found", f"{name}=={version:.60} was not recalled")
    return row


def _shown(session: Session, row: Recall) -> RecallRow:
    counts = session.execute(
        select(
            func.count(),
            func.count(RecallNotice.notified_at),
            func.count(RecallNotice.acknowledged_at),
            func.count(RecallNotice.remedied_at),
            func.count(RecallNotice.organisation.distinct()),
        ).where(RecallNotice.recall_id == row.id)
    ).one()
    hosts, notified, acknowledged, remedied, agencies = counts
    return RecallRow(
        number=row.id,
        release=f"{row.component}=={row.version}",
        manifest_sha256=row.manifest_sha256,
        reason=row.reason,
        by=row.organisation,
        started_at=row.started_at,
        counts=Counts(
            hosts=hosts, notified=notified, acknowledged=acknowledged, remedied=remedied,
            agencies=agencies,
        ),
    )  # fmt: skip


def _identity(caller: Caller) -> Identity:
    assert caller.identity is not None
    return caller.identity
