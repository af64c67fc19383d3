"""What the members of an organisation may do."""

from __future__ import annotations

from ..errors import RegistryError

ROLES = ("reader", "publisher", "owner")  # each may do what those before it may


def parse_member_role(text: str, where: str = "request: role") -> str:
    """``text`` if it is a role. Raises RegistryError (``malformed``) otherwise."""
    if text not in ROLES:
        raise RegistryError(
            "malformed", f"{where}: expected one of {', '.join(ROLES)}, found {text!r:.60}"
        )
    return text


def require_member_role(role: str | None, least: str, organisation: str) -> None:
    """Raises RegistryError unless ``role`` (None: not a member) is ``least`` or more."""
    if role is None:
        raise RegistryError(
            "not-a-member",
            f"expected a member of {organisation} ({least} or more), found none",
            f"an owner of {organisation} can add you",
        )
    if ROLES.index(role) < ROLES.index(least):
        raise RegistryError(
            "role-too-low",
            f"{organisation}: expected the role {least} or more, found {role}",
            f"an owner of {organisation} can raise your role",
        )
