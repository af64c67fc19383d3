"""Users and their access tokens."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..db.models import Member, Organisation, Token, User
from ..domain.scopes import ACTIONS, Scope
from ..domain.tokens import is_well_formed, new_token, token_digest
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller, Identity
from .clock import Clock

MAX_TOKEN_DAYS = 366
# Made once, and of columns: every request asks it.
_TOKENS: Final = Token.__table__
_USERS: Final = User.__table__.c
_OWNER: Final = (
    select(_TOKENS, _USERS.name.label("user"), _USERS.disabled_at)
    .join(User.__table__, _TOKENS.c.user_id == _USERS.id)
    .where(_TOKENS.c.digest == bindparam("digest"))
)
_LAST_USED_STEP = timedelta(minutes=10)  # one write per token and step, not per request
_USER_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A token as it is listed: everything but the secret."""

    id: int
    user: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    name: str
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Accounts:
    database: Database
    audit: Audit
    clock: Clock
    random_bytes: Callable[[int], bytes]

    def authenticate(self, token: str) -> Identity:
        """Whose ``token`` it is.

        Raises:
            RegistryError: ``token-invalid``, ``token-revoked``, ``token-expired`` or
                ``account-disabled``; none of them repeats the token.
        """
        now = self.clock()
        if not is_well_formed(token):
            raise _token_invalid()
        digest = token_digest(token)
        found = self.database.ask(_OWNER, {"digest": digest})
        row = found[0] if found else None
        # The index already compared; this comparison is the one whose time says nothing.
        if row is None or not hmac.compare_digest(row.digest, digest):
            raise _token_invalid()
        _require_usable(row, now)
        if row.last_used_at is None or now - row.last_used_at > _LAST_USED_STEP:
            self._note_use(row.id, now)
        return Identity(
            user_id=row.user_id,
            user=row.user,
            token_id=row.id,
            token_name=row.name,
            scope=_scope_of(row),
            expires_at=row.expires_at,
        )

    def memberships(self, identity: Identity) -> list[tuple[str, str]]:
        """``(organisation, role)`` of the user, sorted by organisation."""
        query = select(Member.organisation, Member.role).where(Member.user_id == identity.user_id)
        with self.database.read() as session:
            return [(org, role) for org, role in session.execute(query.order_by("organisation"))]

    def create_token(
        self, caller: Caller, *, name: str, scope: Scope, expires_in_days: int
    ) -> tuple[TokenRow, str]:
        """A new token for the caller, and its secret, which is never shown again.

        Raises:
            RegistryError: the caller's own token may not manage, or may do less than the new one.
        """
        identity = caller.identity
        assert identity is not None
        if not name.strip():
            raise RegistryError("malformed", "request: name: expected a name, found nothing")
        self.require_may_create(identity, scope)
        with self.database.write() as session:
            user = session.get_one(User, identity.user_id)
            if scope.organisation and session.get(Organisation, scope.organisation) is None:
                raise RegistryError(
                    "organisation-not-found",
                    f"new token: organisation {scope.organisation} does not exist",
                )
            return self._add_token(session, caller, user, name, scope, expires_in_days)

    def require_may_create(self, identity: Identity, scope: Scope) -> None:
        """A token hands on what it may do itself, and only if it may manage.

        Raises:
            RegistryError: it may not (``scope-missing``), or not as much (``scope-exceeded``).
        """
        identity.require("manage", organisation=scope.organisation, component=scope.component)
        if not identity.scope.covers(scope):
            raise RegistryError(
                "scope-exceeded",
                f"new token: expected at most {', '.join(identity.scope.texts())}, "
                f"found {', '.join(scope.texts())}",
            )

    def issue(
        self,
        session: Session,
        caller: Caller,
        user: User,
        *,
        name: str,
        scope: Scope,
        expires_in_days: int,
    ) -> tuple[TokenRow, str]:
        """A token for ``user`` in a transaction of somebody who knows that it may be made, and its
        secret."""
        return self._add_token(session, caller, user, name, scope, expires_in_days)

    def tokens(self, user: str) -> list[TokenRow]:
        """All tokens of ``user``, oldest first."""
        with self.database.read() as session:
            owner = _user(session, user)
            query = select(Token).where(Token.user_id == owner.id).order_by(Token.id)
            return [_token_row(row, owner) for row in session.scalars(query)]

    def revoke_token(self, caller: Caller, token_id: int) -> None:
        """Revokes one of the caller's own tokens (any of them, for the operator). Doing it
        again is a success.

        Raises:
            RegistryError: no such token of one's own (``token-not-found``).
        """
        identity = caller.identity
        if identity is not None and token_id != identity.token_id:
            identity.require("manage")
        with self.database.write() as session:
            row = session.get(Token, token_id)
            if row is None or (identity is not None and row.user_id != identity.user_id):
                raise RegistryError(
                    "token-not-found",
                    f"token {token_id}: {'none of yours' if identity else 'no such token'}",
                )
            if row.revoked_at is None:
                row.revoked_at = self.clock()
                self.audit.record(session, caller, "token.revoke", str(token_id), name=row.name)

    def add_user(self, caller: Caller, name: str, *, token_name: str, expires_in_days: int) -> str:
        """A new user with a token for everything; returns the token."""
        if len(name) > 40 or not _USER_NAME.fullmatch(name):
            raise RegistryError(
                "malformed",
                f"user name: expected lower-case letters, digits and single inner . _ -, "
                f"at most 40, found {name!r:.60}",
            )
        with self.database.write() as session:
            if session.scalar(select(User.id).where(User.name == name)) is not None:
                raise RegistryError(
                    "user-exists", f"user {name} exists", "another token: forge-server token new"
                )
            user = User(name=name, created_at=self.clock())
            session.add(user)
            session.flush()
            self.audit.record(session, caller, "user.add", name)
            scope = Scope(actions=frozenset(ACTIONS))
            return self._add_token(session, caller, user, token_name, scope, expires_in_days)[1]

    def new_token_for(
        self, caller: Caller, user: str, *, name: str, scope: Scope, expires_in_days: int
    ) -> str:
        """Another token for ``user``, made by the operator; returns the token."""
        with self.database.write() as session:
            owner = _user(session, user)
            return self._add_token(session, caller, owner, name, scope, expires_in_days)[1]

    def users(self) -> list[UserRow]:
        """All users by name."""
        with self.database.read() as session:
            return [
                UserRow(name=u.name, created_at=u.created_at, disabled_at=u.disabled_at)
                for u in session.scalars(select(User).order_by(User.name))
            ]

    def disable_user(self, caller: Caller, name: str) -> None:
        """Shuts a user out: all tokens are revoked and no longer accepted."""
        now = self.clock()
        with self.database.write() as session:
            user = _user(session, name)
            user.disabled_at = user.disabled_at or now
            session.execute(
                update(Token)
                .where(Token.user_id == user.id, Token.revoked_at.is_(None))
                .values(revoked_at=now)
            )
            self.audit.record(session, caller, "user.disable", name)

    def _add_token(
        self,
        session: Session,
        caller: Caller,
        user: User,
        name: str,
        scope: Scope,
        expires_in_days: int,
    ) -> tuple[TokenRow, str]:
        if not 1 <= expires_in_days <= MAX_TOKEN_DAYS:
            raise RegistryError(
                "malformed",
                f"how long a token is valid: expected 1 to {MAX_TOKEN_DAYS} days "
                f"(expires_in_days), found {expires_in_days}",
            )
        now = self.clock()
        secret = new_token(self.random_bytes(32))
        row = Token(
            user_id=user.id,
            name=name,
            digest=token_digest(secret),
            actions=sorted(scope.actions),
            organisation=scope.organisation,
            component=scope.component,
            created_at=now,
            expires_at=now + timedelta(days=expires_in_days),
        )
        session.add(row)
        session.flush()
        self.audit.record(
            session, caller, "token.create", str(row.id), user=user.name, scopes=scope.texts()
        )
        return _token_row(row, user), secret

    def _note_use(self, token_id: int, now: datetime) -> None:
        with self.database.write() as session:
            session.execute(update(Token).where(Token.id == token_id).values(last_used_at=now))


def _require_usable(row: Row[Any], now: datetime) -> None:
    if row.disabled_at is not None:
        raise RegistryError("account-disabled", f"the account {row.user} is disabled")
    if row.revoked_at is not None:
        raise RegistryError(
            "token-revoked", f"access token {row.name!r} was revoked at {row.revoked_at:%F %R} UTC"
        )
    if row.expires_at <= now:
        raise RegistryError(
            "token-expired", f"access token {row.name!r} expired at {row.expires_at:%F %R} UTC"
        )


def _token_invalid() -> RegistryError:
    return RegistryError("token-invalid", "the access token is not one of this registry")


def _scope_of(row: Token | Row[Any]) -> Scope:
    return Scope(
        actions=frozenset(row.actions), organisation=row.organisation, component=row.component
    )


def _token_row(row: Token, user: User) -> TokenRow:
    return TokenRow(
        id=row.id,
        user=user.name,
        name=row.name,
        scope=_scope_of(row),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


def _user(session: Session, name: str) -> User:
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise RegistryError("user-not-found", f"user {name!r:.60} does not exist")
    return user
