"""Logging in with somebody's approval on another machine (RFC 8628).

A program asks, and is given a device code that it keeps and a user code that it shows. A person
who has an access token approves the user code with it, once they have seen who asks, from where and
for what. The program, which asks every few seconds whether it may, then gets an access token of its
own: once, and only while the codes live.

What an attacker may try, and what stands in the way: guessing user codes (attempts are counted by
the views, few codes live at a time, each for minutes); talking somebody into approving (the only
words of the asker's that are shown are the name of a machine, and marked as a claim); using a code
twice, deciding twice, or late (each is decided in one writing transaction, of which there is one at
a time); a token that could do more than its maker's (the rules of `Accounts.create_token` hold).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..db.login_models import DeviceCode
from ..db.models import Token, User
from ..domain.addresses import counted_as
from ..domain.login_codes import (
    device_digest,
    new_device_code,
    parse_device,
    parse_user_code,
    shown_user_code,
    user_code_of,
)
from ..domain.scopes import Scope, parse_actions
from ..errors import RegistryError
from .accounts import Accounts, TokenRow
from .audit import Audit
from .callers import Caller, Identity
from .clock import Clock
from .rates import WINDOW_SECONDS, Rates

LIFE: Final = timedelta(minutes=10)
POLL_SECONDS: Final = 5
TOKEN_DAYS: Final = 90
PER_ADDRESS: Final = 30
"""Logins that one address may have waiting."""
WAITING: Final = 1000
"""Logins that may wait in all."""
_KEPT: Final = timedelta(days=1)  # for a while it can be said that a code is too old
_CLIENTS: Final = ("forge", "hub")


class Wait(Enum):
    """No token yet, by the names of RFC 8628 §3.5."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the program is told. ``device_code`` is kept nowhere else."""

    device_code: str
    user_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An access token and its secret."""

    row: TokenRow
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What the person who is to approve sees. ``device`` is the asker's own word; ``token_name``
    and ``scope`` are those of the token that would be made."""

    user_code: str
    client: str
    device: str | None
    address: str | None
    scope: Scope
    token_name: str
    asked_at: datetime
    expires_at: datetime
    approved: bool | None


@dataclass(frozen=True, slots=True)
class DeviceLogins:
    database: Database
    audit: Audit
    clock: Clock
    accounts: Accounts
    random_bytes: Callable[[int], bytes]
    # One more a minute than programs need that keep to `POLL_SECONDS`.
    _paces: Rates = field(default_factory=lambda: Rates(WINDOW_SECONDS // POLL_SECONDS + 1))

    def ask(self, caller: Caller, client: str, actions: Iterable[str], device: str | None) -> Asked:
        """Begins a login by ``client`` (`forge` or `hub`).

        Raises:
            RegistryError: too many wait (``too-many-requests``), or something that is no action or
                no name of a machine (``malformed``).
        """
        assert client in _CLIENTS
        wanted = sorted(parse_actions(actions, "request: scope"))
        name = parse_device(device)
        secret = new_device_code(self.random_bytes(32))
        digest = device_digest(secret)
        assert digest is not None
        now = self.clock()
        with self.database.write() as session:
            session.execute(delete(DeviceCode).where(DeviceCode.created_at < now - _KEPT))
            _require_room(session, caller.address, now)
            code = self._fresh_user_code(session)
            session.add(
                DeviceCode(
                    digest=digest, user_code=code, client=client, device=name,
                    address=caller.address, actions=wanted, created_at=now, expires_at=now + LIFE,
                )
            )  # fmt: skip
        return Asked(device_code=secret, user_code=shown_user_code(code))

    def poll(self, caller: Caller, device_code: str) -> Wait | Issued:
        """The access token, once; or that there is none yet, or that the program asks too often.

        Raises:
            RegistryError: unknown or used before (``login-not-found``), ``login-expired``,
                ``login-denied``.
        """
        digest = device_digest(device_code) or ""
        now = self.clock()
        with self.database.read() as session:
            if _decided(session, digest, now).approved is None:
                pace = self._paces.take(digest, now)
                return Wait.PENDING if pace is None or pace.allowed else Wait.SLOW_DOWN
        with self.database.write() as session:
            return self._issue(session, caller, _decided(session, digest, now), now)

    def show(self, user_code: str) -> Login:
        """Who asks, from where and for what. Needs no account: who has the code was shown it.

        Raises:
            RegistryError: ``login-not-found`` or ``login-expired``.
        """
        now = self.clock()
        with self.database.read() as session:
            row = _waiting(session, user_code)
            _require_alive(row, now)
            return _login(row)

    def decide(self, caller: Caller, user_code: str, *, approve: bool) -> Login:
        """Approves or refuses a login. The same decision by the same user again is a success.

        Raises:
            RegistryError: ``login-not-found``, ``login-expired``, decided by somebody else or
                otherwise (``login-decided``), or the caller's own token may not manage, or may do
                less than what is asked for (``scope-missing``, ``scope-exceeded``).
        """
        identity = caller.identity
        assert identity is not None
        now = self.clock()
        with self.database.write() as session:
            row = _waiting(session, user_code)
            _require_alive(row, now)
            self.accounts.require_may_create(identity, _scope(row))
            if row.approved is not None:
                if (row.approved, row.user_id) == (approve, identity.user_id):
                    return _login(row)
                raise RegistryError(
                    "login-decided",
                    f"login {shown_user_code(row.user_code)} was "
                    f"{'approved' if row.approved else 'refused'} before",
                    "if that was not you: log in again on that machine, and look at "
                    "forge token list",
                )
            self._note(session, caller, identity, row, approve=approve, now=now)
            return _login(row)

    def _note(
        self,
        session: Session,
        caller: Caller,
        identity: Identity,
        row: DeviceCode,
        *,
        approve: bool,
        now: datetime,
    ) -> None:
        row.approved, row.decided_at = approve, now
        row.user_id, row.token_id = identity.user_id, identity.token_id
        self.audit.record(
            session, caller, "login.approve" if approve else "login.refuse", str(row.id),
            client=row.client, device=row.device, asked_from=row.address,
            scopes=_scope(row).texts(),
        )  # fmt: skip

    def _issue(self, session: Session, caller: Caller, row: DeviceCode, now: datetime) -> Issued:
        """Makes the token now: until the program comes for it there is none that could leak."""
        user = session.get_one(User, row.user_id)
        approver = session.get_one(Token, row.token_id)
        if user.disabled_at is not None or approver.revoked_at is not None:
            raise RegistryError(
                "login-denied", "the account or token that approved the login is no longer in use"
            )
        row.taken_at = now
        issued, secret = self.accounts.issue(
            session, caller, user, name=_token_name(row), scope=_scope(row),
            expires_in_days=TOKEN_DAYS,
        )  # fmt: skip
        return Issued(row=issued, secret=secret)

    def _fresh_user_code(self, session: Session) -> str:
        for _ in range(100):
            code = user_code_of(self.random_bytes(16))
            if code is None:
                continue
            taken = select(DeviceCode.id).where(DeviceCode.user_code == code)
            if session.scalar(taken) is None:
                return code
        raise RegistryError("internal", "no user code was free")


def _decided(session: Session, digest: str, now: datetime) -> DeviceCode:
    """The login of a device code, unless it was refused or brought its token already."""
    row = session.scalar(select(DeviceCode).where(DeviceCode.digest == digest))
    if row is None or row.taken_at is not None:
        raise RegistryError(
            "login-not-found",
            "device code: expected one that waits, found one that is unknown or was used",
            "log in again",
        )
    _require_alive(row, now)
    if row.approved is False:
        raise RegistryError("login-denied", "the login was refused on the other machine")
    return row


def _require_room(session: Session, address: str | None, now: datetime) -> None:
    rows = session.execute(
        select(DeviceCode.address, DeviceCode.created_at).where(
            DeviceCode.created_at > now - LIFE, DeviceCode.taken_at.is_(None)
        )
    ).all()  # at most `WAITING`
    who = None if address is None else counted_as(address)
    own = [at for other, at in rows if other is not None and counted_as(other) == who]
    for waiting, limit in ((own, PER_ADDRESS), ([at for _, at in rows], WAITING)):
        if len(waiting) >= limit:
            wait = int((min(waiting) + LIFE - now).total_seconds()) + 1
            raise RegistryError(
                "too-many-requests",
                f"{len(waiting)} logins wait for approval: expected at most {limit}",
                f"wait {wait} seconds",
                retry_after_seconds=wait,
            )


def _waiting(session: Session, user_code: str) -> DeviceCode:
    code = parse_user_code(user_code)
    row = None
    if code is not None:
        row = session.scalar(select(DeviceCode).where(DeviceCode.user_code == code))
    if row is None:
        raise RegistryError(
            "login-not-found",
            f"user code: expected one that a program shows now, found {user_code!r:.40}",
            "compare it with what the program shows: eight letters, no vowels",
        )
    return row


def _require_alive(row: DeviceCode, now: datetime) -> None:
    if row.expires_at <= now:
        raise RegistryError(
            "login-expired",
            f"login {shown_user_code(row.user_code)} expired at {row.expires_at:%F %R} UTC",
            "log in again for another code",
        )


def _scope(row: DeviceCode) -> Scope:
    return Scope(actions=frozenset(row.actions))


def _token_name(row: DeviceCode) -> str:
    """Told apart by the day, and by the machine where that is known."""
    what = "hf" if row.client == "hub" else "forge"
    where = f" on {row.device}" if row.device else ""
    return f"{what} login{where}, {row.created_at:%F}"


def _login(row: DeviceCode) -> Login:
    return Login(
        user_code=shown_user_code(row.user_code),
        client=row.client,
        device=row.device,
        address=row.address,
        scope=_scope(row),
        token_name=_token_name(row),
        asked_at=row.created_at,
        expires_at=row.expires_at,
        approved=row.approved,
    )
