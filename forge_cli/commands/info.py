"""`forge info`."""

from __future__ import annotations

from typing import Any

import click

from ..context import Context
from ..output import clean, count_text, size_text
from ._command import forge_command, parse_option
from ._profile import profile_json, profile_rows


@forge_command("info")
@click.argument("requirement", metavar="ORG/NAME[==VERSION]")
def command(context: Context, requirement: str) -> None:
    """Show a component: what it is, its versions and what it requires.

    Everything shown was verified from the pinned root; nothing is the registry's own word.
    """
    from signing.names import Requirement
    from signing.verify import verify_release

    from ..border import sound
    from ..flows.verify import choose

    wanted = parse_option("ORG/NAME", Requirement.parse, requirement)
    view, name = context.view, wanted.component
    entry = choose(view, wanted)
    state = view.require(name)
    with sound(str(name)):
        manifest = verify_release(
            view.evidence(name, entry),
            name,
            entry.version,
            fingerprint=view.fingerprint,
            now=context.now,
            observed=None,
            forge_toml=None,
            witnesses=view.witnesses,
        ).require()
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
                }
                for release in releases
            ],
        }
    )
    out.answer(f"{name} {entry.version}" + ("  (yanked)" if entry.yanked is not None else ""))
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
    out.table(rows, indent="  ")
    shown = ", ".join(
        f"{release.version}{' (yanked)' if release.yanked is not None else ''}"
        for release in releases[:12]
    )
    more = f" and {len(releases) - 12} older" if len(releases) > 12 else ""
    out.answer(f"  versions   {shown}{more}")
    out.done("verified from the pinned root")


def _organisation(org: str, profile: Any) -> str:
    if profile is None:
        return org
    return f"{clean(profile.display_name)} ({org}, {clean(profile.kind)})"
