"""Whether database, blobs and published files tell one story.

What is looked for: a release without its blobs, a role or release that is committed but not
published, a published file that differs from the database, an index in a signed role that
differs from the catalogue, a snapshot that does not list the current roles, a public log that is
not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, func, select, text, tuple_
from sqlalchemy.orm import Session

from signing.digests import hash_stream
from signing.errors import SigningError
from signing.names import ComponentName, OrgName, ProjectName
from signing.roles import IndexEntry, listed_in, releases_of
from signing.status import ROLE as STATUS
from storage import BackendError, BlobNotFoundError, PathNotFoundError

from ..db.models import BlobDamage, Component, MetadataVersion, Quota, Release, ReleaseFile, Role
from ..db.recall_models import Withholding
from ..errors import RegistryError
from ..services.chunk_checks import compare, read_list
from ..services.components import deprecation_of
from ..services.leases import batches, referred
from ..services.publication import target_files
from ..services.review_roles import published_statements, statement_file
from ..services.rolebook import current_row, head_versions
from ..services.status import named_status
from ..wiring import Registry
from .check_log import check_log

_SOON: Final = timedelta(days=30)
# Kept of what is wrong: where a disk is gone each of millions of files would be told of.
_MOST: Final = 1000
_SOME: Final = {"yield_per": 500}  # rows in memory at once, of tables that grow with the releases


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """``problems`` is empty when all is well, and holds the first `_MOST` where there are ``more``;
    ``notes`` are worth knowing but not wrong."""

    problems: tuple[str, ...]
    more: int
    notes: tuple[str, ...]
    releases: int
    roles: int


def check_registry(
    registry: Registry, *, deep: bool, tell: Callable[[str], None] = lambda _: None
) -> CheckReport:
    """Compares everything with everything else; with ``deep`` every blob is read and hashed.
    ``tell`` hears what is looked at next, for of millions of releases all takes hours."""
    problems: list[str] = []
    more = 0
    with registry.database.read() as session:
        parts: tuple[tuple[str, Iterator[str]], ...] = (
            ("the database", _check_database(session, deep=deep)),
            ("the signed roles", _check_roles(registry, session)),
            ("the snapshot", _check_snapshot(session)),
            ("the releases", _check_releases(registry, session)),
            ("what reviewers signed", _check_statements(registry, session)),
            ("the catalogue", _check_index(session)),
            ("the Python index", _check_distributions(registry, session)),
            ("quotas", _check_quotas(session)),
            ("what is withheld", _check_withheld(session)),
            ("the blobs", _check_blobs(registry, session, deep=deep)),
            ("the public log", check_log(registry, session, deep=deep)),
        )
        for what, found in parts:
            tell(what)
            for problem in found:
                if len(problems) < _MOST:
                    problems.append(problem)
                else:
                    more += 1
        tell("what belongs to no release")
        releases = session.scalar(select(func.count()).select_from(Release)) or 0
        roles = session.scalar(select(func.count()).select_from(Role)) or 0
        notes = list(_notes(registry, session))
    return CheckReport(
        problems=tuple(problems), more=more, notes=tuple(notes), releases=releases, roles=roles
    )


def _check_database(session: Session, *, deep: bool) -> Iterator[str]:
    if session.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL checks what refers to what at each commit; its files are its operator's
    # The whole check looks for every row in every index, anywhere in the file: of 12 GB it read 98
    # and was not done. The quick one goes through each table and each index once.
    for (line,) in session.execute(text(f"PRAGMA {'integrity' if deep else 'quick'}_check")):
        if line != "ok":
            yield f"database: {line}"
    for row in session.execute(text("PRAGMA foreign_key_check")):
        yield f"database: table {row[0]}, row {row[1]}: refers to nothing in {row[2]}"


def _check_roles(registry: Registry, session: Session) -> Iterator[str]:
    newest = select(func.max(MetadataVersion.version)).where(MetadataVersion.role == "timestamp")
    last_timestamp = session.scalar(newest)
    # Columns alone, here and below: what the ORM does around a row takes longer than the rest.
    columns = select(
        MetadataVersion.role, MetadataVersion.version, MetadataVersion.data,
        MetadataVersion.published_at,
    )  # fmt: skip
    for role, number, data, published_at in session.execute(columns, execution_options=_SOME):
        file = f"{number}.{role}.json"
        if published_at is None:
            yield f"{file}: committed but not published (forge-server check --finish)"
            continue
        if role == "timestamp":
            if number != last_timestamp:
                continue
            file = "timestamp.json"
        yield from _compare_file(registry, file, data)
    for name, version, highest in session.execute(
        select(Role.name, Role.version, func.max(MetadataVersion.version))
        .join(MetadataVersion, MetadataVersion.role == Role.name)
        .group_by(Role.name, Role.version),
        execution_options=_SOME,
    ):
        if version != highest:
            yield f"role {name}: expected version {highest} to be current, found {version}"


def _compare_file(registry: Registry, name: str, data: bytes) -> Iterator[str]:
    try:
        if registry.tree.read(name) != data:
            yield f"{name}: the published file differs from the database"
    except BackendError as error:
        yield f"{name}: {_require_damage(error)}"
    except PathNotFoundError:
        yield f"{name}: in the database, but not among the published files"


def _require_damage(error: BackendError) -> str:
    """What a store found out itself about its bytes; any other failure of it is raised."""
    if error.code not in ("blob-damaged", "file-damaged"):
        raise error
    return error.message


def _check_snapshot(session: Session) -> Iterator[str]:
    row = current_row(session, "snapshot")
    if row is None:
        yield "snapshot: none (forge-server adopt)"
        return
    listed = listed_in(row.data)
    current = head_versions(session)
    for name in sorted(listed.keys() | current.keys()):
        if listed.get(name) != current.get(name):
            yield (
                f"snapshot: role {name}: expected version {current.get(name)}, "
                f"found {listed.get(name)}"
            )


def _check_releases(registry: Registry, session: Session) -> Iterator[str]:
    rows = select(
        Component.organisation, Component.name, Release.version, Release.manifest_sha256,
        Release.bundle_sha256, Release.stored_at,
    ).join(Component, Release.component_id == Component.id)  # fmt: skip
    for *release, stored_at in session.execute(rows, execution_options=_SOME):
        if stored_at is None:
            organisation, name, version, *_ = release
            yield (
                f"{organisation}/{name}=={version}: committed but not published "
                "(forge-server check --finish)"
            )
            continue
        for target in target_files(*release):
            try:
                with registry.tree.open(target.path) as file:
                    found = hash_stream(file)[1]  # type: ignore[arg-type]
                if found != target.sha256:
                    yield f"{target.path}: expected sha256 {target.sha256}, found {found}"
            except BackendError as error:
                yield f"{target.path}: {_require_damage(error)}"
            except PathNotFoundError:
                yield f"{target.path}: missing among the published files"


def _check_distributions(registry: Registry, session: Session) -> Iterator[str]:
    """The Python index lists the wheels and sdists that releases have."""
    for release, row in registry.releases.distributions.lacking(session):
        yield f"{release}: {row['path']} is not in the Python index (forge-server reindex)"


def _check_statements(registry: Registry, session: Session) -> Iterator[str]:
    """What reviewers signed is published in the very bytes that are kept."""
    for path, sha256, envelope in published_statements(session):
        yield from _compare_file(registry, statement_file(path, sha256), envelope)


def _check_index(session: Session) -> Iterator[str]:
    """Each project's signed role and the catalogue list the same releases."""
    last = ""
    while roles := session.execute(_PROJECTS, {"last": last, "most": _PROJECTS_AT_ONCE}).all():
        last = roles[-1].name
        components = {ComponentName.from_role(name): data for name, data in roles}
        listed: dict[ComponentName, dict[str, Any]] = {each: {} for each in components}
        pairs = [(each.org, each.name) for each in components]
        for row in session.execute(_LISTED, {"pairs": pairs}):
            name = ComponentName(OrgName(row.organisation), ProjectName(row.name))
            listed[name][row.version] = row
        for component, data in components.items():
            yield from _compare_index(component, releases_of(data, component), listed[component])


_PROJECTS_AT_ONCE: Final = 100
_PROJECTS: Final = (
    select(Role.name, MetadataVersion.data)
    .join(MetadataVersion, Role.metadata_id == MetadataVersion.id)
    .where(Role.name > bindparam("last"), Role.name.contains("."))
    .order_by(Role.name)
    .limit(bindparam("most"))
)
_LISTED: Final = (
    select(
        Component.organisation, Component.name, Release.version, Release.manifest_sha256,
        Release.bundle_sha256, Release.yanked, Release.yanked_successor, Release.deprecated,
    )
    .join(Release, Release.component_id == Component.id)
    .where(tuple_(Component.organisation, Component.name).in_(bindparam("pairs", expanding=True)))
)  # fmt: skip


def _compare_index(
    component: ComponentName, signed: Mapping[str, IndexEntry], listed: Mapping[str, Any]
) -> Iterator[str]:
    for version in sorted(signed.keys() | listed.keys()):
        entry, release = signed.get(version), listed.get(version)
        if entry is None or release is None:
            where = "the catalogue" if entry is None else "the signed role"
            yield f"{component}=={version}: only in {where}"
        elif (
            entry.manifest_sha256,
            entry.bundle_sha256,
            entry.yanked,
            entry.yanked_successor,
            entry.deprecated,
        ) != (
            release.manifest_sha256,
            release.bundle_sha256,
            release.yanked,
            release.yanked_successor,
            deprecation_of(release),
        ):
            yield f"{component}=={version}: the catalogue differs from the signed role"


def _check_quotas(session: Session) -> Iterator[str]:
    """What counts against each quota is what the organisation's releases add up to."""
    sums = (
        select(Component.organisation, func.sum(Release.total_bytes), func.count())
        .join(Release, Release.component_id == Component.id)
        .group_by(Component.organisation)
    )
    have = {name: (int(size), count) for name, size, count in session.execute(sums)}
    for row in session.scalars(select(Quota).order_by(Quota.organisation)):
        size, count = have.get(row.organisation, (0, 0))
        if (row.used_bytes, row.used_releases) != (size, count):
            yield (
                f"quota of {row.organisation}: expected {size} bytes in {count} releases, found "
                f"{row.used_bytes} in {row.used_releases}"
            )


def _check_withheld(session: Session) -> Iterator[str]:
    """What the status host withholds is what its signed word says."""
    state = named_status(session)
    signed = (
        set() if state is None else {(one.manifest_sha256, one.state) for one in state.withheld}
    )
    query = select(Withholding.manifest_sha256, Withholding.state)
    known = {
        (digest, how) for digest, how in session.execute(query.where(Withholding.source == STATUS))
    }
    for digest, how in sorted(signed ^ known):
        where = (
            "the signed status role" if (digest, how) in signed else "the list of what to refuse"
        )
        yield f"manifest {digest}: {how} only in {where}"


def _check_blobs(registry: Registry, session: Session, *, deep: bool) -> Iterator[str]:
    """Every release has all its blobs, of the right size."""
    for digest, size in _wanted(session):
        try:
            found = registry.blobs.stat(digest).size
            if size is not None and found != size:
                yield f"blob {digest}: expected {size} bytes, found {found}"
            elif deep:
                with registry.blobs.open(digest) as file:
                    actual = hash_stream(file)[1]  # type: ignore[arg-type]
                if actual != digest:
                    yield f"blob {digest}: damaged, its bytes hash to {actual}"
        except BackendError as error:
            yield f"blob {digest}: {_require_damage(error)}"
        except BlobNotFoundError:
            yield f"blob {digest}: part of a release, but not in the store"
    if deep:
        yield from _check_chunk_lists(registry, session)


def _check_chunk_lists(registry: Registry, session: Session) -> Iterator[str]:
    """Every chunk list belongs to its file."""
    query = select(ReleaseFile.chunks, ReleaseFile.sha256, ReleaseFile.size).distinct()
    for chunks, digest, size in session.execute(
        query.where(ReleaseFile.chunks.is_not(None)), execution_options=_SOME
    ):
        try:
            compare(registry.blobs, read_list(registry.blobs, str(chunks), size), digest)
        except (SigningError, RegistryError) as error:
            yield f"chunk list {chunks} of blob {digest}: {error.message}"
        except BlobNotFoundError:
            continue  # told above


def _wanted(session: Session) -> Iterator[tuple[str, int | None]]:
    files = select(ReleaseFile.sha256, ReleaseFile.size).distinct()
    for digest, size in session.execute(files, execution_options=_SOME):
        yield digest, size
    chunks = select(ReleaseFile.chunks).where(ReleaseFile.chunks.is_not(None)).distinct()
    for chunk_list in session.scalars(chunks, execution_options=_SOME):
        yield str(chunk_list), None
    pairs = select(Release.manifest_sha256, Release.bundle_sha256)
    for pair in session.execute(pairs, execution_options=_SOME):
        for digest in pair:
            yield digest, None


def _notes(registry: Registry, session: Session) -> Iterator[str]:
    stored = batches(registry.blobs.iter_digests())
    unused = sum(len(batch) - len(referred(session, batch)) for batch in stored)
    if unused:
        yield f"{unused} blobs belong to no release (uploaded for one that never came)"
    damaged = session.scalar(select(func.count()).select_from(BlobDamage))
    if damaged:
        yield f"damaged blobs: {damaged} (forge-server scrub DIR --from URL_OR_FOLDER)"
    now = registry.clock()
    # Snapshot, timestamp and the status role last hours, and are renewed every few.
    ends = select(Role.name, Role.expires_at).where(
        Role.expires_at < now + _SOON, Role.name.not_in(("snapshot", "timestamp", STATUS))
    )
    soon = session.scalar(select(func.count()).select_from(ends.subquery())) or 0
    for name, expires in session.execute(ends.order_by(Role.expires_at, Role.name).limit(_MOST)):
        verb = "expired" if expires <= now else "expires"
        yield f"role {name} {verb} {expires:%F}: its holders must sign it again"
    if soon > _MOST:
        yield f"{soon - _MOST} more roles end within {_SOON.days} days"
    yield from _status_note(session, now)
    if registry.publication.read_only is not None:
        yield f"read-only: {registry.publication.read_only}"


def _status_note(session: Session, now: datetime) -> Iterator[str]:
    state = named_status(session)
    if state is None:
        return
    if state.expires is None or state.expires <= now:
        since = "never" if state.at is None else f"{state.at:%F %H:%M} UTC"
        yield (
            f"role {STATUS}: last renewed {since}; clients refuse the registry until its host "
            "has signed: forge authority status"
        )
