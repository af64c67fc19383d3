"""The services of a registry, each made when it is first asked for.

A command of the operator needs few of them, and importing all takes longer than what it does. A
server makes them all before it answers (`Registry.complete`).

They stand in rooms, one above the other, and use what is beside or beneath them:

    outward      interfaces of other programs, another index, webhooks
    catalogue    releases, and what is shown of them
    review       scans, findings, reviews, policies, recalls
    transfer     uploads, blobs and what becomes of them
    authority    accounts, organisations, signing and publishing
    given        the database, the stores, the keys, the clock
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from .given import made_once
from .outward import OutwardServices

__all__ = ["Registry"]


@dataclass(frozen=True, kw_only=True)
class Registry(OutwardServices):
    """Everything that the shells (HTTP, commands) may call."""

    def complete(self) -> Registry:
        """Itself, with every service made: what is wrong is said now, and threads find them."""
        for room in type(self).__mro__:
            for name, member in vars(room).items():
                if isinstance(member, made_once):
                    getattr(self, name)
        return self

    def differing(self, **others: Any) -> Registry:
        """One like this, complete, but with ``others`` by their names; what was made of those that
        they stand for stays."""
        made = copy(self.complete())
        if unknown := others.keys() - vars(made).keys():
            raise TypeError(f"a registry has no {', '.join(sorted(unknown))}")
        vars(made).update(others)
        return made
