"""One release that there is to choose from: which one is meant, its proven manifest, its files."""

from __future__ import annotations

from collections.abc import Iterable

from signing.errors import WithheldError
from signing.evidence import Evidence
from signing.manifest import FileEntry, Manifest
from signing.names import ComponentName, Requirement
from signing.report import Report
from signing.roles import IndexEntry
from signing.verify import verify_release

from ..border import sound
from ..context import Context
from ..errors import ForgeError
from ..lockfile import requirement_text
from ..remote.trust import View
from ..resolve import Release, accepted, refusal_of, suitable
from .fetching import fetch, wanted_for
from .kept import Choices, Remembered, Signed, choices
from .withheld import known_status


def choose(view: View, requirement: Requirement) -> IndexEntry:
    """The newest release that the requirement accepts, as a resolver would choose it.

    Raises:
        ForgeError: ``not-found``.
    """
    return choose_known(Signed(view), requirement)


def choose_known(known: Choices, requirement: Requirement) -> IndexEntry:
    """`choose`, among what there is to choose from.

    Raises:
        ForgeError: ``not-found``; offline ``network``.
    """
    known.require(requirement.component)  # who knows nothing of it says so
    releases = known.releases(requirement.component) or {}
    offered = [
        Release(
            component=requirement.component,
            version=entry.version,
            requires=entry.requires,
            yanked=entry.yanked,
            withheld=known.withheld(entry),
        )
        for entry in releases.values()
    ]
    found = suitable(offered, [requirement])
    if not found and (not str(requirement.specifier) or refusal_of(offered, [requirement])):
        # All yanked or withheld: shown all the same, with what is to be said about it.
        fitting = accepted(offered, [requirement])
        found = sorted(fitting, key=lambda release: release.version, reverse=True)
    if not found:
        raise ForgeError(
            "not-found",
            f"{requirement_text(requirement)}: no such version"
            + (" was verified on this machine" if isinstance(known, Remembered) else ""),
            hint="there are: " + ", ".join(reversed(list(releases))),
        )
    return releases[str(found[0].version)]


def verified_manifest(
    context: Context, name: ComponentName, entry: IndexEntry, known: Choices | None = None
) -> Manifest:
    """The release's manifest after every check on its signatures; withheld ones as well. ``known``
    is where the entry was found.

    Raises:
        VerificationError: a check failed.
    """
    known = known or choices(context)
    with sound(str(name)):
        report = release_report(context, known.evidence(name, entry), name, entry, None, None)
        failure = report.first_failure
        if failure is not None and isinstance(failure.error, WithheldError) and report.release:
            return report.release
        return report.require()


def release_report(
    context: Context,
    evidence: Evidence,
    name: ComponentName,
    entry: IndexEntry,
    observed: dict[str, FileEntry] | None,
    forge_toml: bytes | None,
) -> Report:
    """What every check on a release says; of its files only with what was ``observed`` of them."""
    return verify_release(
        evidence,
        name,
        entry.version,
        fingerprint=context.pin.fingerprint,
        now=context.now,
        observed=observed,
        forge_toml=forge_toml,
        witnesses=context.trust.witnesses(context.pin.fingerprint),
        status=known_status(context, context.pin),
    )


def download_files(
    context: Context, url: str, manifest: Manifest, entries: Iterable[FileEntry] | None = None
) -> None:
    """Fetch files of a release into the cache, all or some, each verified as it arrives."""
    wanted = {
        file.sha256: wanted_for(file, f"{manifest.component}/{file.path}")
        for file in (manifest.files if entries is None else entries)
        if not context.cache.has(file.sha256, file.size)
    }
    fetch(context, url, list(wanted.values()))
