"""Role updates that authenticate themselves by their signatures; no access token is asked for.

They may do everything that a role can say but one thing: a release comes only with its offer,
because only there are its files checked to be here.

A new root is taken even when it names online keys that are not here: the authority replaces
them without the server's help. The server then publishes the root, signs nothing, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.orm import Session

from signing.authority_updates import check_reachable, check_root_update, check_targets_update
from signing.bodies import body_of, is_reviews
from signing.errors import MalformedError
from signing.names import ComponentName, parse_org_name, skeleton
from signing.roles import (
    Delegation,
    delegations_of,
    level_of,
    parse_root,
    releases_of,
    role_version,
)
from signing.status import ROLE as STATUS
from signing.updates import check_role_update

from ..db.engine import Database
from ..db.models import Component, Organisation, Release
from ..errors import RegistryError
from ..logs import LOGGER
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .components import find_component, mark_changed, refresh_component, take_over
from .organisations import approve, describe
from .publication import Publication
from .review_roles import NewStatement, ReviewRoles, check_statements, mark_all_reviewed
from .rolebook import add_role, current_roles, head_version, require_role
from .status import (
    is_status_sound,
    record_withheld,
    require_own_history,
    require_status_sound,
)
from .withheld import follow_status

MAX_ROLES = 50  # in one request
NO_TARGETS: Mapping[str, bytes] = MappingProxyType({})
_AUTHORITY = ("root", "targets", "registrar")
_LEVELS = (*_AUTHORITY, STATUS, "reviews", "organisation", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """``{role: version}`` of what was accepted, and the snapshot that announces it."""

    roles: Mapping[str, int]
    snapshot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Update:
    name: str
    version: int
    data: bytes
    current: bytes | None
    organisations: Mapping[str, Delegation]  # of the registrar's role alone
    statements: tuple[NewStatement, ...] = ()  # of a reviewer body's role alone


@dataclass(frozen=True, slots=True)
class Roles:
    database: Database
    audit: Audit
    publication: Publication
    clock: Clock
    review_roles: ReviewRoles

    def current(self, name: str) -> bytes:
        """The current bytes of role ``name``. Raises RegistryError (``role-not-found``)."""
        with self.database.read() as session:
            return require_role(session, name)

    def accept(
        self,
        caller: Caller,
        new: Mapping[str, bytes],
        targets: Mapping[str, bytes] = NO_TARGETS,
    ) -> Accepted:
        """Takes the new versions of one or several roles, all or none. ``targets`` are the
        statements that the role of a reviewer body newly lists: ``{path: envelope}``.

        Raises:
            RegistryError, SigningError: one of them does not hold, or came too late.
        """
        if "root" not in new:
            self.publication.require_writable()
        updates = self._check(_in_order(new), targets)
        with self.database.write() as session:
            versions = {}
            heard = is_status_sound(session)
            for item in updates:
                versions.update(self._apply(session, caller, item, new))
            _require_reachable(session, new)
            if {"root", "targets", STATUS} & new.keys():
                follow_status(session)
            if heard:
                require_status_sound(session)
            snapshot = self._announce(session, new)
        self.publication.materialise()
        return Accepted(roles=versions, snapshot=snapshot)

    def _announce(self, session: Session, new: Mapping[str, bytes]) -> int:
        if "root" in new and not self.publication.can_sign(session):
            why = self.publication.keys.why_read_only(new["root"])
            LOGGER.error("read-only from now on: %s", why)
            return head_version(session, "snapshot")
        return self.publication.announce(session, always="root" in new)

    def _check(self, new: Mapping[str, bytes], targets: Mapping[str, bytes]) -> list[_Update]:
        """Every check that needs no lock: signatures take their time."""
        now = self.clock()
        bodies = [name for name in new if level_of(name) == "reviews"]
        if targets and len(bodies) != 1:
            raise RegistryError(
                "malformed", "request: targets: expected with the role of one reviewer body"
            )
        with self.database.read() as session:
            current = current_roles(session, {"root", "targets", *new, *map(_parent, new)})
        updates = []
        for name, data in new.items():
            if name in ("root", "targets"):
                updates.append(_check_authority(name, data, new, current, now))
                continue
            parent = new.get(_parent(name)) or current.get(_parent(name))
            if parent is None:
                raise RegistryError(
                    "role-not-found", f"role {name}: its parent {_parent(name)} does not exist"
                )
            first = name not in current and level_of(name) == "organisation"
            if first and "registrar" not in new:
                # An organisation's first role arrives with the registrar's delegation to it.
                raise RegistryError("role-not-found", f"role {name}: nothing of that name")
            check_role_update(name, data, current.get(name), parent, now)
            if level_of(name) == "project":
                _require_no_new_release(name, current.get(name), data)
            elif level_of(name) == "organisation":
                require_no_look_alike(current.get(name), data)
            updates.append(
                _Update(
                    name=name,
                    version=role_version(data),
                    data=data,
                    current=current.get(name),
                    organisations=delegations_of(data) if name == "registrar" else {},
                    statements=check_statements(name, data, parent, targets)
                    if name in bodies
                    else (),
                )
            )
        return updates

    def _apply(
        self, session: Session, caller: Caller, item: _Update, new: Mapping[str, bytes]
    ) -> dict[str, int]:
        now = self.clock()
        level = level_of(item.name)
        versions = {item.name: item.version}
        if level == "organisation" and item.current is None:
            return {}  # stored by `_approve`, together with the delegation
        if level == STATUS:
            require_own_history(session, self.publication.tree, item.data, now)
        add_role(session, item.name, item.version, item.data, now)
        self.audit.record(session, caller, "role.accept", item.name, version=item.version)
        if item.name == "targets":
            mark_all_reviewed(session)
        if level == "registrar":
            versions |= self._approve(session, caller, item, new)
        elif level == "reviews":
            self.review_roles.apply(session, caller, item.name, item.data, item.statements, now)
        elif level == "project":
            self._set_standing(session, caller, item)
        elif level == STATUS:
            changed = record_withheld(self.audit, session, caller, item.current, item.data)
            mark_changed(
                session,
                Component.id.in_(
                    select(Release.component_id).where(Release.manifest_sha256.in_(changed))
                ),
            )
        return versions

    def _approve(
        self, session: Session, caller: Caller, item: _Update, new: Mapping[str, bytes]
    ) -> dict[str, int]:
        """Publishes the first role of every organisation that the registrar just added, and
        repeats in the catalogue what it says about those that were there."""
        now = self.clock()
        versions = {}
        for name, delegation in item.organisations.items():
            row = session.get(Organisation, name)
            if row is not None and row.state == "approved":
                if delegation.profile is not None:
                    describe(row, delegation.profile)
                    if session.is_modified(row):
                        mark_changed(session, Component.organisation == name)
                continue
            first = new.get(name, approve(session, name, delegation.profile, now))
            check_role_update(name, first, None, item.data, now)
            add_role(session, name, 1, first, now)
            versions[name] = 1
            self.audit.record(session, caller, "organisation.approve", name)
        return versions

    def _set_standing(self, session: Session, caller: Caller, item: _Update) -> None:
        component = ComponentName.from_role(item.name)
        row = find_component(session, component)
        if row is None:
            return  # an empty first role: nothing that could be said of
        index = releases_of(item.data, component)
        for release in session.scalars(select(Release).where(Release.component_id == row.id)):
            entry = index[release.version]
            for action, detail in take_over(release, entry):
                subject = f"{component}=={release.version}"
                self.audit.record(session, caller, action, subject, **detail)
        session.flush()
        refresh_component(session, row, self.clock())


def _in_order(new: Mapping[str, bytes]) -> dict[str, bytes]:
    """The roles with parents before their children; unknown kinds of roles are refused."""
    if not 1 <= len(new) <= MAX_ROLES:
        raise RegistryError(
            "malformed", f"request: roles: expected 1 to {MAX_ROLES} roles, found {len(new)}"
        )
    for name in new:
        if "." in name:
            ComponentName.from_role(name, "request: roles")
        elif is_reviews(name):
            body_of(name, "request: roles")
        elif name not in (*_AUTHORITY, STATUS):
            parse_org_name(name, "request: roles")
    return dict(sorted(new.items(), key=lambda item: (_LEVELS.index(level_of(item[0])), item[0])))


def _parent(name: str) -> str:
    if name in ("registrar", STATUS) or is_reviews(name):
        return "targets"
    return name.partition(".")[0] if "." in name else "registrar"


def _check_authority(
    name: str,
    data: bytes,
    new: Mapping[str, bytes],
    current: Mapping[str, bytes],
    now: datetime,
) -> _Update:
    """A new root or targets role, judged by the root before it or the root above it."""
    before = current.get(name)
    if before is None:
        raise RegistryError("role-not-found", f"role {name}: no authority has been adopted yet")
    if name == "root":
        version = check_root_update(data, before, now).version
    else:
        root = parse_root(new.get("root", current["root"])).signed
        check_targets_update(data, before, root, now)
        version = role_version(data)
    return _Update(name=name, version=version, data=data, current=before, organisations={})


def _require_reachable(session: Session, new: Mapping[str, bytes]) -> None:
    """Establishes, in the transaction itself, that every client can go on from the new root."""
    if new.keys() & set(_AUTHORITY):
        root = parse_root(require_role(session, "root")).signed
        targets, registrar = (require_role(session, name) for name in ("targets", "registrar"))
        check_reachable(root, targets, registrar)


def _require_no_new_release(name: str, current: bytes | None, new: bytes) -> None:
    component = ComponentName.from_role(name)
    before = {} if current is None else releases_of(current, component)
    added = sorted(set(releases_of(new, component)) - set(before))
    if added:
        raise RegistryError(
            "releases-need-offer",
            f"role {name}: expected no new release, found {', '.join(added)[:200]}",
            "publish it: forge publish",
        )


def require_no_look_alike(current: bytes | None, new: bytes) -> None:
    """Establishes that no project that the organisation's role adds looks like another of its.

    Raises:
        RegistryError: ``name-look-alike``.
    """
    before = set() if current is None else set(delegations_of(current))
    seen: dict[str, str] = {}
    for role in sorted(delegations_of(new), key=lambda role: (role not in before, role)):
        alike = seen.setdefault(skeleton(ComponentName.from_role(role).name), role)
        if alike != role and role not in before:
            one, other = (name.replace(".", "/") for name in (role, alike))
            raise RegistryError(
                "name-look-alike",
                f"the name {one} looks like {other}, which exists",
                "choose a name that nobody can take for it",
                existing=other,
            )


def as_bytes(roles: Mapping[str, object], where: str = "roles") -> dict[str, bytes]:
    """The ``roles`` member of a request: ``{name: text}`` to ``{name: bytes as signed}``."""
    for name, text in roles.items():
        if not isinstance(text, str):
            raise MalformedError(f"request: {where}.{name[:90]}", "a string", type(text).__name__)
    return {name: str(text).encode() for name, text in roles.items()}
