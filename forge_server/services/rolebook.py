"""The signed roles in the database: read one, add the next version, list the current ones.

Functions over a session, for services that put several of them into one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Executable, bindparam, insert, select, update
from sqlalchemy.orm import Session

from signing.renewal import signed_expiry

from ..db.engine import upsert
from ..db.later import later
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
_VERSIONS: Final = select(_ROLES.name, _ROLES.version).where(
    _ROLES.name.in_(bindparam("names", expanding=True))
)
_MADE: Final = table_of(MetadataVersion)
_ADD: Final = insert(_MADE).returning(_MADE.c.id, _MADE.c.role, _MADE.c.version)
_MOVED: Final = ("version", "metadata_id", "expires_at", "noticed_days")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Added:
    """A version of a role that waits to be written; its leaf is in the log already."""

    name: str
    version: int
    data: bytes
    log_index: int
    now: datetime
    expires: datetime


def add_role_later(
    session: Session, name: str, version: int, data: bytes, now: datetime, expires: datetime
) -> None:
    """`add_role`, which is written with those of others in the same transaction. That, and not
    this, raises when someone else was faster; nobody may read the role before."""
    added = _Added(
        name=name, version=version, data=data, now=now, expires=expires,
        log_index=append_role(session, name, version, data),
    )  # fmt: skip
    later(session, _add_roles, added)


def _add_roles(session: Session, roles: Sequence[_Added]) -> None:
    connection = session.connection()
    found = connection.execute(_VERSIONS, {"names": sorted({each.name for each in roles})})
    heads = {row[0]: row[1] for row in found}
    for each in roles:
        if each.version != heads.get(each.name, 0) + 1:
            raise role_version_conflict(each.name, each.version, heads.get(each.name, 0))
        heads[each.name] = each.version
    rows = [
        {
            "role": each.name, "version": each.version, "data": each.data,
            "log_index": each.log_index, "created_at": each.now,
        }
        for each in roles
    ]  # fmt: skip
    numbers = {(role, version): id_ for id_, role, version in connection.execute(_ADD, rows)}
    newest = {each.name: each for each in roles}  # of several versions of one the last
    query = upsert(session, table_of(Role))
    moved = {name: query.excluded[name] for name in _MOVED}
    connection.execute(
        query.on_conflict_do_update(index_elements=[_ROLES.name], set_=moved),
        [
            {
                "name": name, "version": each.version, "expires_at": each.expires,
                "metadata_id": numbers[name, each.version], "noticed_days": None,
            }
            for name, each in sorted(newest.items())
        ],
    )  # fmt: skip


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
