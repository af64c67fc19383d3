"""Who may do what in an organisation, looked up anew for each request.

Nothing is cached, so a member who was removed keeps nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from ..db.models import Member, Organisation, User
from ..domain.members import require_member_role
from ..errors import RegistryError
from .callers import Identity

# Made once: every request asks it. (state of the organisation, role of the user there or None)
_OF_USER: Final = (
    select(Member.organisation, Member.role)
    .join(User, User.id == Member.user_id)
    .where(Member.user_id == bindparam("user"), User.disabled_at.is_(None))
    .subquery()
)
_STANDING: Final = (
    select(Organisation.state, _OF_USER.c.role)
    .outerjoin(_OF_USER, _OF_USER.c.organisation == Organisation.name)
    .where(Organisation.name == bindparam("org"))
)


# (organisation, its state, user there or None, role) of several at once.
_OF_USERS: Final = (
    select(Member.organisation, Member.user_id, Member.role)
    .join(User, User.id == Member.user_id)
    .where(
        Member.user_id.in_(bindparam("users", expanding=True)),
        Member.organisation.in_(bindparam("orgs", expanding=True)),
        User.disabled_at.is_(None),
    )
    .subquery()
)
_STANDINGS: Final = (
    select(Organisation.name, Organisation.state, _OF_USERS.c.user_id, _OF_USERS.c.role)
    .outerjoin(_OF_USERS, _OF_USERS.c.organisation == Organisation.name)
    .where(Organisation.name.in_(bindparam("orgs", expanding=True)))
)
Standings = Mapping[tuple[int | None, str], str]
"""``{(user id, organisation): role there}``, and for None the organisation's own state."""


def require_organisation(session: Session, name: str) -> Organisation:
    """The approved organisation ``name``.

    Raises:
        RegistryError: ``organisation-not-found``, ``organisation-pending`` or
            ``organisation-refused``.
    """
    row = session.get(Organisation, name)
    if row is None:
        raise RegistryError(
            "organisation-not-found",
            f"organisation {name!r:.90} does not exist",
            "apply for it: forge org create",
        )
    if row.state != "approved":
        if row.state == "refused":
            raise RegistryError(
                "organisation-refused",
                f"organisation {name}: the registrar refused the application",
                "see why, change it and apply again: forge org show, forge org create",
            )
        raise RegistryError(
            "organisation-pending",
            f"organisation {name}: the registrar has not approved it yet",
            "the registrar approves with: forge authority approve",
        )
    return row


def member_role(session: Session, organisation: str, user_id: int) -> str | None:
    """The user's role in the organisation; None when not a member."""
    return session.scalar(
        select(Member.role)
        .join(User, User.id == Member.user_id)
        .where(
            Member.organisation == organisation,
            Member.user_id == user_id,
            User.disabled_at.is_(None),
        )
    )


def require_member(session: Session, identity: Identity, organisation: str, least: str) -> None:
    """Raises RegistryError unless the user is a member with the role ``least`` or more."""
    found = session.execute(
        _STANDING, {"org": organisation, "user": identity.user_id}
    ).one_or_none()
    if found is None or found[0] != "approved":
        require_organisation(session, organisation)
    require_member_role(None if found is None else found[1], least, organisation)


def standings(session: Session, asked: Collection[tuple[int, str]]) -> Standings:
    """What `require_standing` must know of each ``(user id, organisation)``, in one question."""
    found: dict[tuple[int | None, str], str] = {}
    names = {
        "users": sorted({user for user, _ in asked}),
        "orgs": sorted({org for _, org in asked}),
    }
    for org, state, user, role in session.connection().execute(_STANDINGS, names):
        found[None, org] = state
        if user is not None:
            found[user, org] = role
    return found


def require_standing(
    session: Session, known: Standings, identity: Identity, organisation: str, least: str
) -> None:
    """`require_member`, by what was found out for several at once."""
    if known.get((None, organisation)) != "approved":
        require_organisation(session, organisation)
    require_member_role(known.get((identity.user_id, organisation)), least, organisation)
