"""What is known of another index's files, and which of them are offered: see `upstream`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from packaging.specifiers import SpecifierSet
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, defer

from ..db.models import Distribution, ReleaseFile
from ..db.recall_models import TakenBlob
from ..db.upstream_models import UpstreamFile, UpstreamProject
from ..domain.upstream_pages import Found, FoundFile
from ..errors import RegistryError
from .leases import batches
from .withheld import require_in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file that is offered. ``yanked`` None: it is not."""

    filename: str
    version: str
    sha256: str
    size: int
    uploaded_at: datetime
    requires_python: str | None
    metadata_sha256: str | None
    yanked: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is offered of a project. ``as_of`` is when its page was fetched; ``problem`` says why
    it is not newer. ``status`` is that of the upstream. ``until`` is when the next file becomes old
    enough; None where none will."""

    name: str
    files: Sequence[Copy]
    status: str
    status_reason: str | None
    as_of: datetime
    problem: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A project on the list, for its operator. ``held_back`` is ``{file: why}`` of what is pinned
    and not offered, the merely young ones left out."""

    name: str
    specifier: str
    cooldown_days: int
    allowed_at: datetime
    asked_at: datetime | None
    fetched_at: datetime | None
    problem: str | None
    status: str
    pinned: int
    young: int
    stored: int
    stored_bytes: int
    changed: Mapping[str, str]
    held_back: Mapping[str, str]


def mark_of(session: Session, row: UpstreamProject) -> Hashable:
    """Stays the same for as long as nothing but the clock changes what is offered."""
    counts = session.execute(
        select(
            func.count(),
            func.count(UpstreamFile.blob_sha256),
            func.count(UpstreamFile.refused),
            func.count(UpstreamFile.changed_sha256),
        ).where(UpstreamFile.project == row.name)
    ).one()
    said = (row.specifier, row.cooldown_days, row.fetched_at, row.problem, row.status)
    return said, tuple(counts)


def old_enough_at(
    row: UpstreamProject, files: Iterable[UpstreamFile], now: datetime
) -> datetime | None:
    """When the next of the files that are too young will not be any more."""
    cooldown = timedelta(days=row.cooldown_days)
    return min((at for file in files if (at := file.uploaded_at + cooldown) > now), default=None)


def take(
    session: Session,
    row: UpstreamProject,
    found: Found,
    now: datetime,
    most: int,
    looked_at: datetime | None,
) -> list[tuple[UpstreamFile, str]]:
    """Pins what is new on a project's page, of at most ``most`` bytes, and compares what is not;
    the files whose digest changed since it was last looked at, and what it is now. What was not
    there at ``looked_at`` was not uploaded before, whatever the upstream says."""
    row.fetched_at, row.problem = now, None
    row.status, row.status_reason = found.status, found.status_reason
    pinned = {file.filename: file for file in files_of(session, row.name)}
    bounds = SpecifierSet(row.specifier)
    changes = []
    for file in found.files:
        known = pinned.pop(file.filename, None)
        if known is not None:
            changed = _compare(known, file)
            if changed is not None and changed != known.changed_sha256:
                known.changed_sha256, known.changed_at = changed, now
                changes.append((known, changed))
        elif file.size <= most and bounds.contains(file.version, prereleases=True):
            since = max(file.uploaded_at, looked_at or file.uploaded_at)
            session.add(_pin(row.name, file, since, now))
    for rest in pinned.values():
        rest.gone_at = rest.gone_at or now
    return changes


def _compare(known: UpstreamFile, file: FoundFile) -> str | None:
    """Repeats what may change of a pinned file; another digest, where the upstream names one."""
    changed = None
    if (file.sha256, file.size) != (known.sha256, known.size):
        changed = file.sha256
    elif known.metadata_sha256 is None and known.blob_sha256 is None:
        known.metadata_sha256 = file.metadata_sha256
    elif file.metadata_sha256 not in (None, known.metadata_sha256):
        changed = file.metadata_sha256
    known.yanked = file.yanked
    known.gone_at = None
    if changed is None:
        known.url = file.url
    return changed


def project_of(session: Session, name: str) -> UpstreamProject | None:
    """The project on the list, unless the name is one of ours: then there is nothing to ask."""
    if session.get(Distribution, name) is not None:
        return None
    return session.get(UpstreamProject, name)


def files_of(session: Session, name: str) -> Sequence[UpstreamFile]:
    query = select(UpstreamFile).where(UpstreamFile.project == name)
    return session.scalars(query.options(defer(UpstreamFile.metadata_bytes))).all()


def this(file: UpstreamFile) -> Any:
    return update(UpstreamFile).where(
        UpstreamFile.project == file.project, UpstreamFile.filename == file.filename
    )


def _pin(name: str, file: FoundFile, uploaded_at: datetime, now: datetime) -> UpstreamFile:
    return UpstreamFile(
        project=name, filename=file.filename, version=file.version, sha256=file.sha256,
        size=file.size, url=file.url, uploaded_at=uploaded_at,
        requires_python=file.requires_python, metadata_sha256=file.metadata_sha256,
        yanked=file.yanked, pinned_at=now,
    )  # fmt: skip


def copy_of(file: UpstreamFile) -> Copy:
    yanked = file.yanked
    if yanked is None and file.gone_at is not None:
        yanked = f"the upstream has it no more since {file.gone_at:%F}"
    return Copy(
        filename=file.filename, version=file.version, sha256=file.sha256, size=file.size,
        uploaded_at=file.uploaded_at, requires_python=file.requires_python,
        metadata_sha256=file.metadata_sha256, yanked=yanked,
    )  # fmt: skip


def held_back(row: UpstreamProject, now: datetime) -> Callable[[UpstreamFile], str | None]:
    """Says why a pinned file is not offered; None where it is."""
    bounds = SpecifierSet(row.specifier)
    old_enough = now - timedelta(days=row.cooldown_days)

    def why(file: UpstreamFile) -> str | None:
        if row.status == "quarantined":
            return f"quarantined by the upstream: {row.status_reason or 'without a reason'}"
        if file.refused is not None:
            return file.refused
        if file.changed_sha256 is not None and file.blob_sha256 is None:
            return (
                f"expected the sha256 that was pinned on {file.pinned_at:%F}; the upstream now "
                f"names {file.changed_sha256}"
            )
        if not bounds.contains(file.version, prereleases=True):
            return f"let through are versions {row.specifier}"
        if file.uploaded_at > old_enough:
            return f"younger than {row.cooldown_days} days"
        return None

    return why


def ours_among(session: Session, digests: Iterable[str]) -> set[str]:
    """Those of ``digests`` that are files of releases here, or were before a takedown."""
    found: set[str] = set()
    for batch in batches(digests):
        for column in (ReleaseFile.sha256, TakenBlob.sha256):
            found.update(session.scalars(select(column).where(column.in_(batch)).distinct()))
    return found


def why_withheld(session: Session, sha256: str) -> str | None:
    """What is held back of ours is not handed out because another index has it too."""
    try:
        require_in_force(session, sha256)
    except RegistryError as error:
        return None if error.code == "blob-not-found" else error.message
    return None


def listed_of(row: UpstreamProject, files: Sequence[UpstreamFile], now: datetime) -> Listed:
    stored = [file for file in files if file.blob_sha256 is not None]
    old_enough = now - timedelta(days=row.cooldown_days)
    why = held_back(row, now)
    return Listed(
        name=row.name,
        specifier=row.specifier,
        cooldown_days=row.cooldown_days,
        allowed_at=row.allowed_at,
        asked_at=row.asked_at,
        fetched_at=row.fetched_at,
        problem=row.problem,
        status=row.status,
        pinned=len(files),
        young=sum(file.uploaded_at > old_enough for file in files),
        stored=len(stored),
        stored_bytes=sum(file.size for file in stored),
        changed={
            file.filename: f"expected {file.sha256}, found {file.changed_sha256} on "
            f"{file.changed_at:%F}"
            for file in files
            if file.changed_sha256 is not None
        },
        held_back={
            file.filename: said
            for file in files
            if file.uploaded_at <= old_enough and (said := why(file)) is not None
        },
    )
