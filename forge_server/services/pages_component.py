"""What the pages of a component show beyond the catalogue: who answers for it, its texts, files,
what it stands on and what stands on it, and what happened to it.

Everything is a plain value read in one transaction. What nobody has said is None or empty, and the
pages say so; nothing is made up here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.names import ComponentName
from signing.profile import NAME_LANGUAGES

from ..db.engine import Database
from ..db.models import (
    Component,
    Event,
    MetadataVersion,
    Organisation,
    Release,
    ReleaseFile,
    Requirement,
    Role,
)
from ..errors import RegistryError
from .components import find_release
from .rolebook import current_row

MAX_FILES: Final = 500  # on one page
_MAX_HISTORY: Final = 300
_MAX_COMPARED: Final = 20_000  # files of each release
_MAX_REQUIRED_BY: Final = 100
_ACTS: Final = (
    "release.yank", "release.unyank", "release.resign", "release.quarantine",
    "release.unquarantine", "release.revoke", "release.deprecate", "release.undeprecate",
    "release.hold", "release.unhold", "release.takedown", "recall.start",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who answers for a component. ``names`` by language; ``region`` is a code of ISO 3166-2:MA."""

    name: str
    display_name: str
    kind: str
    region: str | None
    contact: str | None
    names: Mapping[str, str]

    def title(self, language: str) -> str:
        """The name in that language, or the one that it applied with."""
        return self.names.get(language, self.display_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A card in one language: None for the source text, whose language nobody states.

    ``since`` is when its bytes became what they are; ``of_version`` the release that brought them.
    """

    language: str | None
    path: str
    sha256: str
    size: int
    of_version: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FileItem:
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files ``first`` to ``first + len(items)`` of ``total``, by path."""

    total: int
    first: int
    items: Sequence[FileItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A path that differs between two releases; a size of None: it is not in that one."""

    path: str
    old_size: int | None
    new_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """A component at the other end of a requirement; ``kind`` None: it is not here."""

    component: str
    range: str
    kind: str | None
    summary: str | None
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened. ``act`` is an audit action; a ``log_index`` of None: older than the
    log."""

    at: datetime
    act: str
    version: str | None
    reason: str
    role_version: int | None
    log_index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """The signed role that lists the releases, and where it stands in the public log."""

    role: str
    version: int
    expires: datetime
    signed_at: datetime
    log_index: int | None


@dataclass(frozen=True, slots=True)
class ComponentPages:
    database: Database

    def owner(self, organisation: str) -> Owner:
        """Raises RegistryError (``organisation-not-found``)."""
        with self.database.read() as session:
            row = session.get(Organisation, organisation)
            if row is None or row.state != "approved":
                raise RegistryError(
                    "organisation-not-found", f"organisation {organisation} does not exist"
                )
            return owner_of(row)

    def texts(self, name: ComponentName, version: str, card: str | None) -> list[Text]:
        """The card of a release and its translations, the source text first."""
        if card is None:
            return []
        paths = _card_paths(card)
        query = (
            select(
                ReleaseFile.path, ReleaseFile.sha256, ReleaseFile.size, Release.version,
                Release.published_at,
            )
            .join(Release, ReleaseFile.release_id == Release.id)
            .join(Component, Release.component_id == Component.id)
            .where(
                Component.organisation == name.org,
                Component.name == name.name,
                ReleaseFile.path.in_(list(paths)),
            )
            .order_by(Release.published_at, Release.id)
        )  # fmt: skip
        with self.database.read() as session:
            rows = session.execute(query).all()
        return _texts(paths, rows, version)

    def files(self, name: ComponentName, version: str, first: int = 0) -> Files:
        """A part of the files of a release. Raises RegistryError (``not-found``)."""
        with self.database.read() as session:
            release = require_release(session, name, version)
            rows = session.execute(
                select(ReleaseFile.path, ReleaseFile.size, ReleaseFile.sha256)
                .where(ReleaseFile.release_id == release.id)
                .order_by(ReleaseFile.path)
                .offset(first)
                .limit(MAX_FILES)
            )
            items = [FileItem(path=path, size=size, sha256=sha) for path, size, sha in rows]
            return Files(total=release.file_count, first=first, items=items)

    def named_files(
        self, name: ComponentName, version: str, paths: Iterable[str]
    ) -> dict[str, FileItem]:
        """Those of ``paths`` that a release holds."""
        with self.database.read() as session:
            release = require_release(session, name, version)
            rows = session.execute(
                select(ReleaseFile.path, ReleaseFile.size, ReleaseFile.sha256).where(
                    ReleaseFile.release_id == release.id, ReleaseFile.path.in_(list(paths))
                )
            )
            return {row[0]: FileItem(path=row[0], size=row[1], sha256=row[2]) for row in rows}

    def difference(self, name: ComponentName, old: str, new: str) -> list[Difference]:
        """The paths that differ between two releases, by path, at most five hundred.

        Raises:
            RegistryError: no such release (``not-found``).
        """
        with self.database.read() as session:
            ids = [require_release(session, name, version).id for version in (old, new)]
            query = select(ReleaseFile.path, ReleaseFile.sha256, ReleaseFile.size)
            before, after = (
                {(path, sha): size for path, sha, size in session.execute(
                    query.where(ReleaseFile.release_id == one).limit(_MAX_COMPARED)
                )}
                for one in ids
            )  # fmt: skip
        gone = {path: size for (path, sha), size in before.items() if (path, sha) not in after}
        come = {path: size for (path, sha), size in after.items() if (path, sha) not in before}
        return [
            Difference(path=path, old_size=gone.get(path), new_size=come.get(path))
            for path in sorted(gone | come)[:MAX_FILES]
        ]

    def requires(self, requires: Mapping[str, str]) -> list[Related]:
        """What a release requires, with what is known of it here."""
        with self.database.read() as session:
            rows = _components(session, requires)
        return [_related(name, range_, rows.get(name)) for name, range_ in sorted(requires.items())]

    def required_by(self, name: ComponentName) -> list[Related]:
        """Components whose latest version requires this one, at most a hundred."""
        query = (
            select(Component, Release.details)
            .join(
                Release,
                (Release.component_id == Component.id) & (Release.version == Component.latest),
            )
            .join(Requirement, Requirement.component_id == Component.id)
            .where(Requirement.required == str(name))
            .order_by(Component.organisation, Component.name)
            .limit(_MAX_REQUIRED_BY)
        )
        with self.database.read() as session:
            found = [(row, details["requires"].get(str(name))) for row, details in
                     session.execute(query)]  # fmt: skip
        return [
            _related(f"{row.organisation}/{row.name}", range_, row)
            for row, range_ in found
            if range_ is not None
        ]

    def signing(self, name: ComponentName) -> Signing | None:
        """The current role of the component; None where nothing signed is left of it."""
        with self.database.read() as session:
            row = current_row(session, name.role)
            head = session.get(Role, name.role)
            if row is None or head is None:
                return None
            return Signing(
                role=row.role,
                version=row.version,
                expires=head.expires_at,
                signed_at=row.created_at,
                log_index=row.log_index,
            )

    def history(self, name: ComponentName) -> list[Happening]:
        """The newest things that happened, newest first, at most three hundred.

        An act on a release stands in the log as the version of the role that made it public.
        """
        with self.database.read() as session:
            roles = session.execute(
                select(
                    MetadataVersion.version, MetadataVersion.created_at, MetadataVersion.log_index
                )
                .where(MetadataVersion.role == name.role)
                .order_by(MetadataVersion.version.desc())
                .limit(_MAX_HISTORY)
            ).all()
            published = dict(
                session.execute(
                    # By the component, whose releases an index finds: of roles there is none.
                    select(Release.role_version, Release.version)
                    .join(Component, Release.component_id == Component.id)
                    .where(Component.organisation == name.org, Component.name == name.name)
                ).all()
            )
            events = session.execute(
                select(Event.at, Event.action, Event.subject, Event.detail)
                .where(
                    Event.action.in_(_ACTS),
                    Event.subject >= f"{name}==",  # what begins so, by the index
                    Event.subject < f"{name}=>",
                    Event.outcome == "done",
                )
                .order_by(Event.id.desc())
                .limit(_MAX_HISTORY)
            ).all()
        return _history(roles, published, events)


def owner_of(row: Organisation) -> Owner:
    """What is public about an organisation."""
    return Owner(
        name=row.name,
        display_name=row.display_name,
        kind=row.kind,
        region=row.region,
        contact=row.contact,
        names=row.names or {},
    )


def require_release(session: Session, name: ComponentName, version: str) -> Release:
    """Raises RegistryError (``not-found``)."""
    release = find_release(session, name, version)
    if release is None:
        raise RegistryError("not-found", f"{name}: expected a published version, found {version!r}")
    return release


def _card_paths(card: str) -> dict[str, str | None]:
    """``{path: language}`` of a card and its possible translations: README.ar.md for README.md."""
    stem, dot, suffix = card.rpartition(".")
    paths: dict[str, str | None] = {card: None}
    if dot:
        paths |= {f"{stem}.{language}.{suffix}": language for language in NAME_LANGUAGES}
    return paths


def _texts(
    paths: Mapping[str, str | None], rows: Sequence[Any], version: str
) -> list[Text]:  # fmt: skip
    """From the rows of all releases, oldest first, the texts as they are in ``version``."""
    versions = [row.version for row in rows]
    if version not in versions:
        return []
    found: dict[str, Text] = {}
    last = max(at for at, each in enumerate(versions) if each == version)
    for row in rows[: last + 1]:
        before = found.get(row.path)
        same = before is not None and before.sha256 == row.sha256
        found[row.path] = Text(
            language=paths[row.path],
            path=row.path,
            sha256=row.sha256,
            size=row.size,
            of_version=before.of_version if before and same else row.version,
            since=before.since if before and same else row.published_at,
        )
    there = {row.path for row in rows if row.version == version}
    return [found[path] for path in paths if path in there]


def _components(session: Session, names: Iterable[str]) -> dict[str, Component]:
    wanted = set(names)
    organisations = {name.partition("/")[0] for name in wanted}
    if not organisations:
        return {}
    rows = session.scalars(
        select(Component).where(
            Component.organisation.in_(sorted(organisations)),
            Component.name.in_(sorted({name.partition("/")[2] for name in wanted})),
        )
    )
    return {f"{row.organisation}/{row.name}": row for row in rows}


def _related(name: str, range_: str, row: Component | None) -> Related:
    return Related(
        component=name,
        range=range_,
        kind=None if row is None else row.kind,
        summary=None if row is None else row.summary,
        version=None if row is None else row.latest,
    )


def _history(
    roles: Sequence[Any], published: Mapping[int, str], events: Sequence[Any]
) -> list[Happening]:
    happenings = [
        Happening(
            at=role.created_at,
            act="release.publish" if role.version in published else "role.sign",
            version=published.get(role.version),
            reason="",
            role_version=role.version,
            log_index=role.log_index,
        )
        for role in roles
    ]
    for event in events:
        # The role was added in the same transaction, just before the event.
        role = next((one for one in roles if one.created_at <= event.at), None)
        happenings.append(
            Happening(
                at=event.at,
                act=event.action,
                version=event.subject.partition("==")[2],
                reason=str(event.detail.get("reason") or ""),
                role_version=None if role is None else role.version,
                log_index=None if role is None else role.log_index,
            )
        )
    told = {one.role_version for one in happenings if one.act != "role.sign"}
    kept = [one for one in happenings if one.act != "role.sign" or one.role_version not in told]
    return sorted(kept, key=lambda one: one.at, reverse=True)[:_MAX_HISTORY]
