"""Advisories about releases, as other tools look for them: by the distribution inside, or by ours.

There is one for every release that is withheld, and for every one that its publisher yanked for
security (a reason that begins with ``security:``); and one for each grave finding that a reviewer
verified its publisher's answer to: no fix is available, or will be. A release is named in the
ecosystem `ECOSYSTEM` by its own name; where it is a library, also in PyPI's by the names of the
wheels in it that carry its own version: what it merely brings along is somebody else's, and is not
accused. Everything is computed when it is asked for, from rows that are few.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signing.encoding import parse_json
from signing.errors import SigningError
from signing.status import QUARANTINED, REVOKED
from storage import PathNotFoundError, PublishedTree

from ..db.engine import Database
from ..db.models import Component, Finding, Release, ReleaseFile
from ..db.recall_models import Answer, Withholding
from ..domain.answers import VERIFIED
from ..errors import RegistryError
from .publication import target_path
from .withheld import HELD, REMOVED

ECOSYSTEM: Final = "National Software Forge"
PYPI: Final = "PyPI"
FOUND: Final = "found"
_PREFIX: Final = "FORGE-"
_SECURITY: Final = "security:"
_MAX_MANIFEST: Final = 16 << 20
_GRAVEST_FIRST: Final = (REMOVED, REVOKED, QUARANTINED, HELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A package that an advisory speaks of. ``fixed`` is the version that follows it, where that
    one is sound."""

    ecosystem: str
    name: str
    version: str
    fixed: str | None

    def covers(self, version: str | None) -> bool:
        return version is None or _same_version(self.version, version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """``state`` is a state of `services.withheld`, ``yanked`` or `FOUND`."""

    id: str
    component: str
    version: str
    manifest_sha256: str
    state: str
    reason: str
    published: datetime
    modified: datetime
    affected: Sequence[Affected]


@dataclass(frozen=True, slots=True)
class Advisories:
    database: Database
    tree: PublishedTree

    def matching(self, ecosystem: str, name: str, version: str | None) -> list[Advisory]:
        """The advisories about a package, of one version if given, oldest first."""
        return self.several([(ecosystem, name, version)])[0]

    def several(self, queries: Sequence[tuple[str, str, str | None]]) -> list[list[Advisory]]:
        """What `matching` finds for each of ``(ecosystem, name, version)``, read once."""
        # A thousand questions about ten thousand advisories must not be ten million looks.
        known: dict[tuple[str, str], list[tuple[Advisory, Affected]]] = {}
        for one in self._all():
            for each in one.affected:
                known.setdefault((each.ecosystem, each.name), []).append((one, each))
        found = []
        for ecosystem, name, version in queries:
            wanted = (ecosystem, canonicalize_name(name) if ecosystem == PYPI else name)
            found.append([one for one, each in known.get(wanted, ()) if each.covers(version)])
        return found

    def get(self, number: str) -> Advisory:
        """Raises RegistryError (``not-found``)."""
        for one in self._all():
            if one.id == number:
                return one
        raise RegistryError("not-found", f"no advisory is called {number!r:.60}")

    def _all(self) -> list[Advisory]:
        with self.database.read() as session:
            claims = _claims(session)
            accused: dict[str, list[_Claim]] = {}
            for claim in claims:
                accused.setdefault(claim.manifest_sha256, []).append(claim)
            releases = session.execute(
                select(Component.organisation, Component.name, Release)
                .join(Component, Component.id == Release.component_id)
                .where(Release.manifest_sha256.in_(list(accused)))
                .order_by(Release.published_at, Release.id)
            ).all()
            sound = _sound_versions(session, {row[2].component_id for row in releases}, accused)
            wheels = _wheels(session, [row[2].id for row in releases if row[2].kind == "library"])
        found = []
        for organisation, name, release in releases:
            fixed = _next(sound.get(release.component_id, []), release.version)
            for claim in accused[release.manifest_sha256]:
                inside = wheels.get(release.id, [])
                if claim.state == REMOVED and release.kind == "library":
                    inside = self._wheels_of_manifest(organisation, name, release)
                packages = [(ECOSYSTEM, f"{organisation}/{name}")]
                packages += [(PYPI, each) for each in distributions(inside, release.version)]
                found.append(
                    Advisory(
                        id=f"{_PREFIX}{claim.number}",
                        component=f"{organisation}/{name}",
                        version=release.version,
                        manifest_sha256=release.manifest_sha256,
                        state=claim.state,
                        reason=claim.reason,
                        published=claim.since or release.published_at,
                        modified=claim.since or release.published_at,
                        affected=[
                            Affected(
                                ecosystem=ecosystem, name=package, version=release.version,
                                fixed=fixed,
                            )
                            for ecosystem, package in packages
                        ],
                    )
                )  # fmt: skip
        return found

    def _wheels_of_manifest(self, organisation: str, name: str, release: Release) -> list[str]:
        """Of a release whose files were deleted, from what was signed."""
        place = target_path(
            organisation, name, release.version, "manifest.json", release.manifest_sha256
        )
        try:
            manifest: Any = parse_json(self.tree.read(place), place, max_bytes=_MAX_MANIFEST)
        except (PathNotFoundError, SigningError):
            return []
        paths = [str(entry.get("path")) for entry in manifest.get("files", ())]
        return [path for path in paths if path.endswith(".whl")]


def distributions(paths: Sequence[str], version: str) -> list[str]:
    """The normalised names of the wheels among ``paths`` that carry ``version``, sorted."""
    names = set()
    for path in paths:
        try:
            name, carried, _, _ = parse_wheel_filename(path.rpartition("/")[2])
        except (InvalidWheelFilename, InvalidVersion):
            continue
        if carried == Version(version):
            names.add(str(name))
    return sorted(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What is said against a release; ``since`` None: as long as it is published."""

    number: str
    manifest_sha256: str
    state: str
    reason: str
    since: datetime | None


def _claims(session: Session) -> list[_Claim]:
    """One for each release that is withheld or yanked for security, and for each confirmed
    finding."""
    found: dict[str, _Claim] = {}
    yanked = select(Release.manifest_sha256, Release.yanked).where(
        # The first says nothing more, but is what an index is over.
        Release.yanked.is_not(None),
        Release.yanked.istartswith(_SECURITY, autoescape=True),
    )
    for digest, reason in session.execute(yanked):
        why = str(reason)[len(_SECURITY) :].strip()
        found[digest] = _of_release(digest, "yanked", why or "none was given", None)
    rows = session.scalars(select(Withholding)).all()
    for row in sorted(rows, key=lambda one: -_GRAVEST_FIRST.index(one.state)):
        digest = row.manifest_sha256
        found[digest] = _of_release(digest, row.state, row.reason, row.since)
    return [*found.values(), *_confirmed(session)]


def _of_release(digest: str, state: str, reason: str, since: datetime | None) -> _Claim:
    return _Claim(
        number=digest[:16], manifest_sha256=digest, state=state, reason=reason, since=since
    )


def _confirmed(session: Session) -> list[_Claim]:
    """Grave findings that their publisher owned up to and a reviewer verified: the newest answer is
    that there is no fix, or will be none."""
    newest = select(func.max(Answer.id)).group_by(Answer.manifest_sha256, Answer.finding)
    query = (
        select(Finding, Answer)
        .join(
            Answer,
            (Answer.manifest_sha256 == Finding.manifest_sha256) & (Answer.finding == Finding.id),
        )
        .where(
            Answer.id.in_(newest),
            Answer.type.in_(("no-fix-available", "wont-fix")),
            Answer.verdict == VERIFIED,
            Finding.severity.in_(("high", "critical")),
            Finding.gone_at.is_(None),
        )
        .order_by(Answer.id)
    )
    return [
        _Claim(
            number=f"{finding.manifest_sha256[:16]}-{finding.id.rpartition(':')[2]}",
            manifest_sha256=finding.manifest_sha256,
            state=FOUND,
            reason=f"{finding.title} ({finding.path}): {answer.text}",
            since=answer.verdict_at,
        )
        for finding, answer in session.execute(query)
    ]


def _sound_versions(
    session: Session, components: set[int], accused: Collection[str]
) -> dict[int, list[tuple[Version, bool]]]:
    """``{component id: [(version, whether nothing is said against it)]}`` in ascending order."""
    versions: dict[int, list[tuple[Version, bool]]] = {}
    query = select(Release.component_id, Release.version, Release.manifest_sha256, Release.yanked)
    for number, text, digest, yanked in session.execute(
        query.where(Release.component_id.in_(components))
    ):
        fine = digest not in accused and yanked is None
        versions.setdefault(number, []).append((Version(text), fine))
    return {number: sorted(each) for number, each in versions.items()}


def _next(versions: Sequence[tuple[Version, bool]], version: str) -> str | None:
    later = [one for one in versions if one[0] > Version(version)]
    return str(later[0][0]) if later and later[0][1] else None


def _wheels(session: Session, releases: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    query = select(ReleaseFile.release_id, ReleaseFile.path).where(
        ReleaseFile.release_id.in_(releases), ReleaseFile.path.endswith(".whl")
    )
    for number, path in session.execute(query):
        found.setdefault(number, []).append(path)
    return found


def _same_version(ours: str, asked: str) -> bool:
    try:
        return Version(ours) == Version(asked)
    except InvalidVersion:
        return False
