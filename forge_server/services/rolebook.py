"""The signed roles in the database: read one, add the next version, list the current ones.

Functions over a session, for services that put several of them into one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from signing.renewal import signed_expiry

from ..db.models import MetadataVersion, Role
from ..errors import RegistryError
from .log import append_role

# What a snapshot does not list: the root stands above it, the other two are made by it.
NOT_IN_SNAPSHOT = ("root", "snapshot", "timestamp")


# Made once: it is asked a dozen times in every publish.
_CURRENT: Final = (
    select(MetadataVersion)
    .join(Role, Role.metadata_id == MetadataVersion.id)
    .where(Role.name == bindparam("name"))
)


_SEVERAL: Final = (
    select(Role.__table__.c.name, MetadataVersion.__table__.c.data)
    .join(MetadataVersion.__table__, Role.__table__.c.metadata_id == MetadataVersion.__table__.c.id)
    .where(Role.__table__.c.name.in_(bindparam("names", expanding=True)))
)


# Every publish reads thousands of these: columns, and no objects around them.
_ROLES: Final = Role.__table__.c
_HEADS: Final = select(_ROLES.name, _ROLES.version).where(_ROLES.name.not_in(NOT_IN_SNAPSHOT))


def current_role(session: Session, name: str) -> bytes | None:
    """The bytes of the current version of role ``name``."""
    row = current_row(session, name)
    return None if row is None else row.data


def current_row(session: Session, name: str) -> MetadataVersion | None:
    return session.scalar(_CURRENT, {"name": name})


def require_role(session: Session, name: str) -> bytes:
    """Raises RegistryError (``role-not-found``) when there is no such role."""
    data = current_role(session, name)
    if data is None:
        raise RegistryError("role-not-found", f"role {name!r:.90}: nothing of that name")
    return data


def current_roles(session: Session, names: Iterable[str]) -> dict[str, bytes]:
    """``{name: bytes}`` of those of ``names`` that exist."""
    found = session.connection().execute(_SEVERAL, {"names": list(names)})
    return {row[0]: row[1] for row in found}


def head_version(session: Session, name: str) -> int:
    """The version of the current role ``name``; 0 when there is none."""
    return session.scalar(select(Role.version).where(Role.name == name)) or 0


def head_versions(session: Session) -> dict[str, int]:
    """``{name: version}`` of everything that belongs into the snapshot."""
    return {row[0]: row[1] for row in session.connection().execute(_HEADS)}


def expiries(session: Session, names: Iterable[str]) -> dict[str, datetime]:
    """``{name: expiry}`` of those of ``names`` that exist."""
    query = select(Role.name, Role.expires_at).where(Role.name.in_(list(names)))
    return {row[0]: row[1] for row in session.execute(query)}


def expiring_before(session: Session, end: datetime, limit: int) -> dict[str, datetime]:
    """``{name: expiry}`` of the roles that end before ``end``, the first ``limit`` to end."""
    query = (
        select(Role.name, Role.expires_at)
        .where(Role.expires_at <= end, Role.name.not_in(("snapshot", "timestamp")))
        .order_by(Role.expires_at, Role.name)
        .limit(limit)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def add_role(
    session: Session,
    name: str,
    version: int,
    data: bytes,
    now: datetime,
    expires: datetime | None = None,
) -> MetadataVersion:
    """Makes ``data`` the current version of role ``name``, and a leaf of the public log. When it
    ``expires`` is read from it, unless whoever made it says so.

    Raises:
        RegistryError: someone else was faster (``role-version``, with ``current_version``).
    """
    head = session.get(Role, name)
    have = 0 if head is None else head.version
    # The root's first version is 1, and every role follows by one: a gap is a lost update.
    if version != have + 1:
        raise role_version_conflict(name, version, have)
    expires = expires or signed_expiry(data, name)
    index = append_role(session, name, version, data)
    row = MetadataVersion(role=name, version=version, data=data, log_index=index, created_at=now)
    session.add(row)
    session.flush()
    if head is None:
        session.add(Role(name=name, version=version, metadata_id=row.id, expires_at=expires))
    else:
        head.version, head.expires_at = version, expires
        head.metadata_id, head.noticed_days = row.id, None
    session.flush()
    return row


def role_version_conflict(name: str, version: int, current: int) -> RegistryError:
    return RegistryError(
        "role-version",
        f"role {name}: expected version {current + 1}, found {version}",
        "fetch the role again and repeat the change",
        role=name,
        current_version=current,
    )
