"""The tables.

``metadata_versions`` holds every signed role in the exact bytes that were signed, and is the
truth: the published tree is written from it. ``roles`` says which version of each role is the
current one, so that a snapshot can be made without looking at the whole history.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .types import WHOLE_NUMBER, Instant, text_type


class Base(DeclarativeBase):
    # Named constraints, because a migration can only change what has a name.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        int: WHOLE_NUMBER,
        datetime: Instant,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


def table_of(model: type[Base]) -> Table:
    """The table of a model, for statements without objects around them."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(text_type(40), unique=True)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class Token(Base):
    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(text_type(100))
    digest: Mapped[str] = mapped_column(text_type(64), unique=True)
    actions: Mapped[list[str]]
    organisation: Mapped[str | None] = mapped_column(text_type(40))
    component: Mapped[str | None] = mapped_column(text_type(81))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Organisation(Base):
    """An application (``pending``) and what becomes of it (``approved`` or ``refused``).

    ``refusal`` is what the registrar signed then, in its exact bytes. ``region``, ``contact`` and
    ``names`` are what it signed about an approved one.
    """

    __tablename__ = "organisations"

    name: Mapped[str] = mapped_column(text_type(40), primary_key=True)
    skeleton: Mapped[str] = mapped_column(text_type(40), unique=True)
    state: Mapped[str] = mapped_column(text_type(10), index=True)
    kind: Mapped[str] = mapped_column(text_type(20))
    display_name: Mapped[str] = mapped_column(text_type(120))
    region: Mapped[str | None] = mapped_column(text_type(10))
    contact: Mapped[str | None] = mapped_column(text_type(200))
    names: Mapped[dict[str, Any] | None]  # in languages of the country
    application: Mapped[bytes | None] = mapped_column(LargeBinary)
    first_role: Mapped[bytes | None] = mapped_column(LargeBinary)
    refusal: Mapped[bytes | None] = mapped_column(LargeBinary)
    applicant_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    approved_at: Mapped[datetime | None]


class Member(Base):
    __tablename__ = "members"

    organisation: Mapped[str] = mapped_column(
        text_type(40), ForeignKey("organisations.name"), primary_key=True
    )
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(text_type(10))


class MetadataVersion(Base):
    """One version of one role. ``published_at`` is None until it is in the published tree."""

    __tablename__ = "metadata_versions"
    __table_args__ = (
        UniqueConstraint("role", "version"),
        Index("ix_metadata_versions_published_at", "published_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(text_type(81))
    version: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)
    log_index: Mapped[int | None] = mapped_column(BigInteger)  # None: older than the log
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]


class LogEntry(Base):
    """A leaf of the public log, numbered from 0."""

    __tablename__ = "log_entries"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry: Mapped[bytes] = mapped_column(LargeBinary)


class LogHash(Base):
    """What a tile holds: hash ``number`` of tile level ``level``."""

    __tablename__ = "log_hashes"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class LogCheckpoint(Base):
    """A signed tree head; of each size there can only be one. ``cosigned`` is the note with the
    witnesses' signatures; ``published_at`` is None until it is in the published tree."""

    __tablename__ = "log_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[bytes] = mapped_column(LargeBinary)
    cosigned: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None] = mapped_column(index=True)


class Role(Base):
    """The current version of each role, the server's own two included.

    ``expires_at`` repeats what is signed, so that the roles which end soon are found at once;
    ``noticed_days`` is how many days were left when the end was told last, 0: it has ended.
    """

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(text_type(81), primary_key=True)
    version: Mapped[int]
    metadata_id: Mapped[int] = mapped_column(ForeignKey("metadata_versions.id"))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    noticed_days: Mapped[int | None]


class Component(Base):
    __tablename__ = "components"
    __table_args__ = (UniqueConstraint("organisation", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    organisation: Mapped[str] = mapped_column(text_type(40), ForeignKey("organisations.name"))
    name: Mapped[str] = mapped_column(text_type(40))
    kind: Mapped[str] = mapped_column(text_type(10))
    summary: Mapped[str] = mapped_column(text_type())
    license: Mapped[str] = mapped_column(text_type())
    languages: Mapped[list[str]]
    tasks: Mapped[list[str]]
    latest: Mapped[str] = mapped_column(text_type(60))
    versions: Mapped[int]
    search_text: Mapped[str] = mapped_column(text_type())
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(index=True)


class Release(Base):
    """``stored_at`` is None until manifest and bundle are in the published tree."""

    __tablename__ = "releases"
    __table_args__ = (
        UniqueConstraint("component_id", "version"),
        Index("ix_releases_stored_at", "stored_at"),
        # The few that pages and advisories tell of, among millions.
        Index(
            "ix_releases_yanked_at", "published_at",
            sqlite_where=text("yanked IS NOT NULL"), postgresql_where=text("yanked IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    component_id: Mapped[int] = mapped_column(ForeignKey("components.id"))
    version: Mapped[str] = mapped_column(text_type(60))
    kind: Mapped[str] = mapped_column(text_type(10))
    details: Mapped[dict[str, Any]]  # the manifest's metadata
    manifest_sha256: Mapped[str] = mapped_column(text_type(64), index=True)
    bundle_sha256: Mapped[str] = mapped_column(text_type(64), index=True)
    total_bytes: Mapped[int] = mapped_column(BigInteger)
    file_count: Mapped[int]
    publisher_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    publisher_key: Mapped[str] = mapped_column(text_type(64))
    role: Mapped[str] = mapped_column(text_type(81))
    role_version: Mapped[int]
    snapshot_version: Mapped[int]
    yanked: Mapped[str | None] = mapped_column(text_type())
    yanked_successor: Mapped[str | None] = mapped_column(text_type(150))
    deprecated: Mapped[dict[str, Any] | None]  # {reason, successor?}
    published_at: Mapped[datetime] = mapped_column(index=True)
    stored_at: Mapped[datetime | None]


class ReleaseFile(Base):
    __tablename__ = "release_files"

    release_id: Mapped[int] = mapped_column(ForeignKey("releases.id"), primary_key=True)
    path: Mapped[str] = mapped_column(text_type(), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(text_type(64), index=True)
    chunks: Mapped[str | None] = mapped_column(text_type(64), index=True)


class Requirement(Base):
    """What the latest version of a component requires, so that the other end finds it."""

    __tablename__ = "requirements"

    component_id: Mapped[int] = mapped_column(ForeignKey("components.id"), primary_key=True)
    required: Mapped[str] = mapped_column(text_type(81), primary_key=True, index=True)


class Downloads(Base):
    """How often a component was fetched on a day (UTC), as far as it passed through here."""

    __tablename__ = "downloads"

    component_id: Mapped[int] = mapped_column(ForeignKey("components.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    count: Mapped[int] = mapped_column(BigInteger)


class Distribution(Base):
    """The one component whose wheels and sdists may bear this name (in its PEP 503 form)."""

    __tablename__ = "distributions"

    name: Mapped[str] = mapped_column(text_type(255), primary_key=True)
    component_id: Mapped[int] = mapped_column(ForeignKey("components.id"), index=True)


class DistributionFile(Base):
    """A wheel or sdist in a release; repeats what the file's name and the manifest say."""

    __tablename__ = "distribution_files"

    release_id: Mapped[int] = mapped_column(ForeignKey("releases.id"), primary_key=True)
    path: Mapped[str] = mapped_column(text_type(), primary_key=True)
    distribution: Mapped[str] = mapped_column(
        text_type(255), ForeignKey("distributions.name"), index=True
    )
    filename: Mapped[str] = mapped_column(text_type(255))
    version: Mapped[str] = mapped_column(text_type(255))
    sha256: Mapped[str] = mapped_column(text_type(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)


class WheelMetadata(Base):
    """What was read out of a wheel, by the digest of its bytes. ``data`` is None where
    ``refused`` says why the wheel is not offered."""

    __tablename__ = "wheel_metadata"

    sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    data_sha256: Mapped[str | None] = mapped_column(text_type(64))
    requires_python: Mapped[str | None] = mapped_column(text_type())
    refused: Mapped[str | None] = mapped_column(text_type())


class ChunkCheck(Base):
    """A chunk list that was compared with the bytes of a file, and holds."""

    __tablename__ = "chunk_checks"

    list_sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    blob_sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    checked_at: Mapped[datetime]


class Event(Base):
    """One line of the audit log: who did, or tried, what, from where, with what outcome."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str | None] = mapped_column(text_type(40), index=True)
    token_id: Mapped[int | None]
    address: Mapped[str | None] = mapped_column(text_type(64))
    request_id: Mapped[str | None] = mapped_column(text_type(40))
    action: Mapped[str] = mapped_column(text_type(60), index=True)
    subject: Mapped[str | None] = mapped_column(text_type(), index=True)
    outcome: Mapped[str] = mapped_column(text_type(60))  # "done", or the code of the refusal
    detail: Mapped[dict[str, Any]]


class Upkeep(Base):
    """What the operator's commands remember between two runs: the read-only switch, how far a walk
    through the blobs has come, what the last one found. See `services.upkeep` for the names."""

    __tablename__ = "upkeep"

    name: Mapped[str] = mapped_column(text_type(40), primary_key=True)
    value: Mapped[dict[str, Any]]
    changed_at: Mapped[datetime]


class BlobLease(Base):
    """A blob that came and that no release refers to yet; see `services.leases`.

    ``token`` is made up when the row is, so that a row that went and came back is another one.
    ``doomed_at`` is set while the blob is being deleted.
    """

    __tablename__ = "blob_leases"

    sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    token: Mapped[str] = mapped_column(text_type(16))
    organisation: Mapped[str | None] = mapped_column(text_type(40), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    held_at: Mapped[datetime]
    doomed_at: Mapped[datetime | None] = mapped_column(index=True)


class BlobDamage(Base):
    """A blob whose bytes are not those of its digest any more, or are gone."""

    __tablename__ = "blob_damage"

    sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    problem: Mapped[str] = mapped_column(text_type(200))
    found_at: Mapped[datetime]


class Quota(Base):
    """What an organisation's releases add up to, and how much they may; a limit of None is the
    one that `server.toml` gives everybody, 0 is no limit."""

    __tablename__ = "quotas"

    organisation: Mapped[str] = mapped_column(
        text_type(40), ForeignKey("organisations.name"), primary_key=True
    )
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_releases: Mapped[int | None]
    used_bytes: Mapped[int] = mapped_column(BigInteger)
    used_releases: Mapped[int]


class ReviewStatement(Base):
    """A statement that the current role of a reviewer body lists, with its envelope in the exact
    bytes. Derived from the role; ``stored_at`` is None until it is in the published tree.
    ``expires_at`` is set for decisions and waivers; ``noticed_days`` is how many days were left
    when its end was told last, 0: it has ended."""

    __tablename__ = "review_statements"
    __table_args__ = (
        Index("ix_review_statements_body", "body"),
        Index("ix_review_statements_component_name", "component", "name"),
        Index("ix_review_statements_expires_at", "expires_at"),
        Index("ix_review_statements_stored_at", "stored_at"),
    )
    path: Mapped[str] = mapped_column(text_type(200), primary_key=True)
    body: Mapped[str] = mapped_column(text_type(40))
    kind: Mapped[str] = mapped_column(text_type(10))
    component: Mapped[str] = mapped_column(text_type(81))
    name: Mapped[str] = mapped_column(text_type(60))  # a version, or an id
    sha256: Mapped[str] = mapped_column(text_type(64))
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    signed_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    stored_at: Mapped[datetime | None]
    noticed_days: Mapped[int | None]


class ReviewClaim(Base):
    """Somebody of a body looks at a release, until a moment."""

    __tablename__ = "review_claims"
    component: Mapped[str] = mapped_column(text_type(81), primary_key=True)
    version: Mapped[str] = mapped_column(text_type(60), primary_key=True)
    body: Mapped[str] = mapped_column(text_type(40))
    claimed_by: Mapped[str] = mapped_column(text_type(40))
    until: Mapped[datetime]


class OrganisationPolicy(Base):
    """A policy that an organisation holds to, by the digest of its manifest."""

    __tablename__ = "organisation_policies"

    organisation: Mapped[str] = mapped_column(
        text_type(40), ForeignKey("organisations.name"), primary_key=True
    )
    component: Mapped[str] = mapped_column(text_type(81), primary_key=True)
    version: Mapped[str] = mapped_column(text_type(60))
    manifest_sha256: Mapped[str] = mapped_column(text_type(64))
    pinned_at: Mapped[datetime]


class Scan(Base):
    """What one scanner said last of one release. ``state`` is ``clean``, ``findings``,
    ``not-scanned`` or ``failed``; whether it is too old is computed on reading. ``report`` is JSON
    in the bytes that ``report_sha256`` is of, so that a review can name what it rests on."""

    __tablename__ = "scans"
    __table_args__ = (UniqueConstraint("manifest_sha256", "scanner"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    manifest_sha256: Mapped[str] = mapped_column(text_type(64))
    component: Mapped[str] = mapped_column(text_type(81))
    version: Mapped[str] = mapped_column(text_type(60))
    scanner: Mapped[str] = mapped_column(text_type(40))
    scanner_version: Mapped[str] = mapped_column(text_type(60))
    data_date: Mapped[date | None]  # of what the scanner knows; None where it knows no data
    state: Mapped[str] = mapped_column(text_type(12))
    detail: Mapped[str] = mapped_column(text_type())
    report: Mapped[bytes] = mapped_column(LargeBinary)
    report_sha256: Mapped[str] = mapped_column(text_type(64))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]


class Finding(Base):
    """``id`` is the same however often the same is found; ``gone_at`` is when a later scan of the
    same scanner did not find it any more. ``severity_since`` is since when it is that grave (None:
    since it was first seen)."""

    __tablename__ = "findings"

    manifest_sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    id: Mapped[str] = mapped_column(text_type(120), primary_key=True)
    scanner: Mapped[str] = mapped_column(text_type(40))
    severity: Mapped[str] = mapped_column(text_type(8))
    severity_since: Mapped[datetime | None]
    path: Mapped[str] = mapped_column(text_type())
    location: Mapped[str] = mapped_column(text_type())
    title: Mapped[str] = mapped_column(text_type())
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    gone_at: Mapped[datetime | None]


class ScanClaim(Base):
    """One worker scans a release at a time; after ``expires_at`` it is taken for dead."""

    __tablename__ = "scan_claims"

    manifest_sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    token: Mapped[str] = mapped_column(text_type(16))
    expires_at: Mapped[datetime]


class ScanRound(Base):
    """With which scanners, in which versions and with data of which dates, a release was scanned
    last: ``round`` is a digest of them."""

    __tablename__ = "scan_rounds"

    manifest_sha256: Mapped[str] = mapped_column(text_type(64), primary_key=True)
    round: Mapped[str] = mapped_column(text_type(64))
    scanned_at: Mapped[datetime]
