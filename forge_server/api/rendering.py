"""How values that stand in several answers look on the wire."""

from __future__ import annotations

from typing import Final

from signing.component import KINDS
from signing.deprecation import Deprecation
from signing.policy import SEVERITIES
from signing.renewal import Expiring
from signing.status import Withheld, withheld_json
from signing.waivers import Waiver

from ..services.status import StatusState
from .shapes import (
    COMPONENT,
    DIGEST,
    INSTANT,
    INTEGER,
    OPTIONAL_DIGEST,
    OPTIONAL_INSTANT,
    OPTIONAL_TEXT,
    TEXT,
    TEXTS,
    VERSION,
    ListOf,
    Record,
    Text,
    instant,
)

__all__ = [
    "instant",
    "optional_deprecation",
    "optional_instant",
    "optional_withheld",
    "status_json",
    "waiver_json",
]

KIND: Final = Text(choices=KINDS)
SEVERITY: Final = Text(choices=SEVERITIES)
EXPIRING: Final = Record(
    "Expiring",
    {"role": TEXT, "expires": INSTANT, "days": INTEGER},
    says="A role that must be signed anew soon; days are negative when it has expired.",
)
WITHHELD: Final = Record(
    "Withheld",
    {
        "component": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "state": TEXT,
        "reason": TEXT,
        "since": TEXT,
    },
    says="A release that is quarantined (held: by the registry), revoked or removed, and why.",
)
DEPRECATION: Final = Record(
    "Deprecation",
    {"reason": TEXT, "successor": TEXT},
    optional=frozenset({"successor"}),
    says="What its publisher says of a release that should be replaced.",
)
STATUS_ROLE: Final = Record(
    "StatusRole",
    {
        "version": INTEGER,
        "at": OPTIONAL_INSTANT,
        "expires": OPTIONAL_INSTANT,
        "withheld": ListOf(WITHHELD),
    },
    says="The word of the status host; at is null while it has not signed anything yet.",
)
WAIVER: Final = Record(
    "Waiver",
    {
        "id": TEXT,
        "body": TEXT,
        "versions": OPTIONAL_TEXT,
        "manifest_sha256": OPTIONAL_DIGEST,
        "findings": TEXTS,
        "formats": TEXTS,
        "severity": TEXT,
        "reason": TEXT,
        "at": INSTANT,
        "expires": INSTANT,
        "author": TEXT,
        "approver": TEXT,
    },
    says="What two reviewers of a body let pass until a day.",
)


def expiring_json(item: Expiring) -> dict[str, object]:
    """A role that must be signed anew soon."""
    return EXPIRING.of(item)


def waiver_json(one: Waiver) -> dict[str, object]:
    """A waiver in force."""
    return WAIVER.of(one)


def status_json(state: StatusState | None) -> dict[str, object] | None:
    """How the status host is; None where the authority names none."""
    if state is None:
        return None
    return STATUS_ROLE.of(state, withheld=[withheld_json(one) for one in state.withheld])


def optional_withheld(one: Withheld | None) -> dict[str, str] | None:
    return None if one is None else withheld_json(one)


def optional_instant(value: object) -> str | None:
    return OPTIONAL_INSTANT.render(value)  # type: ignore[no-any-return]


def optional_deprecation(one: Deprecation | None) -> dict[str, str] | None:
    return None if one is None else one.to_json()
