"""`forge info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..context import Context
from ..output import clean, count_text, size_text
from ._command import forge_command, parse_option
from ._profile import profile_json, profile_rows
from ._transfer import offline_option

if TYPE_CHECKING:
    from signing.roles import IndexEntry
    from signing.status import Withheld

    from ..flows.kept import Choices


@forge_command("info")
@click.argument("requirement", metavar="ORG/NAME[==VERSION]")
@offline_option
def command(context: Context, requirement: str) -> None:
    """Show a component: what it is, its versions and what it requires.

    Everything shown was verified from the pinned root; nothing is the registry's own word.
    """
    from signing.names import Requirement

    from ..flows.choosing import choose_known, verified_manifest
    from ..flows.kept import choices
    from ..flows.verify import ages

    wanted = parse_option("ORG/NAME", Requirement.parse, requirement)
    known, name = choices(context), wanted.component
    entry = choose_known(known, wanted)
    state = known.require(name)
    withheld = known.withheld(entry)
    manifest = verified_manifest(context, name, entry, known)  # withheld ones are said to be so
    profile = state.organisation_delegation.profile
    meta: dict[str, Any] = manifest.metadata
    releases = list(reversed(state.releases.values()))
    out = context.out
    out.result(
        {
            "component": str(name),
            "version": str(entry.version),
            "kind": manifest.kind,
            "metadata": meta,
            "manifest_sha256": manifest.digest,
            "withheld": _withheld_json(withheld),
            "size": manifest.total_size,
            "files": len(manifest.files),
            "organisation": {
                "name": name.org,
                **profile_json(profile),
            },
            "publisher_keys": [key.keyid for key in state.delegation.keys]
            if state.delegation
            else [],
            "versions": [
                {
                    "version": str(release.version),
                    "manifest_sha256": release.manifest_sha256,
                    "yanked": release.yanked,
                    "yanked_successor": release.yanked_successor,
                    "deprecated": release.deprecated.to_json() if release.deprecated else None,
                    "withheld": _withheld_json(known.withheld(release)),
                }
                for release in releases
            ],
        }
    )
    out.answer(f"{name} {entry.version}{_mark(known, entry, space='  ')}")
    out.answer(f"  {clean(meta.get('summary', ''))}")
    rows = [
        ["kind", manifest.kind],
        ["licence", clean(meta.get("license", ""))],
        ["languages", ", ".join(map(clean, meta.get("languages") or ())) or "-"],
        ["tasks", ", ".join(map(clean, meta.get("tasks") or ())) or "-"],
        ["by", _organisation(name.org, profile)],
        *([label, text] for label, text in (profile_rows(profile) if profile else ())),
        ["content", f"{count_text(len(manifest.files), 'file')}, {size_text(manifest.total_size)}"],
        ["identity", f"sha256:{manifest.digest}"],
    ]
    if risk := meta.get("risk"):
        rows.append(["risk", f"{clean(risk.get('class'))}: {clean(risk.get('rationale'))}"])
    for other, specifier in manifest.requires.items():
        rows.append(["requires", f"{clean(other)} {clean(specifier)}"])
    if entry.yanked is not None:
        rows.append(["yanked", clean(entry.yanked)])
        if entry.yanked_successor is not None:
            rows.append(["successor", entry.yanked_successor])
    if entry.deprecated is not None:
        rows.append(["deprecated", clean(entry.deprecated.reason)])
        if entry.deprecated.successor is not None:
            rows.append(["successor", entry.deprecated.successor])
    if withheld is not None:
        rows.append([withheld.state, f"since {withheld.since:%Y-%m-%d %H:%M} UTC: "
                     f"{clean(withheld.reason)}"])  # fmt: skip
    out.table(rows, indent="  ")
    shown = ", ".join(f"{release.version}{_mark(known, release)}" for release in releases[:12])
    more = f" and {len(releases) - 12} older" if len(releases) > 12 else ""
    out.answer(f"  versions   {shown}{more}")
    if withheld is not None:
        out.warn(f"{withheld.release} is {withheld.state}: forge does not install it")
    if context.offline:
        for remark in ages(context, known.evidence(name, entry), context.pin.fingerprint):
            out.say(f"note: {remark}")
    out.done("verified from the pinned root")


def _mark(known: Choices, entry: IndexEntry, space: str = " ") -> str:
    """What stands behind a version that ranges do not pick."""
    if (withheld := known.withheld(entry)) is not None:
        return f"{space}({withheld.state})"
    if entry.yanked is not None:
        return f"{space}(yanked)"
    return f"{space}(deprecated)" if entry.deprecated is not None else ""


def _withheld_json(one: Withheld | None) -> dict[str, str] | None:
    from signing.status import withheld_json

    return None if one is None else withheld_json(one)


def _organisation(org: str, profile: Any) -> str:
    if profile is None:
        return org
    return f"{clean(profile.display_name)} ({org}, {clean(profile.kind)})"
