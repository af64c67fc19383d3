"""What a token may be used for: actions, possibly within one organisation or one component.

Reading what is public needs no token at all. ``read`` shows one's own account and memberships,
``publish`` sends releases, ``manage`` changes members, tokens and applications. ``inventory`` tells
what a host has installed and nothing else; whoever may manage may hand it on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from signing.names import ComponentName

from ..errors import RegistryError

ACTIONS = ("publish", "read", "manage", "inventory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """``organisation`` and ``component`` (``org/name``) narrow the scope; None does not."""

    actions: frozenset[str]
    organisation: str | None = None
    component: str | None = None

    def allows(self, action: str, organisation: str | None, component: str | None) -> bool:
        """Whether the scope covers ``action`` on what is named; None means the account itself."""
        if action not in self.actions:
            return False
        if self.component is not None:
            return component == self.component
        return self.organisation is None or organisation == self.organisation

    def covers(self, other: Scope) -> bool:
        """Whether everything that ``other`` allows is allowed here too."""
        handed_on = {"inventory"} if "manage" in self.actions else set()
        if not other.actions <= self.actions | handed_on:
            return False
        if self.component is not None:
            return other.component == self.component
        if self.organisation is None:
            return True
        return self.organisation == (other.organisation or organisation_of(other.component))

    def texts(self) -> list[str]:
        """The scope in words: ``publish``, ``publish:org`` or ``publish:org/name``."""
        place = self.component or self.organisation
        return [
            action if place is None else f"{action}:{place}"
            for action in ACTIONS
            if action in self.actions
        ]


def organisation_of(component: str | None) -> str | None:
    """The organisation in ``org/name``."""
    return None if component is None else component.partition("/")[0]


def needed(action: str, organisation: str | None, component: str | None) -> str:
    """How an error names the scope that would have been needed."""
    place = component or organisation
    return action if place is None else f"{action}:{place}"


def parse_actions(items: Iterable[str], where: str) -> frozenset[str]:
    """The actions in ``items``; at least one, each known.

    Raises:
        RegistryError: none, or one that does not exist (``malformed``).
    """
    actions = frozenset(items)
    unknown = sorted(actions - set(ACTIONS))
    if unknown or not actions:
        found = repr(unknown[0]) if unknown else "none"
        raise RegistryError(
            "malformed", f"{where}: expected some of {', '.join(ACTIONS)}, found {found}"
        )
    return actions


def parse_scope(actions: Iterable[str], organisation: str | None, component: str | None) -> Scope:
    """A scope with its names checked; a component within another organisation is refused."""
    if component is not None:
        name = ComponentName.parse(component, "request: component")
        if organisation is not None and organisation != name.org:
            raise RegistryError(
                "malformed",
                f"request: component: expected one of {organisation}, found {component}",
            )
        organisation = name.org
    return Scope(
        actions=parse_actions(actions, "request: actions"),
        organisation=organisation,
        component=component,
    )
