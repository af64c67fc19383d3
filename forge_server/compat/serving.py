"""Whether a release may be served by a façade, and with what warning: decided nowhere else.

A façade's client verifies nothing of ours, so the registry has to hold back for it what `forge`
would refuse by itself. Whatever else may withhold a release one day becomes a reason here; `stamp`
must then change with it, because answers are kept for as long as it does not. What policies permit
and what another index says depends on the clock and on more than that: it is not kept in front of
the application (`quick.not_kept`), and behind it for as long as `services.judgements` says.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy.orm import Session

from signing.names import ComponentName
from signing.status import QUARANTINED, REVOKED, Withheld

from ..db.engine import Database
from ..db.models import Release
from ..domain.versions import latest_version
from ..services.policies import Judge
from ..services.withheld import HELD, REMOVED, withheld_by_digest

_STAMP: Final = (
    "SELECT version, (SELECT max(version) FROM metadata_versions "
    "WHERE role = 'timestamp' AND published_at IS NOT NULL), "
    "(SELECT count(*) FROM organisation_policies), "
    "(SELECT max(pinned_at) FROM organisation_policies) FROM roles WHERE name = 'timestamp'"
)
_WITHHELD: Final = (
    "SELECT manifest_sha256, source, state, reason FROM withheld ORDER BY manifest_sha256, source"
)
_WORDS: Final = {
    HELD: "quarantined by the registry",
    QUARANTINED: "quarantined",
    REVOKED: "revoked",
    REMOVED: "taken down",
}
_Named = TypeVar("_Named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """``refused`` says why the release is not served at all; ``yanked`` why only to who names it:
    nothing that picks a version by itself may pick it."""

    refused: str | None = None
    yanked: str | None = None

    @property
    def is_served(self) -> bool:
        return self.refused is None

    @property
    def is_picked(self) -> bool:
        """Whether it may stand for "the newest"."""
        return self.refused is None and self.yanked is None

    @property
    def warning(self) -> str | None:
        """One line for who uses it all the same."""
        return None if self.yanked is None else f"this version was yanked: {self.yanked}"


@dataclass(frozen=True, slots=True)
class Gate:
    """What may be served as of one reading transaction. ``judge`` are the policies of the
    organisation that it is served to; None: to nobody in particular."""

    withheld: Mapping[str, Withheld]
    judge: Judge | None = None

    @classmethod
    def of(cls, session: Session, judge: Judge | None = None) -> Gate:
        return cls(withheld_by_digest(session), judge)

    def judged(self, session: Session, component: ComponentName, release: Release) -> Standing:
        """The standing of a release, policies included: they may depend on the clock."""
        standing = self.standing(release.manifest_sha256, release.yanked, release.stored_at)
        if self.judge is None or standing.refused is not None:
            return standing
        why = self.judge(session, component, release)
        return standing if why is None else Standing(refused=why)

    def standing(
        self, manifest_sha256: str, yanked: str | None, stored_at: datetime | None
    ) -> Standing:
        """The standing of the release with that manifest. ``stored_at`` None: it is recorded, and
        not announced yet by the signed plane; nobody else shows it before that does."""
        withheld = self.withheld.get(manifest_sha256)
        if withheld is not None:
            return Standing(refused=f"this version is {_WORDS[withheld.state]}: {withheld.reason}")
        if stored_at is None:
            return Standing(refused="this version is being published")
        return Standing(yanked=yanked)


def stamp(database: Database) -> Hashable:
    """Stays the same for as long as no answer of a façade can change: every publish, yank, review
    and word of the status host comes with a new timestamp, and is seen when that is published. A
    registry that cannot sign holds releases back all the same, so what is withheld counts as well,
    row for row: there are few. So does whether organisations hold to policies; what those permit
    does not.

    Raises:
        RegistryError: as `Database.read`.
    """
    # Every request asks this, most of them nothing else: so past the ORM, which would take most of
    # their time. What fails is asked again in the way that explains why.
    try:
        connection = database.reading.kw["bind"].raw_connection()
        try:
            cursor = connection.cursor()
            found = [tuple(cursor.execute(_STAMP).fetchone() or ())]
            found += map(tuple, cursor.execute(_WITHHELD).fetchall())
        finally:
            connection.close()
    except Exception:
        with database.read() as session:
            driver = session.connection().exec_driver_sql
            found = [tuple(row) for query in (_STAMP, _WITHHELD) for row in driver(query)]
    return tuple(found)


def newest(versions: Iterable[tuple[str, Standing, _Named]]) -> _Named | None:
    """What stands beside the newest version that may be picked; None where none may."""
    picked = {version: named for version, standing, named in versions if standing.is_picked}
    latest = latest_version((version, False) for version in picked)
    return None if latest is None else picked[latest]
