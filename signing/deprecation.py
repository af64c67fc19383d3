"""What a publisher says of releases that it would rather see replaced: deprecated, or yanked, with
a successor.

Both stand in the project's role, in the ``custom`` member of the release's ``manifest.json``::

    "deprecated": {"reason": "…", "successor": "org/name"}     (``successor`` may be missing)
    "yanked": "…", "yanked_successor": "org/name==2.0.0"       (``yanked_successor`` likewise)

A deprecated release stays what it was: ranges pick it, and whoever installs it is told. A yanked
one is picked by ``==`` alone. A successor is advice; nothing is ever installed in the place of a
release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .encoding import Fields
from .names import ComponentName, parse_version

DEPRECATED: Final = "deprecated"
YANKED: Final = "yanked"
YANKED_SUCCESSOR: Final = "yanked_successor"
MEMBERS: Final = (YANKED, YANKED_SUCCESSOR, DEPRECATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """Why a release should be replaced, and by what: ``org/name`` or ``org/name==1.0.0``, or None
    where the publisher names nothing."""

    reason: str
    successor: str | None = None

    @classmethod
    def read(cls, fields: Fields) -> Deprecation:
        """Reads the member; whether the reason may be shown is for the caller to check."""
        fields.only(["reason"], optional=["successor"])
        return cls(reason=fields.text("reason"), successor=read_successor(fields, "successor"))

    def to_json(self) -> dict[str, str]:
        value = {"reason": self.reason}
        if self.successor is not None:
            value["successor"] = self.successor
        return value

    def __str__(self) -> str:
        return self.reason if self.successor is None else f"{self.reason}; use {self.successor}"


def read_successor(fields: Fields, key: str) -> str | None:
    """The successor that ``key`` names; None where it is missing."""
    text = fields.optional_text(key)
    return None if text is None else parse_successor(text, fields.path(key))


def parse_successor(text: str, where: str = "successor") -> str:
    """``text`` if it names a component, or one release of it.

    Raises:
        MalformedError: it does not.
    """
    name, separator, version = text.partition("==")
    ComponentName.parse(name, where)
    if separator:
        parse_version(version, where)
    return text


def component_of(successor: str) -> tuple[ComponentName, str | None]:
    """The component that a successor names, and its version where it names one."""
    name, _, version = successor.partition("==")
    return ComponentName.parse(name, "successor"), version or None
