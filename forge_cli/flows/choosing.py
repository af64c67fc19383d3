"""One release in the registry: which one is meant, its proven manifest, and its files."""

from __future__ import annotations

from signing.errors import WithheldError
from signing.manifest import FileEntry, Manifest
from signing.names import ComponentName, Requirement
from signing.roles import IndexEntry
from signing.verify import verify_release

from ..border import sound
from ..context import Context
from ..errors import ForgeError
from ..lockfile import requirement_text
from ..remote.trust import View
from ..resolve import Release, accepted, refusal_of, suitable
from .fetching import fetch, wanted_for


def choose(view: View, requirement: Requirement) -> IndexEntry:
    """The newest release that the requirement accepts, as a resolver would choose it.

    Raises:
        ForgeError: ``not-found``.
    """
    releases = view.require(requirement.component).releases
    offered = [
        Release(
            component=requirement.component,
            version=entry.version,
            requires=entry.requires,
            yanked=entry.yanked,
            withheld=view.withheld(entry),
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
            f"{requirement_text(requirement)}: no such version",
            hint="there are: " + ", ".join(reversed(releases)),
        )
    return releases[str(found[0].version)]


def verified_manifest(context: Context, name: ComponentName, entry: IndexEntry) -> Manifest:
    """The release's manifest after every check on its signatures; withheld ones as well.

    Raises:
        VerificationError: a check failed.
    """
    view = context.view
    with sound(str(name)):
        report = verify_release(
            view.evidence(name, entry),
            name,
            entry.version,
            fingerprint=view.fingerprint,
            now=context.now,
            observed=None,
            forge_toml=None,
            witnesses=view.witnesses,
        )
        failure = report.first_failure
        if failure is not None and isinstance(failure.error, WithheldError) and report.release:
            return report.release
        return report.require()


def download_files(context: Context, view: View, files: tuple[FileEntry, ...]) -> None:
    """Fetch ``files`` into the cache, each verified as it arrives."""
    wanted = {
        file.sha256: wanted_for(file, file.path)
        for file in files
        if not context.cache.has(file.sha256, file.size)
    }
    fetch(context, view.url, list(wanted.values()))
