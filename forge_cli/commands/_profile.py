"""How an organisation's signed profile is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..output import clean

if TYPE_CHECKING:
    from signing.profile import OrgProfile


def profile_json(profile: OrgProfile | None) -> dict[str, Any]:
    """The members of a ``--json`` answer; null where nothing is signed."""
    return {
        "kind": profile.kind if profile else None,
        "display_name": profile.display_name if profile else None,
        "region": profile.region if profile else None,
        "names": dict(profile.names) if profile else {},
        "contact": profile.contact if profile else None,
    }


def profile_rows(profile: OrgProfile) -> list[tuple[str, str]]:
    """What is known beyond kind and display name, as ``(label, text)``."""
    from signing.profile import REGIONS

    rows = []
    if profile.region is not None:
        rows.append(("region", f"{profile.region} {REGIONS[profile.region]}"))
    rows += [(f"name ({lang})", clean(name)) for lang, name in profile.names.items()]
    if profile.contact is not None:
        rows.append(("contact", clean(profile.contact)))
    return rows
