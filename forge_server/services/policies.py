"""Policies that organisations pinned here, and what they say of a release: an organisation's own
view of the registry, by the very code that its members' clients run.

What is held against a policy is what this registry knows; a client holds it against what it
verified itself, and that is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from signing.errors import MalformedError, SigningError
from signing.facts import Facts, OpenFinding, Reviews, Scan, card_languages
from signing.file_formats import formats_of
from signing.names import ComponentName
from signing.permission import Verdict, evaluate
from signing.policy import FILE_NAME, KIND, MAX_POLICY_BYTES, Policy, parse_policy
from signing.tlog.checkpoint import open_checkpoint
from signing.tlog.policy import policy_of
from storage import BlobStore, StorageError

from ..db.engine import Database
from ..db.models import LogCheckpoint, Organisation, OrganisationPolicy, Release, ReleaseFile
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .components import find_release
from .findings import open_findings
from .review_desk import ReviewDesk
from .rights import require_member, require_organisation
from .rolebook import current_role
from .scans import Scans
from .waivers import Waivers
from .withheld import withheld_by_digest

MOST: int = 10  # policies of one organisation
Judge = Callable[[Session, ComponentName, Release], str | None]
"""Says why a release is not permitted; None where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is known of a release beyond what is signed in it; each None where nothing is."""

    reviews: Callable[[Session, ComponentName, Release], Reviews | None] = lambda *_: None
    findings: Callable[[Session, ComponentName, Release], Sequence[OpenFinding] | None] = (
        lambda *_: None
    )
    scans: Callable[[Session, Release], Sequence[Scan] | None] = lambda *_: None


def reviews_by(desk: ReviewDesk) -> Callable[[Session, ComponentName, Release], Reviews | None]:
    """Reviews as the desk knows them."""

    def reviews(session: Session, component: ComponentName, release: Release) -> Reviews:
        assessment, _ = desk.assessment(session, component, release)
        return Reviews.of(assessment, component, release.version, release.manifest_sha256)

    return reviews


def findings_by(waivers: Waivers) -> Callable[[Session, ComponentName, Release], list[OpenFinding]]:
    """The findings that nothing has settled."""

    def known(session: Session, component: ComponentName, release: Release) -> list[OpenFinding]:
        digest = release.manifest_sha256
        holding = waivers.in_force(session, component, release.version, digest)
        return [
            OpenFinding(id=one.id, severity=one.severity, title=one.title)
            for one in open_findings(session, digest, holding)
        ]

    return known


def scans_by(scans: Scans) -> Callable[[Session, Release], list[Scan]]:
    """What each scanner said last, as it is to be shown: also that it is too old."""

    def known(session: Session, release: Release) -> list[Scan]:
        return [
            Scan(scanner=one.scanner, state=one.state, at=one.finished_at)
            for one in scans.of_release(session, release.manifest_sha256)
        ]

    return known


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedPolicy:
    """A policy that an organisation holds to. ``unusable`` says why nobody can; then it permits
    nothing."""

    component: str
    version: str
    manifest_sha256: str
    pinned_at: datetime
    policy: Policy | None = None
    unusable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one policy says of one release; without a verdict it permits nothing."""

    pinned: PinnedPolicy
    verdict: Verdict | None

    @property
    def permits(self) -> bool:
        return self.verdict is not None and self.verdict.permits


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """A release in an organisation's own view. ``permits`` is None where it pinned no policy."""

    organisation: str
    component: str
    version: str
    manifest_sha256: str
    opinions: Sequence[Opinion]
    at: datetime

    @property
    def permits(self) -> bool | None:
        return all(each.permits for each in self.opinions) if self.opinions else None


@dataclass(frozen=True, slots=True)
class Bench:
    """The policies of an organisation as one `Judge`, as of ``now``."""

    policies: Policies
    organisation: str
    pinned: Sequence[PinnedPolicy]
    now: datetime

    @property
    def usable(self) -> Sequence[Policy] | None:
        """All of them; None where one cannot be used, which may be another in a moment."""
        found = [each.policy for each in self.pinned if each.policy is not None]
        return found if len(found) == len(self.pinned) else None

    def __call__(self, session: Session, component: ComponentName, release: Release) -> str | None:
        facts = self.policies.facts(session, component, release)
        for each in self.pinned:
            by = (
                f"not permitted by {each.component}=={each.version}, a policy of "
                f"{self.organisation}"
            )
            if each.policy is None:
                return f"{by}, which is unusable: {each.unusable}"
            verdict = evaluate(each.policy, facts, self.now)
            if not verdict.permits:
                rules = [
                    f"{rule.name}: expected {rule.wanted}, found {rule.found}"
                    for rule in verdict.refusals
                ]
                return f"{by}: {'; '.join(rules) or 'it has no rules'}"
        return None


@dataclass(frozen=True, slots=True)
class Policies:
    database: Database
    audit: Audit
    blobs: BlobStore
    clock: Clock
    sources: Sources = field(default_factory=Sources)

    def of(self, organisation: str) -> list[PinnedPolicy]:
        """The policies of an organisation, by name. Raises RegistryError."""
        with self.database.read() as session:
            require_organisation(session, organisation)
            rows = [(row, self._digest(session, row)) for row in _rows(session, organisation)]
            withheld = withheld_by_digest(session)
        return [self._pinned(row, found, row.manifest_sha256 in withheld) for row, found in rows]

    def use(
        self, caller: Caller, organisation: str, component: ComponentName, version: str
    ) -> PinnedPolicy:
        """Pins a published policy, in the place of another version of it.

        Raises:
            RegistryError: the caller is no owner; no such release; it is no policy, or was taken
                back (``policy-unusable``).
        """
        with self.database.write() as session:
            self._require_owner(session, caller, organisation)
            release = find_release(session, component, version)
            if release is None:
                raise RegistryError(
                    "component-not-found",
                    f"{component}: expected a published version, found {version!r:.70}",
                    f"see what there is: forge info {component}",
                )
            if release.kind != KIND:
                raise RegistryError(
                    "policy-unusable",
                    f"{component} {version}: expected a component of kind {KIND}, found a "
                    f"{release.kind}",
                )
            row = OrganisationPolicy(
                organisation=organisation,
                component=str(component),
                version=version,
                manifest_sha256=release.manifest_sha256,
                pinned_at=self.clock(),
            )
            found = self._pinned(
                row,
                self._digest(session, row),
                release.manifest_sha256 in withheld_by_digest(session),
            )
            if found.unusable is not None:
                raise RegistryError("policy-unusable", f"{component} {version}: {found.unusable}")
            others = [
                each for each in _rows(session, organisation) if each.component != str(component)
            ]
            if len(others) >= MOST:
                raise RegistryError(
                    "policy-unusable",
                    f"{organisation}: expected at most {MOST} policies, found {len(others)} others",
                )
            session.merge(row)
            self.audit.record(
                session,
                caller,
                "policy.use",
                organisation,
                policy=f"{component}=={version}",
                manifest_sha256=release.manifest_sha256,
            )
        return found

    def drop(self, caller: Caller, organisation: str, component: ComponentName) -> None:
        """Pins a policy no longer. Raises RegistryError (``policy-not-pinned``)."""
        with self.database.write() as session:
            self._require_owner(session, caller, organisation)
            row = session.get(OrganisationPolicy, (organisation, str(component)))
            if row is None:
                raise RegistryError(
                    "policy-not-pinned", f"{organisation} has not pinned the policy {component}"
                )
            session.execute(
                delete(OrganisationPolicy).where(
                    OrganisationPolicy.organisation == organisation,
                    OrganisationPolicy.component == str(component),
                )
            )
            self.audit.record(
                session, caller, "policy.drop", organisation, policy=f"{component}=={row.version}"
            )

    def view(self, organisation: str, component: ComponentName, version: str) -> PolicyView:
        """What the organisation's policies say of a release.

        Raises:
            RegistryError: no such organisation or release.
        """
        policies = self.of(organisation)
        now = self.clock()
        with self.database.read() as session:
            release = find_release(session, component, version)
            if release is None:
                raise RegistryError(
                    "component-not-found",
                    f"{component}: expected a published version, found {version!r:.70}",
                    f"see what there is: forge info {component}",
                )
            digest = release.manifest_sha256
            facts = self.facts(session, component, release)
        return PolicyView(
            organisation=organisation,
            component=str(component),
            version=version,
            manifest_sha256=digest,
            opinions=[
                Opinion(
                    pinned=each,
                    verdict=None if each.policy is None else evaluate(each.policy, facts, now),
                )
                for each in policies
            ],
            at=now,
        )

    def judge(self, organisation: str) -> Bench | None:
        """The organisation's policies as one judge, as of now; None where it pinned none.

        Raises:
            RegistryError: no such organisation.
        """
        pinned, now = self.of(organisation), self.clock()
        return Bench(self, organisation, pinned, now) if pinned else None

    def facts(self, session: Session, component: ComponentName, release: Release) -> Facts:
        """What this registry knows of a release."""
        paths = list(
            session.scalars(
                select(ReleaseFile.path)
                .where(ReleaseFile.release_id == release.id)
                .order_by(ReleaseFile.path)
            )
        )
        organisation = session.get(Organisation, component.org)
        details = release.details
        facts = Facts(
            component=component,
            version=release.version,
            manifest_sha256=release.manifest_sha256,
            license=details["license"],
            files=tuple(formats_of(paths).values()),
            risk_class=(details.get("risk") or {}).get("class"),
            card_languages=card_languages(details.get("card"), paths),
            organisation_kind=None if organisation is None else organisation.kind,
            witnesses=_witnesses(session),
            published_at=release.published_at,
        )
        return replace(
            facts,
            reviews=self.sources.reviews(session, component, release),
            findings=_tuple(self.sources.findings(session, component, release)),
            scans=_tuple(self.sources.scans(session, release)),
        )

    def _digest(self, session: Session, row: OrganisationPolicy) -> tuple[str | None, str | None]:
        """(the digest of the policy's rules, why it was yanked), each None without one."""
        found = session.execute(
            select(Release.yanked, ReleaseFile.sha256, ReleaseFile.size)
            .join(ReleaseFile, ReleaseFile.release_id == Release.id)
            .where(Release.manifest_sha256 == row.manifest_sha256, ReleaseFile.path == FILE_NAME)
        ).first()
        if found is None or found.size > MAX_POLICY_BYTES:
            return None, None
        return found.sha256, found.yanked

    def _pinned(
        self, row: OrganisationPolicy, found: tuple[str | None, str | None], withheld: bool
    ) -> PinnedPolicy:
        digest, yanked = found
        pinned = PinnedPolicy(
            component=row.component,
            version=row.version,
            manifest_sha256=row.manifest_sha256,
            pinned_at=row.pinned_at,
        )
        if withheld:
            return replace(pinned, unusable="the status host withholds it")
        if yanked is not None:
            return replace(pinned, unusable=f"its publisher took it back: {yanked}")
        if digest is None:
            return replace(pinned, unusable=f"it has no {FILE_NAME}")
        try:
            with self.blobs.open(digest) as file:
                return replace(pinned, policy=parse_policy(file.read(MAX_POLICY_BYTES + 1)))
        except MalformedError as error:
            return replace(pinned, unusable=error.message)
        except StorageError:
            return replace(pinned, unusable="its rules cannot be read now")

    def _require_owner(self, session: Session, caller: Caller, organisation: str) -> None:
        if caller.identity is None:
            raise RegistryError("not-authenticated", "expected an access token, found none")
        caller.identity.require("manage", organisation=organisation)
        require_member(session, caller.identity, organisation, "owner")


def _rows(session: Session, organisation: str) -> list[OrganisationPolicy]:
    return list(
        session.scalars(
            select(OrganisationPolicy)
            .where(OrganisationPolicy.organisation == organisation)
            .order_by(OrganisationPolicy.component)
        )
    )


def _tuple(found: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if found is None else tuple(found)


def _witnesses(session: Session) -> tuple[str, ...] | None:
    """Who cosigned the newest published checkpoint; None where there is no log, or none yet."""
    targets = current_role(session, "targets")
    policy = None if targets is None else policy_of(targets)
    checkpoint = session.scalar(
        select(LogCheckpoint)
        .where(LogCheckpoint.published_at.is_not(None))
        .order_by(LogCheckpoint.size.desc())
        .limit(1)
    )
    if policy is None or checkpoint is None:
        return None
    try:
        note = checkpoint.cosigned or checkpoint.note
        return tuple(sorted(open_checkpoint(note, policy.keys, policy.witnesses).witnesses))
    except SigningError:
        return None
