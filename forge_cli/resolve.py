"""Choosing versions: pure, over what the signed indexes say, with conflicts told in words.

Newest first; pre-releases only where nothing else will do or a range names one (PEP 440);
yanked versions only where ``==`` names them; withheld ones (`signing.status`) and those that a
policy does not permit never. A name is looked up in the one registry and nowhere else, so nothing
can fall through to another index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import resolvelib
from packaging.version import Version

from signing.errors import WithheldError
from signing.names import ComponentName, Requirement
from signing.status import Withheld

from .errors import ForgeError
from .lockfile import requirement_text, requirements_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the resolver needs to know about one version."""

    component: ComponentName
    version: Version
    requires: Mapping[str, str]
    yanked: str | None
    withheld: Withheld | None = None
    refused: bool = False  # by a policy

    def __str__(self) -> str:
        return f"{self.component} {self.version}"


# The versions of a component; None when the registry does not know it.
Lookup = Callable[[ComponentName], Sequence[Release] | None]


def resolve(
    requirements: Iterable[Requirement],
    lookup: Lookup,
    preferred: Mapping[ComponentName, Version] | None = None,
) -> dict[ComponentName, Release]:
    """One version of each component that is needed, satisfying everybody.

    ``preferred`` (what is locked now) is tried first where it satisfies the requirements.

    Raises:
        WithheldError: all that would do is withheld.
        ForgeError: ``not-found`` for an unknown component, ``unsatisfiable`` with who wants what.
    """
    requirements = list(requirements)
    provider = _Provider(lookup, preferred or {})
    resolver: resolvelib.Resolver[Requirement, Release, ComponentName] = resolvelib.Resolver(
        provider, resolvelib.BaseReporter()
    )
    try:
        result = resolver.resolve(requirements, max_rounds=20_000)
    except resolvelib.ResolutionImpossible as error:
        causes = [(cause.requirement, cause.parent) for cause in error.causes]
        # The resolver names what met last; what the person asked for belongs to it all the same.
        names = {requirement.component for requirement, _ in causes}
        for name in sorted(names):
            wishes = [requirement for requirement, _ in causes if requirement.component == name]
            if (refusal := refusal_of(lookup(name) or (), wishes)) is not None:
                raise refusal from None
        causes += [(wish, None) for wish in requirements if wish.component in names]
        raise _conflict(causes, lookup) from None
    except resolvelib.ResolutionTooDeep:
        raise ForgeError(
            "unsatisfiable",
            "no answer was found after 20,000 attempts",
            hint="name exact versions for some of the components: org/name==1.2.3",
        ) from None
    return dict(sorted(result.mapping.items()))


class _Provider(resolvelib.AbstractProvider[Requirement, Release, ComponentName]):
    def __init__(self, lookup: Lookup, preferred: Mapping[ComponentName, Version]) -> None:
        self._lookup = lookup
        self._preferred = preferred

    def identify(self, requirement_or_candidate: Requirement | Release) -> ComponentName:
        return requirement_or_candidate.component

    def get_preference(
        self,
        identifier: ComponentName,
        resolutions: Mapping[ComponentName, Release],
        candidates: Mapping[ComponentName, Iterator[Release]],
        information: Mapping[ComponentName, Iterator[object]],
        backtrack_causes: Sequence[object],
    ) -> tuple[bool, int, str]:
        # What already caused trouble first, then what has fewest choices: conflicts show early.
        trouble = any(
            getattr(cause, "requirement").component == identifier  # noqa: B009
            for cause in backtrack_causes
        )
        return (not trouble, sum(1 for _ in candidates[identifier]), str(identifier))

    def find_matches(
        self,
        identifier: ComponentName,
        requirements: Mapping[ComponentName, Iterator[Requirement]],
        incompatibilities: Mapping[ComponentName, Iterator[Release]],
    ) -> list[Release]:
        wanted = list(requirements[identifier])
        bad = {release.version for release in incompatibilities[identifier]}
        releases = self._lookup(identifier)
        if releases is None:
            return []
        return [
            release
            for release in suitable(releases, wanted, self._preferred.get(identifier))
            if release.version not in bad
        ]

    def is_satisfied_by(self, requirement: Requirement, candidate: Release) -> bool:
        return requirement.specifier.contains(candidate.version, prereleases=True)

    def get_dependencies(self, candidate: Release) -> list[Requirement]:
        return requirements_of(candidate.requires, str(candidate))


def suitable(
    releases: Sequence[Release], wanted: Sequence[Requirement], preferred: Version | None = None
) -> list[Release]:
    """The releases that all of ``wanted`` accept and nobody withholds, best first."""
    found = [
        release
        for release in accepted(releases, wanted)
        if release.withheld is None
        and not release.refused
        and (release.yanked is None or names_exactly(wanted, release.version))
    ]
    found.sort(key=lambda release: release.version, reverse=True)
    named = any(r.specifier.prereleases for r in wanted)
    finals = [release for release in found if not release.version.is_prerelease]
    chosen = found if named or not finals else finals
    if preferred is not None:
        chosen = sorted(chosen, key=lambda release: release.version != preferred)
    return chosen


def accepted(releases: Sequence[Release], wanted: Sequence[Requirement]) -> list[Release]:
    """The releases in the ranges of all of ``wanted``, yanked, withheld or not."""
    return [
        release
        for release in releases
        if all(r.specifier.contains(release.version, prereleases=True) for r in wanted)
    ]


def refusal_of(releases: Sequence[Release], wanted: Sequence[Requirement]) -> WithheldError | None:
    """Why there is nothing for ``wanted``, where what there was is withheld: of the newest."""
    fitting = accepted(releases, wanted)
    withheld = [release for release in fitting if release.withheld is not None]
    if not withheld or len(withheld) < len(fitting):
        return None
    newest = max(withheld, key=lambda release: release.version)
    assert newest.withheld is not None
    error = newest.withheld.error()
    if len(withheld) > 1:
        others = sorted({str(release.version) for release in withheld if release is not newest})
        error.message += f"\nnothing else is left: {', '.join(others)} withheld too"
    return error


def names_exactly(wanted: Sequence[Requirement], version: Version) -> bool:
    return any(
        one.operator == "==" and not one.version.endswith(".*") and Version(one.version) == version
        for requirement in wanted
        for one in requirement.specifier
    )


def _conflict(causes: Sequence[tuple[Requirement, Release | None]], lookup: Lookup) -> ForgeError:
    """The conflict in words: who wants what, and what there is."""
    lines: list[str] = []
    unknown = False
    for name in sorted({requirement.component for requirement, _ in causes}):
        wishes = sorted(
            {
                (str(parent) if parent is not None else "you", _range(requirement))
                for requirement, parent in causes
                if requirement.component == name
            },
            key=lambda wish: (wish[0] != "you", wish),
        )
        releases = lookup(name)
        unknown = unknown or releases is None
        lines.append(f"{name}:")
        lines += [f"  {who} {'want' if who == 'you' else 'wants'} {what}" for who, what in wishes]
        lines.append(f"  {_offer(releases)}")
    if unknown:
        first = next(r for r, _ in causes if lookup(r.component) is None)
        return ForgeError(
            "not-found",
            f"{first.component} is not in this registry\n" + "\n".join(lines),
            hint=f"look for it: forge search {first.component.name}",
        )
    yanked = any("(yanked)" in line for line in lines)
    return ForgeError(
        "unsatisfiable",
        "no set of versions satisfies every requirement\n" + "\n".join(lines),
        hint="ask for other ranges, or for other versions of those who want them"
        + ("; a yanked version is taken only when == names it" if yanked else ""),
    )


def _marked(release: Release) -> str:
    if release.withheld is not None:
        return f" ({release.withheld.state})"
    if release.refused:
        return " (not permitted)"
    return " (yanked)" if release.yanked is not None else ""


def _range(requirement: Requirement) -> str:
    return requirement_text(requirement).removeprefix(str(requirement.component)) or "any version"


def _offer(releases: Sequence[Release] | None) -> str:
    if releases is None:
        return "the registry has no such component"
    if not releases:
        return "the registry has no release of it yet"
    newest = sorted(releases, key=lambda release: release.version, reverse=True)
    shown = [f"{release.version}{_marked(release)}" for release in newest[:8]]
    more = f" and {len(newest) - 8} older" if len(newest) > 8 else ""
    return "the registry has " + ", ".join(shown) + more
