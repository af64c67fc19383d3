"""How much an organisation may publish, and how much it has.

What counts is what its releases add up to, as whoever installs them counts: a file that is in two
releases counts twice, whatever the store makes of it. So everybody can work it out beforehand, and
nobody's quota changes with what others do.

The sum is kept in a row of its own and changed in the transaction that publishes, under the one
write lock; that is what makes the limit exact, however many publish at once. What is asked before
an upload (`require_room_for_upload`) is only there to spare it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..db.later import later
from ..db.models import BlobLease, Component, Quota, Release, table_of
from ..domain.amounts import show_bytes
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .rights import require_organisation

# Made once, and of columns: every publish asks and counts.
_TABLE: Final = table_of(Quota)
_COLUMNS: Final = (
    _TABLE.c.max_bytes, _TABLE.c.max_releases, _TABLE.c.used_bytes, _TABLE.c.used_releases,
)  # fmt: skip
_QUOTA: Final = select(*_COLUMNS).where(_TABLE.c.organisation == bindparam("org"))
_QUOTAS: Final = select(_TABLE.c.organisation, *_COLUMNS).where(
    _TABLE.c.organisation.in_(bindparam("orgs", expanding=True))
)
_COUNT: Final = (
    update(_TABLE)
    .where(_TABLE.c.organisation == bindparam("org"))
    .values(
        used_bytes=_TABLE.c.used_bytes + bindparam("size"),
        used_releases=_TABLE.c.used_releases + bindparam("number"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState:
    """What is used, and how much may be; a limit of 0 is none."""

    organisation: str
    used_bytes: int
    max_bytes: int
    used_releases: int
    max_releases: int


@dataclass(frozen=True, slots=True)
class Quotas:
    database: Database
    audit: Audit
    default_bytes: int
    default_releases: int

    def of(self, organisation: str) -> QuotaState:
        """Raises RegistryError (``organisation-not-found``)."""
        with self.database.read() as session:
            require_organisation(session, organisation)
            return self.state(session, organisation)

    def set(
        self, caller: Caller, organisation: str, max_bytes: int | None, max_releases: int | None
    ) -> QuotaState:
        """Gives the organisation limits of its own: 0 is no limit, None leaves one as it is.

        A limit below what is used takes nothing away; nothing more is published.

        Raises:
            RegistryError: no such organisation.
        """
        with self.database.write() as session:
            require_organisation(session, organisation)
            row = self._row(session, organisation)
            row.max_bytes = row.max_bytes if max_bytes is None else max_bytes
            row.max_releases = row.max_releases if max_releases is None else max_releases
            self._record(session, caller, row)
            return self.state(session, organisation)

    def reset(self, caller: Caller, organisation: str) -> QuotaState:
        """The organisation has the limits of `server.toml` again."""
        with self.database.write() as session:
            require_organisation(session, organisation)
            row = self._row(session, organisation)
            row.max_bytes = row.max_releases = None
            self._record(session, caller, row)
            return self.state(session, organisation)

    def _record(self, session: Session, caller: Caller, row: Quota) -> None:
        self.audit.record(
            session, caller, "quota.set", row.organisation,
            max_bytes=row.max_bytes, max_releases=row.max_releases,
        )  # fmt: skip

    def state(self, session: Session, organisation: str) -> QuotaState:
        session.flush()
        row = session.connection().execute(_QUOTA, {"org": organisation}).one_or_none()
        return self._state(organisation, row or (None, None, *_used(session, organisation)))

    def _state(
        self, organisation: str, row: Sequence[Any], more_bytes: int = 0, more_releases: int = 0
    ) -> QuotaState:
        own_bytes, own_releases, used_bytes, used_releases = row
        return QuotaState(
            organisation=organisation,
            used_bytes=used_bytes + more_bytes,
            max_bytes=self.default_bytes if own_bytes is None else own_bytes,
            used_releases=used_releases + more_releases,
            max_releases=self.default_releases if own_releases is None else own_releases,
        )

    def states(self, session: Session, organisations: Collection[str]) -> dict[str, QuotaState]:
        """`state` of several, in one question for all that have published anything."""
        asked = {"orgs": sorted(organisations)}
        found = {
            name: self._state(name, row)
            for name, *row in session.connection().execute(_QUOTAS, asked)
        }
        missing = [each for each in asked["orgs"] if each not in found]
        return found | {each: self.state(session, each) for each in missing}

    def require_room_for_upload(self, organisation: str, size: int) -> None:
        """Raises RegistryError (``quota-exceeded``) when ``size`` more bytes could not be
        published, counting what the organisation has sent already and not published."""
        with self.database.read() as session:
            refusal = self.why_no_room_for_upload(session, self.state(session, organisation), size)
        if refusal is not None:
            raise refusal

    def why_no_room_for_upload(
        self, session: Session, state: QuotaState, size: int
    ) -> RegistryError | None:
        """What `require_room_for_upload` raises; None when there is room."""
        if not state.max_bytes:
            return None
        query = select(func.sum(BlobLease.size)).where(BlobLease.organisation == state.organisation)
        try:
            _require_bytes(state, size, int(session.scalar(query) or 0))
        except RegistryError as error:
            return error
        return None

    def require_room_for_release(self, state: QuotaState, size: int) -> None:
        """Raises RegistryError (``quota-exceeded``) when ``size`` bytes more are too many."""
        _require_release(state, size)

    def count(self, session: Session, state: QuotaState, size: int) -> QuotaState:
        """Adds a release of ``size`` bytes, in the transaction that publishes it and before its
        row is there; ``state`` is as of that transaction, and what it is from now on is returned.

        Raises:
            RegistryError: it does not fit (``quota-exceeded``).
        """
        _require_release(state, size)
        later(session, self._add, (state.organisation, size))
        return replace(
            state, used_bytes=state.used_bytes + size, used_releases=state.used_releases + 1
        )

    def _add(self, session: Session, counted: Sequence[tuple[str, int]]) -> None:
        """Comes before the releases that it counts: a first row is what all others add up to."""
        sums: dict[str, list[int]] = {}
        for organisation, size in counted:
            sums.setdefault(organisation, []).append(size)
        for organisation, sizes in sorted(sums.items()):
            added = {"org": organisation, "size": sum(sizes), "number": len(sizes)}
            if not session.connection().execute(_COUNT, added).rowcount:
                self._row(session, organisation)
                session.connection().execute(_COUNT, added)

    def _row(self, session: Session, organisation: str) -> Quota:
        row = session.get(Quota, organisation)
        if row is None:
            used_bytes, used_releases = _used(session, organisation)
            row = Quota(
                organisation=organisation, used_bytes=used_bytes, used_releases=used_releases
            )
            session.add(row)
            session.flush()
        return row


def _used(session: Session, organisation: str) -> tuple[int, int]:
    query = (
        select(func.sum(Release.total_bytes), func.count())
        .join(Component, Component.id == Release.component_id)
        .where(Component.organisation == organisation)
    )
    total, count = session.execute(query).one()
    return int(total or 0), int(count)


def _require_release(state: QuotaState, size: int) -> None:
    _require_bytes(state, size, 0)
    if state.max_releases and state.used_releases + 1 > state.max_releases:
        raise RegistryError(
            "quota-exceeded",
            f"{state.organisation}: no room for another release: {state.used_releases} of "
            f"{state.max_releases} are used",
            _hint(state.organisation, "--max-releases"),
            used_releases=state.used_releases,
            limit_releases=state.max_releases,
        )


def _require_bytes(state: QuotaState, size: int, pending: int) -> None:
    if not state.max_bytes or state.used_bytes + pending + size <= state.max_bytes:
        return
    sent = f", and {show_bytes(pending)} were sent and not published" if pending else ""
    raise RegistryError(
        "quota-exceeded",
        f"{state.organisation}: no room for {show_bytes(size)}: {show_bytes(state.used_bytes)} of "
        f"{show_bytes(state.max_bytes)} are used{sent}",
        _hint(state.organisation, "--max-bytes"),
        used_bytes=state.used_bytes,
        pending_bytes=pending or None,
        limit_bytes=state.max_bytes,
        asked_bytes=size,
    )


def _hint(organisation: str, option: str) -> str:
    return (
        "publish less, or ask the registry's operator for more: "
        f"forge-server quota DIR {organisation} {option} …"
    )
