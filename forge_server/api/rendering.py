"""How values look on the wire."""

from __future__ import annotations

from datetime import UTC, datetime

from signing.deprecation import Deprecation
from signing.renewal import Expiring
from signing.status import Withheld, withheld_json
from signing.waivers import Waiver

from ..services.status import StatusState


def instant(value: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expiring_json(item: Expiring) -> dict[str, object]:
    """A role that must be signed anew soon."""
    return {"role": item.role, "expires": instant(item.expires), "days": item.days}


def waiver_json(one: Waiver) -> dict[str, object]:
    """A waiver in force."""
    return {
        "id": one.id,
        "body": one.body,
        "versions": one.versions,
        "manifest_sha256": one.manifest_sha256,
        "findings": list(one.findings),
        "formats": list(one.formats),
        "severity": one.severity,
        "reason": one.reason,
        "at": instant(one.at),
        "expires": instant(one.expires),
        "author": one.author,
        "approver": one.approver,
    }


def status_json(state: StatusState | None) -> dict[str, object] | None:
    """How the status host is; None where the authority names none."""
    if state is None:
        return None
    return {
        "version": state.version,
        "at": optional_instant(state.at),
        "expires": optional_instant(state.expires),
        "withheld": [withheld_json(one) for one in state.withheld],
    }


def optional_withheld(one: Withheld | None) -> dict[str, str] | None:
    return None if one is None else withheld_json(one)


def optional_instant(value: datetime | None) -> str | None:
    return None if value is None else instant(value)


def optional_deprecation(one: Deprecation | None) -> dict[str, str] | None:
    return None if one is None else one.to_json()
