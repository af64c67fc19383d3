"""Applications of organisations, and their members.

An organisation comes into being when the registrar's signed role delegates to it; see
`services.roles`. What happens here before that is only a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signing.applications import Application, verify_application
from signing.names import parse_org_name, skeleton
from signing.profile import OrgProfile
from signing.refusals import read_reason, verify_refusal
from signing.renewal import Expiring, expiring
from signing.role_edits import add_organisation
from signing.roles import delegation_of
from signing.updates import check_role_update

from ..db.engine import Database
from ..db.models import Component, Member, Organisation, User
from ..domain.members import parse_member_role
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller, Identity
from .clock import Clock
from .publication import Publication
from .rights import member_role, require_member, require_organisation
from .rolebook import expiries, require_role


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationRow:
    """``similar`` are existing names that a reader might take this one for, or it for them."""

    organisation: str
    state: str
    kind: str
    display_name: str
    application: str | None
    role: str | None
    applicant: str | None
    created_at: datetime
    similar: Sequence[str]
    refusal: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationRow:
    """``members`` is None for those who may not see them; ``expiring`` names its roles that end
    within 60 days."""

    name: str
    kind: str
    display_name: str
    state: str
    components: Sequence[str]
    members: Sequence[tuple[str, str]] | None
    expiring: Sequence[Expiring]


@dataclass(frozen=True, slots=True)
class Organisations:
    database: Database
    audit: Audit
    publication: Publication
    clock: Clock
    max_pending: int

    def apply(self, caller: Caller, application: bytes, role: bytes) -> str:
        """Takes an application; returns the organisation's name. The same user may send it
        again while it is pending or after it was refused, and thereby replace it.

        Raises:
            RegistryError: ``name-taken``, ``name-look-alike``, ``too-many-applications``.
            SigningError: not signed by its keys, a reserved name, a role that could not
                become the organisation's first.
        """
        self.publication.require_writable()
        identity = _identity(caller)
        verified = verify_application(application)
        identity.require("manage", organisation=verified.org)
        self._check_first_role(verified, role)
        with self.database.write() as session:
            self._require_free(session, verified.org, identity)
            self._require_few(session, identity)
            row = session.get(Organisation, verified.org) or Organisation(
                name=verified.org, skeleton=skeleton(verified.org), state="pending"
            )
            row.kind, row.display_name = verified.kind, verified.display_name
            row.application, row.first_role = application, role
            row.state, row.refusal = "pending", None
            row.applicant_id, row.created_at = identity.user_id, self.clock()
            session.add(row)
            self.audit.record(
                session, caller, "organisation.apply", verified.org, kind=verified.kind
            )
        return verified.org

    def _check_first_role(self, application: Application, role: bytes) -> None:
        """Applies the very check that approval will apply, against the registrar's role as it
        would be after approval (without its signature, which is not looked at here)."""
        now = self.clock()
        with self.database.read() as session:
            registrar = require_role(session, "registrar")
            taken = session.get(Organisation, application.org) is not None
        if taken:
            return  # `_require_free` has the better words; a pending one passed this before
        approved = add_organisation(
            registrar,
            application.org,
            application.profile,
            application.keys,
            application.threshold,
            [],
            now,
        )
        check_role_update(application.org, role, None, approved, now)

    def _require_free(self, session: Session, name: str, identity: Identity) -> None:
        row = session.get(Organisation, name)
        if row is not None:
            if row.state != "approved" and row.applicant_id == identity.user_id:
                return
            state = "taken" if row.state == "approved" else "applied for by someone else"
            raise RegistryError(
                "name-taken", f"the name {name} is {state}", "choose another", existing=name
            )
        alike = session.scalar(
            select(Organisation.name).where(Organisation.skeleton == skeleton(name))
        )
        if alike is not None:
            raise RegistryError(
                "name-look-alike",
                f"the name {name} looks like {alike}, which exists",
                "choose a name that nobody can take for it",
                existing=alike,
            )

    def _require_few(self, session: Session, identity: Identity) -> None:
        pending = session.scalar(
            select(func.count())
            .select_from(Organisation)
            .where(Organisation.applicant_id == identity.user_id, Organisation.state == "pending")
        )
        if (pending or 0) >= self.max_pending:
            raise RegistryError(
                "too-many-applications",
                f"{pending} applications of {identity.user} are pending, the limit is "
                f"{self.max_pending}",
            )

    def refuse(self, caller: Caller, name: str, refusal: bytes) -> str:
        """Takes the registrar's refusal of the pending application for ``name``; returns the
        reason. It authenticates itself by its signatures. The name stays with its applicant.

        Raises:
            RegistryError: ``application-not-found``, or ``name-taken`` when it was approved.
            SigningError: not signed by the registrar, or about another application.
        """
        self.publication.require_writable()
        with self.database.write() as session:
            row = session.get(Organisation, name)
            if row is None or row.application is None:
                raise RegistryError("application-not-found", f"nobody applied for {name!r:.90}")
            if row.state == "approved":
                raise RegistryError(
                    "name-taken", f"organisation {name} is approved already", existing=name
                )
            registrar = delegation_of(require_role(session, "targets"), "registrar", "targets")
            verified = verify_refusal(refusal, registrar, row.application)
            row.state, row.refusal = "refused", refusal
            self.audit.record(session, caller, "organisation.refuse", name, reason=verified.reason)
        return verified.reason

    def applications(self, state: str | None) -> list[ApplicationRow]:
        """All applications, oldest first; only those in ``state`` if given."""
        query = select(Organisation).order_by(Organisation.created_at, Organisation.name)
        if state is not None:
            query = query.where(Organisation.state == state)
        with self.database.read() as session:
            return [self._application(session, row) for row in session.scalars(query)]

    def application(self, name: str) -> ApplicationRow:
        """Raises RegistryError (``application-not-found``)."""
        with self.database.read() as session:
            row = session.get(Organisation, name)
            if row is None:
                raise RegistryError(
                    "application-not-found", f"nobody applied for the name {name!r:.90}"
                )
            return self._application(session, row)

    def _application(self, session: Session, row: Organisation) -> ApplicationRow:
        applicant = None if row.applicant_id is None else session.get(User, row.applicant_id)
        return ApplicationRow(
            organisation=row.name,
            state=row.state,
            kind=row.kind,
            display_name=row.display_name,
            application=None if row.application is None else row.application.decode(),
            role=None if row.first_role is None else row.first_role.decode(),
            applicant=None if applicant is None else applicant.name,
            created_at=row.created_at,
            similar=_similar(session, row),
            refusal=None if row.refusal is None else row.refusal.decode(),
            reason=None if row.refusal is None else read_reason(row.refusal),
        )

    def organisations(self) -> list[OrganisationRow]:
        """All approved organisations by name, without their members."""
        query = select(Organisation).where(Organisation.state == "approved")
        with self.database.read() as session:
            return [
                _organisation_row(session, row, None, self.clock())
                for row in session.scalars(query.order_by(Organisation.name))
            ]

    def organisation(self, name: str, identity: Identity | None) -> OrganisationRow:
        """One approved organisation; with its members if ``identity`` is one of them and its
        token may read."""
        with self.database.read() as session:
            row = require_organisation(session, name)
            may_see = (
                identity is not None
                and any(identity.scope.allows(a, name, None) for a in ("read", "manage"))
                and member_role(session, name, identity.user_id) is not None
            )
            members = _members(session, name) if may_see else None
            return _organisation_row(session, row, members, self.clock())

    def set_member(self, caller: Caller, organisation: str, user: str, role: str) -> None:
        """Makes ``user`` a member with ``role``, or changes the role.

        Raises:
            RegistryError: the caller is no owner, no such user, the last owner would be gone.
        """
        parse_member_role(role)
        with self.database.write() as session:
            self._require_owner(session, caller, organisation)
            target = _user(session, user)
            row = session.get(Member, (organisation, target.id))
            if row is None:
                row = Member(organisation=organisation, user_id=target.id, role=role)
                session.add(row)
            elif row.role == "owner" and role != "owner":
                _require_other_owner(session, organisation, target.id)
            row.role = role
            self.audit.record(session, caller, "member.set", organisation, user=user, role=role)

    def remove_member(self, caller: Caller, organisation: str, user: str) -> None:
        """Ends a membership at once.

        Raises:
            RegistryError: the caller is no owner, no such member, the last owner.
        """
        with self.database.write() as session:
            self._require_owner(session, caller, organisation)
            target = _user(session, user)
            row = session.get(Member, (organisation, target.id))
            if row is None:
                raise RegistryError("member-not-found", f"{user} is not a member of {organisation}")
            if row.role == "owner":
                _require_other_owner(session, organisation, target.id)
            session.delete(row)
            self.audit.record(session, caller, "member.remove", organisation, user=user)

    def _require_owner(self, session: Session, caller: Caller, organisation: str) -> None:
        if caller.operator:
            require_organisation(session, organisation)
            return
        identity = _identity(caller)
        identity.require("manage", organisation=organisation)
        require_member(session, identity, organisation, "owner")


def approve(session: Session, name: str, profile: OrgProfile | None, now: datetime) -> bytes:
    """Turns the application for ``name`` into an organisation, its applicant into the owner;
    returns the first role that came with the application.

    Raises:
        RegistryError: nobody applied for the name (``role-missing``).
    """
    row = session.get(Organisation, parse_org_name(name))
    if row is None or row.first_role is None:
        raise RegistryError(
            "role-missing",
            f"organisation {name}: expected an application with its first role, found none",
            "the organisation applies with: forge org create",
        )
    row.state, row.refusal = "approved", None
    row.approved_at = now
    if profile is not None:
        describe(row, profile)
    if row.applicant_id is not None:
        session.merge(Member(organisation=name, user_id=row.applicant_id, role="owner"))
    return row.first_role


def describe(row: Organisation, profile: OrgProfile) -> None:
    """Repeats in the catalogue what the registrar signed about an organisation."""
    row.kind, row.display_name = profile.kind, profile.display_name
    row.region, row.contact, row.names = profile.region, profile.contact, dict(profile.names)


def _identity(caller: Caller) -> Identity:
    if caller.identity is None:
        raise RegistryError("not-authenticated", "expected an access token, found none")
    return caller.identity


def _user(session: Session, name: str) -> User:
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise RegistryError("user-not-found", f"user {name!r:.60} does not exist")
    return user


def _require_other_owner(session: Session, organisation: str, user_id: int) -> None:
    other = session.scalar(
        select(Member.user_id).where(
            Member.organisation == organisation,
            Member.role == "owner",
            Member.user_id != user_id,
        )
    )
    if other is None:
        raise RegistryError(
            "last-owner",
            f"{organisation}: the last owner cannot go",
            "make another member owner first",
        )


def _similar(session: Session, row: Organisation) -> list[str]:
    """Approved names of which one begins like the other, to a quick eye."""
    query = select(Organisation.name, Organisation.skeleton).where(
        Organisation.state == "approved", Organisation.name != row.name
    )
    mine = row.skeleton
    return sorted(
        name
        for name, other in session.execute(query)
        if min(len(mine), len(other)) >= 4 and (mine.startswith(other) or other.startswith(mine))
    )


def _members(session: Session, organisation: str) -> list[tuple[str, str]]:
    query = (
        select(User.name, Member.role)
        .join(Member, Member.user_id == User.id)
        .where(Member.organisation == organisation)
        .order_by(User.name)
    )
    return [(name, role) for name, role in session.execute(query)]


def _organisation_row(
    session: Session,
    row: Organisation,
    members: Sequence[tuple[str, str]] | None,
    now: datetime,
) -> OrganisationRow:
    query = select(Component.name).where(Component.organisation == row.name)
    names = session.scalars(query.order_by(Component.name)).all()
    ends = expiries(session, [row.name, *(f"{row.name}.{name}" for name in names)])
    return OrganisationRow(
        name=row.name,
        kind=row.kind,
        display_name=row.display_name,
        state=row.state,
        components=[f"{row.name}/{name}" for name in names],
        members=members,
        expiring=expiring(ends, now),
    )
