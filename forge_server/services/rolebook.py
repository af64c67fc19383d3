"""The signed roles in the database: read one, add the next version, list the current ones.

Functions over a session, for services that put several of them into one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import Executable, bindparam, select, update
from sqlalchemy.orm import Session

from signing.renewal import signed_expiry

from ..db.engine import upsert
from ..db.models import MetadataVersion, Role, table_of
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
_MOVE: Final = update(table_of(Role)).where(
    _ROLES.name == bindparam("moved"), _ROLES.version == bindparam("before")
)
_VERSION: Final = select(_ROLES.version).where(_ROLES.name == bindparam("name"))
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
    return session.connection().scalar(_VERSION, {"name": name}) or 0


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
        RegistryError: someone else was faster (``role-version``, with ``current_version``); the
            transaction is spoilt then.
    """
    # The root's first version is 1, and every role follows by one: a gap is a lost update.
    expires = expires or signed_expiry(data, name)
    index = append_role(session, name, version, data)
    row = MetadataVersion(role=name, version=version, data=data, log_index=index, created_at=now)
    number = session.scalar(_insert_version(session), {
        "role": name, "version": version, "data": data, "log_index": index, "created_at": now,
    })  # fmt: skip
    if number is None or not _move_head(session, name, version, number, expires):
        raise role_version_conflict(name, version, head_version(session, name))
    row.id = number
    return row


def _insert_version(session: Session) -> Executable:
    """Tells the id of the new row; nothing where there is one of that version."""
    table = table_of(MetadataVersion)
    return upsert(session, table).on_conflict_do_nothing().returning(table.c.id)


def _move_head(session: Session, name: str, version: int, number: int, expires: datetime) -> bool:
    """Makes the row ``number`` the current version of a role; False when it does not follow."""
    values = {
        "version": version, "metadata_id": number, "expires_at": expires, "noticed_days": None,
    }  # fmt: skip
    if version > 1:
        asked = {"moved": name, "before": version - 1, **values}
        return session.connection().execute(_MOVE, asked).rowcount == 1
    query = upsert(session, table_of(Role)).on_conflict_do_nothing().returning(_ROLES.name)
    return session.connection().execute(query, {"name": name, **values}).first() is not None


def role_version_conflict(name: str, version: int, current: int) -> RegistryError:
    return RegistryError(
        "role-version",
        f"role {name}: expected version {current + 1}, found {version}",
        "fetch the role again and repeat the change",
        role=name,
        current_version=current,
    )
