"""The wheels and sdists of `library` components, as an installer asks for them.

What a file's name promises was compared with the wheel's own metadata when it was published (or,
for what is older, when somebody first asks): a wheel that says it is another distribution is never
listed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

from sqlalchemy import select

from ..db.engine import Database
from ..db.models import Component, Distribution, DistributionFile, WheelMetadata
from ..domain.wheels import NAME, distribution_of
from ..errors import RegistryError
from ..logs import LOGGER
from ..services.distributions import Distributions, add_metadata
from ..services.judgements import Judgements
from ..services.policies import Bench, Judge, Policies
from ..services.upstream import Upstream
from .kept import Kept
from .pypi_projects import (
    FILES,
    Project,
    component_of,
    is_offered,
    owner_of,
    project_of,
    project_of_copies,
)
from .serving import Gate, stamp

_Answer = TypeVar("_Answer")
Spend = Callable[[], None]
_MAX_KEPT: Final = 2000
_MAX_COPIED: Final = 100  # pages of other indexes are large
_MAX_JUDGED_BYTES: Final = 256 * 1024  # of one answer that is kept


def _nothing() -> None:
    """What an answer costs that nobody has to pay for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Whom an index is for: an ``organisation``, whose policies apply. With ``all_names`` it has
    more than the names of its own."""

    organisation: str
    all_names: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """``lasts``: it stays right for as long as nothing in the registry changes."""

    etag: str
    data: bytes
    lasts: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """A file's metadata where it has any, or why it is ``refused``."""

    metadata: tuple[str, bytes] | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Judged(Generic[_Answer]):
    """An answer that policies had a say in, and the time for which they say the same."""

    answer: _Answer
    since: datetime
    until: datetime

    def holds(self, now: datetime) -> bool:
        return self.since <= now < self.until


@dataclass(frozen=True, slots=True)
class PythonIndex:
    database: Database
    distributions: Distributions
    policies: Policies
    judgements: Judgements
    upstream: Upstream
    _kept: Kept[tuple[str, bytes]] = field(default_factory=lambda: Kept(_MAX_KEPT))
    _copied: Kept[tuple[tuple[str, bytes], datetime | None]] = field(
        default_factory=lambda: Kept(_MAX_COPIED)
    )
    # Under policies of an organisation: strangers may ask, and each answer costs a verdict on every
    # release of a component.
    _judged: Kept[_Judged[tuple[str, bytes]]] = field(default_factory=lambda: Kept(_MAX_KEPT))
    _judged_files: Kept[_Judged[_Found]] = field(default_factory=lambda: Kept(_MAX_KEPT))

    def page(
        self,
        name: str,
        audience: Audience | None,
        form: str,
        render: Callable[[Project], tuple[str, bytes]],
        spend: Spend = _nothing,
    ) -> Page:
        """What ``render`` made of the project, kept under ``form`` if it lasts. ``spend`` is called
        before policies are asked about its releases, which costs something.

        Raises:
            RegistryError: as `project`; what ``spend`` raises.
        """
        # Looked up before the page is made: what changes meanwhile makes it too old at once.
        now, key = stamp(self.database), (name, audience, form)
        kept = self._kept.find(key, now)
        if kept is not None:
            return Page(*kept, lasts=True)
        basis = None if audience is None else (now, self.judgements.basis(name))
        judged = self._judged.find(key, basis)
        if judged is not None and judged.holds(self.judgements.clock()):
            return Page(*judged.answer, lasts=False)
        judge = self._judge(audience)
        if judge is not None:
            spend()
        mark = self.upstream.mark(name) if _may_have_copies(audience, judge) else None
        copied = None if mark is None else self._copied.find(key, (now, mark))
        if copied is not None and (copied[1] is None or self.upstream.clock() < copied[1]):
            return Page(*copied[0], lasts=False)
        project = self._find(name, audience, judge)
        made = render(project)
        lasts = judge is None and project.component is not None
        if lasts:
            self._kept.keep(key, now, made)
        elif mark is not None:
            self._copied.keep(key, (now, mark), (made, project.until))
        elif judge is not None and len(made[1]) <= _MAX_JUDGED_BYTES:
            self._keep(self._judged, key, basis, made, judge, name)
        return Page(*made, lasts=lasts)

    def project(self, name: str, audience: Audience | None = None) -> Project:
        """What there is under a distribution's ``name`` (PEP 503 form): of a component, or else,
        if the operator lets it through, of another index.

        Raises:
            RegistryError: nothing is under it (``not-found``), or not for this audience; the other
                index has not answered yet (``upstream-failed``).
        """
        return self._find(name, audience, self._judge(audience))

    def _find(self, name: str, audience: Audience | None, judge: Judge | None) -> Project:
        if not NAME.fullmatch(name):
            raise RegistryError("not-found", f"no distribution can be named {name!r:.100}")
        self._read_older(name)
        with self.database.read() as session:
            owner = owner_of(session, name)
            if owner is not None and _is_for(audience, owner):
                return project_of(session, Gate.of(session, judge), name, owner)
        if owner is None and (audience is None or audience.all_names):
            offer = self.upstream.offer(name)
            if offer is not None:
                self._require_no_policy(audience, judge, name)
                return project_of_copies(offer)
        within = "" if audience is None else f" of {audience.organisation}"
        raise RegistryError("not-found", f"no distribution{within} is named {name!r:.100}")

    def names(self, audience: Audience | None = None) -> list[str]:
        """Every name that there is something under, in order."""
        query = select(Distribution.name).order_by(Distribution.name)
        if audience is not None and not audience.all_names:
            query = query.join(Component, Distribution.component_id == Component.id).where(
                Component.organisation == audience.organisation
            )
        judge = self._judge(audience)
        with self.database.read() as session:
            found = list(session.scalars(query))
        if _may_have_copies(audience, judge):
            found = sorted([*found, *self.upstream.names()])
        return found

    def require_file(
        self,
        sha256: str,
        filename: str,
        audience: Audience | None = None,
        spend: Spend = _nothing,
    ) -> None:
        """Establishes that a release that may be served has the file under this name. ``spend`` as
        of `page`.

        Raises:
            RegistryError: none has (``blob-not-found``), saying so where it is withheld.
        """
        self._metadata(sha256, filename, audience, spend)

    def metadata(
        self,
        sha256: str,
        filename: str,
        audience: Audience | None = None,
        spend: Spend = _nothing,
    ) -> tuple[str, bytes]:
        """The digest and bytes of a wheel's metadata (PEP 658).

        Raises:
            RegistryError: as `require_file`, or there is none.
        """
        found = self._metadata(sha256, filename, audience, spend)
        if found is None:
            raise RegistryError("blob-not-found", f"{filename!r:.200}: has no metadata of its own")
        return found

    def require_copy(self, sha256: str, filename: str, audience: Audience | None = None) -> None:
        """Establishes that a copy of another index's file is in the store.

        Raises:
            RegistryError: as `Copies.store`, or a policy permits none (``not-found``).
        """
        self._require_no_policy(audience, self._judge(audience), filename)
        self.upstream.copies.store(sha256, filename)

    def copied_metadata(
        self, sha256: str, filename: str, audience: Audience | None = None
    ) -> tuple[str, bytes]:
        """As `metadata`, of a copy."""
        self._require_no_policy(audience, self._judge(audience), filename)
        return self.upstream.copies.metadata(sha256, filename)

    def _judge(self, audience: Audience | None) -> Bench | None:
        return None if audience is None else self.policies.judge(audience.organisation)

    def _keep(
        self, kept: Kept[_Judged[_Answer]], key: Hashable, basis: Hashable, answer: _Answer,
        judge: Bench, name: str,
    ) -> None:  # fmt: skip
        if judge.usable is not None:
            until = self.judgements.until(judge.usable, name, judge.now)
            kept.keep(key, basis, _Judged(answer, judge.now, until))

    def _require_no_policy(self, audience: Audience | None, judge: Judge | None, name: str) -> None:
        """Of a copy nothing is known that a policy asks for, and what is not known satisfies no
        rule (ADR 15)."""
        if judge is not None and audience is not None:
            raise RegistryError(
                "not-found",
                f"{name!r:.200}: not permitted by the policies of {audience.organisation}: it is a "
                "copy from another index, and no signed release",
            )

    def _metadata(
        self, sha256: str, filename: str, audience: Audience | None, spend: Spend
    ) -> tuple[str, bytes] | None:
        named = distribution_of(filename)
        if named is None or "\0" in filename:
            raise RegistryError("blob-not-found", f"{filename!r:.200}: no file of a distribution")
        found = self._of_file(named.project, sha256, filename, audience, spend)
        if found.refused is not None:
            raise RegistryError("blob-not-found", f"{filename!r:.200}: {found.refused}")
        return found.metadata

    def _of_file(
        self, name: str, sha256: str, filename: str, audience: Audience | None, spend: Spend
    ) -> _Found:
        if audience is None:
            return self._find_file(name, sha256, filename, None) or _NO_FILE
        key, basis = (
            (sha256, filename, audience),
            (stamp(self.database), self.judgements.basis(name)),
        )
        judged = self._judged_files.find(key, basis)
        if judged is not None and judged.holds(self.judgements.clock()):
            return judged.answer
        judge = self._judge(audience)
        if judge is not None:
            spend()
        found = self._find_file(name, sha256, filename, judge)
        if found is None:  # of names that somebody made up none is kept
            return _NO_FILE
        if judge is not None and len((found.metadata or ("", b""))[1]) <= _MAX_JUDGED_BYTES:
            self._keep(self._judged_files, key, basis, found, judge, name)
        return found

    def _find_file(
        self, name: str, sha256: str, filename: str, judge: Judge | None
    ) -> _Found | None:
        """None where no release has the file."""
        self._read_older(name)
        query = FILES.where(
            DistributionFile.sha256 == sha256, DistributionFile.filename == filename
        )
        found = None
        with self.database.read() as session:
            gate, owner = Gate.of(session, judge), owner_of(session, name)
            for _, release, metadata in session.execute(query):
                assert owner is not None  # a file has a name, and a name an owner
                standing = gate.judged(session, component_of(owner), release)
                if standing.refused is not None:
                    found = _Found(refused=standing.refused)
                elif not is_offered(filename, metadata):
                    why = metadata.refused if metadata else "it is gone"
                    found = _Found(refused=f"not offered: {why}")
                elif metadata is None or metadata.data is None or metadata.data_sha256 is None:
                    return _Found()
                else:
                    return _Found((metadata.data_sha256, metadata.data))
        return found

    def _read_older(self, name: str) -> None:
        """Reads wheels that were published before the registry read them."""
        query = (
            select(DistributionFile.sha256, DistributionFile.path, DistributionFile.size)
            .join(
                WheelMetadata, DistributionFile.sha256 == WheelMetadata.sha256, isouter=True
            )
            .where(
                DistributionFile.distribution == name,
                WheelMetadata.sha256.is_(None),
                DistributionFile.filename.endswith(".whl"),
            )
        )  # fmt: skip
        with self.database.read() as session:
            rows = session.execute(query).all()
        wheels = {
            digest: (file, size)
            for digest, path, size in rows
            if (file := distribution_of(path)) is not None
        }
        if not wheels:
            return
        found = self.distributions.read_unknown(wheels)
        if not found:  # their bytes are gone; nobody who asks for that makes writers wait
            return
        with self.database.write() as session:
            add_metadata(session, found)
        LOGGER.info("read the metadata of %d older wheels of %s", len(found), name)


_NO_FILE: Final = _Found(refused="no published release contains this file")


def _may_have_copies(audience: Audience | None, judge: Judge | None) -> bool:
    return audience is None or (audience.all_names and judge is None)


def _is_for(audience: Audience | None, owner: Component) -> bool:
    return audience is None or audience.all_names or audience.organisation == owner.organisation
