"""What is there: search, components with their versions. For everybody, without a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version
from sqlalchemy import func, select

from signing.deprecation import Deprecation
from signing.names import ComponentName
from signing.renewal import Expiring, expiring
from signing.status import Withheld

from ..db.engine import Database
from ..db.models import Component, Organisation, Release, ReleaseFile, User
from ..domain.versions import latest_version
from ..errors import RegistryError
from .clock import Clock
from .components import deprecation_of
from .rolebook import expiries
from .withheld import withheld_by_digest

MAX_PAGE = 100
_MAX_WORDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentItem:
    """One line of a search result. ``yanked``: every version of it was. ``withheld``: its latest
    version is quarantined or revoked; ``deprecated`` speaks of that one too."""

    component: str
    kind: str
    summary: str
    latest: str
    versions: int
    license: str
    organisation: str
    organisation_display_name: str
    updated_at: datetime
    yanked: bool
    withheld: Withheld | None
    deprecated: Deprecation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    total: int
    items: Sequence[ComponentItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionItem:
    """``publisher`` is the account that sent it, ``publisher_key`` the key that signed it."""

    version: str
    manifest_sha256: str
    bundle_sha256: str
    size: int
    files: int
    published_at: datetime
    publisher: str
    publisher_key: str
    yanked: str | None
    withheld: Withheld | None
    requires: dict[str, str]
    yanked_successor: str | None = None
    deprecated: Deprecation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentDetails:
    """``versions`` newest first; ``expiring`` names its roles that end within 60 days. Card and
    risk are those of the latest version: ``card`` is the path of a file in it and ``card_sha256``
    its digest; None where the publisher gives none. The latest version is a withheld one only where
    all are withheld or yanked."""

    component: str
    kind: str
    summary: str
    license: str
    languages: Sequence[str]
    tasks: Sequence[str]
    latest: str
    organisation: str
    organisation_display_name: str
    organisation_kind: str
    versions: Sequence[VersionItem]
    expiring: Sequence[Expiring]
    yanked: bool
    withheld: Withheld | None
    card: str | None
    card_sha256: str | None
    risk_class: str | None
    risk_rationale: str | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    database: Database
    clock: Clock

    def search(self, text: str, *, limit: int, offset: int) -> Page:
        """Components whose name, summary, languages or tasks hold every word of ``text``."""
        # The latest version is a yanked one only where all are (`latest_version`).
        query = (
            select(
                Component,
                Organisation.display_name,
                Release.yanked,
                Release.manifest_sha256,
                Release.deprecated,
            )
            .join(Organisation, Component.organisation == Organisation.name)
            .join(
                Release,
                (Release.component_id == Component.id) & (Release.version == Component.latest),
                isouter=True,
            )
        )
        # Which ones, and how many, is asked of the components alone: what is joined would be read
        # for all that come before the page as well.
        fitting = [
            Component.search_text.contains(word, autoescape=True)
            for word in text.casefold().split()[:_MAX_WORDS]
        ]
        order = (Component.organisation, Component.name)
        shown = select(Component.id).where(*fitting).order_by(*order)
        ids = shown.limit(min(limit, MAX_PAGE)).offset(offset)
        with self.database.read() as session:
            total = session.scalar(select(func.count(Component.id)).where(*fitting)) or 0
            rows = session.execute(query.where(Component.id.in_(ids)).order_by(*order))
            withheld = withheld_by_digest(session)
            items = [
                _item(component, name, yanked, withheld.get(digest), said)
                for component, name, yanked, digest, said in rows
            ]
        return Page(total=total, items=items)

    def component(self, name: ComponentName) -> ComponentDetails:
        """Raises RegistryError (``component-not-found``)."""
        with self.database.read() as session:
            found = session.execute(
                select(Component, Organisation)
                .join(Organisation, Component.organisation == Organisation.name)
                .where(Component.organisation == name.org, Component.name == name.name)
            ).one_or_none()
            if found is None:
                raise RegistryError(
                    "component-not-found",
                    f"component {name} does not exist",
                    f"look for it: forge search {name.name}",
                )
            row, organisation = found
            releases = session.execute(
                select(Release, User.name)
                .join(User, Release.publisher_id == User.id)
                .where(Release.component_id == row.id)
            )
            pairs = list(releases)
            withheld = withheld_by_digest(session)
            versions = [
                _version(release, user, withheld.get(release.manifest_sha256))
                for release, user in pairs
            ]
            newest = latest_version(
                (item.version, item.yanked is not None or item.withheld is not None)
                for item in versions
            )
            latest = next(release for release, _ in pairs if release.version == newest)
            card = latest.details.get("card")
            card_sha256 = session.scalar(
                select(ReleaseFile.sha256).where(
                    ReleaseFile.release_id == latest.id, ReleaseFile.path == card
                )
            )
            risk = latest.details.get("risk") or {}
            ends = expiries(session, (name.org, name.role))
        return ComponentDetails(
            component=str(name),
            kind=row.kind,
            summary=row.summary,
            license=row.license,
            languages=row.languages,
            tasks=row.tasks,
            latest=latest.version,
            organisation=organisation.name,
            organisation_display_name=organisation.display_name,
            organisation_kind=organisation.kind,
            expiring=expiring(ends, self.clock()),
            yanked=latest.yanked is not None,
            withheld=withheld.get(latest.manifest_sha256),
            card=card,
            card_sha256=card_sha256,
            risk_class=risk.get("class"),
            risk_rationale=risk.get("rationale"),
            versions=sorted(versions, key=lambda item: Version(item.version), reverse=True),
        )


def _item(
    row: Component,
    display_name: str,
    yanked: str | None,
    withheld: Withheld | None,
    deprecated: dict[str, str] | None,
) -> ComponentItem:
    return ComponentItem(
        component=f"{row.organisation}/{row.name}",
        kind=row.kind,
        summary=row.summary,
        latest=row.latest,
        versions=row.versions,
        license=row.license,
        organisation=row.organisation,
        organisation_display_name=display_name,
        updated_at=row.updated_at,
        yanked=yanked is not None,
        withheld=withheld,
        deprecated=None if deprecated is None else Deprecation(**deprecated),
    )


def _version(release: Release, user: str, withheld: Withheld | None) -> VersionItem:
    return VersionItem(
        version=release.version,
        manifest_sha256=release.manifest_sha256,
        bundle_sha256=release.bundle_sha256,
        size=release.total_bytes,
        files=release.file_count,
        published_at=release.published_at,
        publisher=user,
        publisher_key=release.publisher_key,
        yanked=release.yanked,
        withheld=withheld,
        requires=release.details["requires"],
        yanked_successor=release.yanked_successor,
        deprecated=deprecation_of(release),
    )
