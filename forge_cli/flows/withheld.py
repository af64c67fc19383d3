"""What the status host withholds, as far as this machine knows, and how old its knowledge is.

Where the registry was asked in this run its word is fresh. Otherwise the last one that was
verified here counts: no request is made for it, so it is said how old it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from signing.ages import ago

from ..context import Context
from ..lockfile import LockedComponent
from ..remote.status_memory import StatusMemory
from ..truststore import Pin

if TYPE_CHECKING:
    from signing.status import Status


def known_status(context: Context, pin: Pin) -> Status | None:
    """The newest word of the registry's status host that is known here without another request;
    None where there is none."""
    if context.asked_registry and context.pin.fingerprint == pin.fingerprint:
        return context.view.status
    return StatusMemory(pin.state_dir).status()


def status_of_root(context: Context, fingerprint: str) -> Status | None:
    """`known_status` of whichever trusted registry has this root."""
    pin = context.trust.with_fingerprint(fingerprint)
    return None if pin is None else known_status(context, pin)


def require_usable(context: Context, pin: Pin, components: Iterable[LockedComponent]) -> None:
    """Establishes that none of ``components`` is withheld, and says how old that knowledge is
    where the registry was not asked.

    Raises:
        WithheldError: one is (exit code 7).
    """
    status = known_status(context, pin)
    if status is None:
        return
    for component in components:
        withheld = status.find(component.manifest_sha256)
        if withheld is not None:
            error = withheld.error()
            if not context.asked_registry:
                error.hint = f"{error.hint}; this was known {age_of(context, status)}"
            raise error
    if not context.asked_registry:
        context.out.say(
            f"nothing of it was withheld {age_of(context, status)}; no request was made"
        )


def warn_stale(context: Context, pin: Pin) -> None:
    """Warns where nobody knows any more what was withheld: a status host speaks every 48 hours."""
    status = known_status(context, pin)
    if status is not None and _lasted(context, status):
        context.out.warn(
            f"what is quarantined or revoked was last heard {age_of(context, status)}; nobody is "
            "asked (offline)"
        )


def view_remark(context: Context, status: Status | None) -> str | None:
    """How old this machine's knowledge is, for those who verify without a network."""
    if status is None:
        return None
    text = f"what is quarantined or revoked was last heard {age_of(context, status)}"
    if _lasted(context, status):
        again = "when there is a network" if context.offline else "with --online"
        text += f", which is longer than a word of the status host lasts: ask again {again}"
    return text


def _lasted(context: Context, status: Status) -> bool:
    """Whether that was longer ago than a word of the status host lasts."""
    from signing.roles import EXPIRY
    from signing.status import ROLE

    return context.now - status.at > EXPIRY[ROLE]


def age_of(context: Context, status: Status) -> str:
    """When the status host said it, and how long ago that is."""
    return f"as of {status.at:%Y-%m-%d %H:%M} UTC, {ago(context.now - status.at)} ago"
