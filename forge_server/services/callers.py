"""Who asks, and from where: handed to every service method that changes something."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..domain.scopes import Scope, needed
from ..errors import RegistryError


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user as known by one access token."""

    user_id: int
    user: str
    token_id: int
    token_name: str
    scope: Scope
    expires_at: datetime

    def require(
        self, action: str, *, organisation: str | None = None, component: str | None = None
    ) -> None:
        """Raises RegistryError (``scope-missing``) unless the token may be used for this."""
        if not self.scope.allows(action, organisation, component):
            want = needed(action, organisation, component)
            have = ", ".join(self.scope.texts()) or "none"
            raise RegistryError(
                "scope-missing",
                f"access token: expected the scope {want}, found {have}",
                "make a token that has it: forge token create NAME "
                f"--action {action}" + (f" --org {organisation}" if organisation else ""),
                scope=want,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """``identity`` is None for a stranger, and for the operator on the machine itself."""

    address: str | None = None
    request_id: str | None = None
    identity: Identity | None = None
    operator: bool = False

    @property
    def actor(self) -> str | None:
        if self.operator:
            return "(operator)"
        return None if self.identity is None else self.identity.user


OPERATOR = Caller(operator=True)
