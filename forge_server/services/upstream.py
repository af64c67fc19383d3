"""Projects of another Python index that the operator lets through, pinned at first sight.

Nothing of this is signed by anybody whom the registry knows. What it adds is memory: the digest of
a file is the one that was named first, or the file is not offered; a file is old enough that others
had time to find out about it; and a name that belongs to a component here is never looked up there.
How that holds is decided in transactions: a name is on the list or is a distribution of ours, and
whichever came first keeps it (`Distributions.require_free` asks this list).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final
from weakref import WeakValueDictionary

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from sqlalchemy import select, update
from sqlalchemy.orm import Session, defer

from signing.digests import sha256_hex
from signing.errors import MalformedError
from storage import BlobMismatchError, BlobStore

from ..db.engine import Database
from ..db.models import Distribution, ReleaseFile
from ..db.recall_models import TakenBlob
from ..db.upstream_models import UpstreamFile, UpstreamProject
from ..domain.upstream_pages import (
    ACTIVE,
    MAX_METADATA_BYTES,
    Found,
    FoundFile,
    parse_page,
    read_name,
)
from ..domain.wheels import distribution_of
from ..errors import RegistryError
from ..logs import LOGGER
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .distributions import Distributions
from .leases import BlobsGoneError, Leases, batches
from .upstream_http import NotThereError, UpstreamError, UpstreamHttp
from .withheld import require_in_force

MAX_COOLDOWN_DAYS: Final = 3650
_RETRY_SECONDS: Final = 60
_MOST_FETCHES: Final = 8  # of files, at once in one process
_TRIES: Final = 3
_ITSELF: Final = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``cooldown_days`` is for projects that were given none of their own; ``refresh_seconds`` is
    how long a page is taken for current; ``max_file_bytes`` is of one file."""

    cooldown_days: int = 7
    refresh_seconds: int = 600
    max_file_bytes: int = 2 * 2**30
    max_page_bytes: int = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file that is offered. ``yanked`` None: it is not."""

    filename: str
    version: str
    sha256: str
    size: int
    uploaded_at: datetime
    requires_python: str | None
    metadata_sha256: str | None
    yanked: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is offered of a project. ``as_of`` is when its page was fetched; ``problem`` says why
    it is not newer. ``status`` is that of the upstream."""

    name: str
    files: Sequence[Copy]
    status: str
    status_reason: str | None
    as_of: datetime
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A project on the list, for its operator. ``held_back`` is ``{file: why}`` of what is pinned
    and not offered, the merely young ones left out."""

    name: str
    specifier: str
    cooldown_days: int
    allowed_at: datetime
    asked_at: datetime | None
    fetched_at: datetime | None
    problem: str | None
    status: str
    pinned: int
    young: int
    stored: int
    stored_bytes: int
    changed: Mapping[str, str]
    held_back: Mapping[str, str]


class _Turn:
    """Whose turn it is to ask for one thing."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()


@dataclass(slots=True)
class Upstream:
    """``http`` None: the operator named no upstream, and nothing of one is served."""

    database: Database
    audit: Audit
    blobs: BlobStore
    leases: Leases
    distributions: Distributions
    clock: Clock
    http: UpstreamHttp | None
    limits: Limits
    _turns: WeakValueDictionary[str, _Turn] = field(default_factory=WeakValueDictionary)
    _turns_lock: threading.Lock = field(default_factory=threading.Lock)
    _fetching: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(_MOST_FETCHES)
    )
    _failed: dict[str, tuple[float, RegistryError]] = field(default_factory=dict)

    def allow(
        self, caller: Caller, text: str, specifier: str, cooldown_days: int | None = None
    ) -> str:
        """Puts a project on the list, or gives it other bounds; returns its name in normal form.

        Raises:
            RegistryError: there is no upstream, the bounds are none, or the name belongs to a
                component here (``distribution-taken``).
        """
        self._require_http()
        try:
            name, bounds = read_name(text), str(SpecifierSet(specifier))
        except MalformedError as error:
            raise RegistryError("malformed", error.message) from None
        except InvalidSpecifier:
            raise RegistryError(
                "malformed", f"versions: expected a range like >=1.26,<3, found {specifier!r:.80}"
            ) from None
        days = self.limits.cooldown_days if cooldown_days is None else cooldown_days
        with self.database.write() as session:
            if session.get(Distribution, name) is not None:
                raise RegistryError(
                    "distribution-taken",
                    f"{name}: expected a name that nobody has published here, found a distribution "
                    "of a component of this registry",
                    "what is published here is never looked up elsewhere",
                )
            row = session.get(UpstreamProject, name)
            if row is None:
                row = UpstreamProject(name=name, allowed_at=self.clock(), status=ACTIVE)
                session.add(row)
            row.specifier, row.cooldown_days = bounds, days
            row.asked_at = None  # ask again, with these bounds
            self.audit.record(
                session, caller, "upstream.allow", name, versions=bounds, cooldown_days=days
            )
        return name

    def remove(self, caller: Caller, text: str) -> int:
        """Takes a project from the list: nothing of it is served, and `forge-server gc` deletes its
        files. Their digests stay pinned. Returns how many are.

        Raises:
            RegistryError: it is not on the list (``not-found``).
        """
        name = text.strip().lower()
        with self.database.write() as session:
            row = session.get(UpstreamProject, name)
            if row is None:
                raise RegistryError("not-found", f"{text!r:.100}: is not on the list")
            session.delete(row)
            mine = UpstreamFile.project == name
            session.execute(update(UpstreamFile).where(mine).values(blob_sha256=None))
            pinned = len(session.scalars(select(UpstreamFile.filename).where(mine)).all())
            self.audit.record(session, caller, "upstream.remove", name)
        return pinned

    def listed(self) -> list[Listed]:
        """The list, by name."""
        now = self.clock()
        with self.database.read() as session:
            rows = session.scalars(select(UpstreamProject).order_by(UpstreamProject.name)).all()
            return [_listed(row, _files(session, row.name), now) for row in rows]

    def names(self) -> list[str]:
        """The names that are on the list, and served."""
        if self.http is None:
            return []
        with self.database.read() as session:
            return [
                name
                for name in session.scalars(select(UpstreamProject.name))
                if session.get(Distribution, name) is None
            ]

    def offer(self, name: str, *, now: bool = False) -> Offer | None:
        """What is offered of a project that is on the list; None where it is not, or the name is
        one of ours. The upstream is asked if that was long ago, or ``now`` says so.

        Raises:
            RegistryError: it has never answered (``upstream-failed``), or has no such project
                (``not-found``).
        """
        if self.http is None:
            return None
        self._follow(name, now=now)
        with self.database.read() as session:
            row = _row(session, name)
            if row is None:
                return None
            if row.fetched_at is None:
                raise RegistryError(
                    "upstream-failed",
                    f"{name}: the upstream has not answered yet: {row.problem or 'being asked'}",
                    "try again a little later",
                )
            held_back = _held_back(row, self.clock())
            files = [file for file in _files(session, name) if held_back(file) is None]
            ours = _ours(session, [file.sha256 for file in files])
            copies = [
                _copy(file)
                for file in files
                if file.sha256 not in ours or _why_withheld(session, file.sha256) is None
            ]
            return Offer(
                name=name,
                files=sorted(copies, key=lambda one: (Version(one.version), one.filename)),
                status=row.status,
                status_reason=row.status_reason,
                as_of=row.fetched_at,
                problem=row.problem,
            )

    def store(self, sha256: str, filename: str) -> None:
        """Establishes that an offered file is in the store: it is fetched when it is not.

        Raises:
            RegistryError: it is not offered (``blob-not-found``), the upstream did not give it
                (``upstream-failed``) or gave another (``upstream-changed``), or too many are being
                fetched (``busy``).
        """
        if self._is_stored(self._require_offered(sha256, filename)):
            return
        with self._turn(sha256).lock:
            file = self._require_offered(sha256, filename)
            if self._is_stored(file):
                return
            self._require_no_recent_failure(sha256)
            if not self._fetching.acquire(blocking=False):
                raise RegistryError(
                    "busy", f"{filename}: {_MOST_FETCHES} files are being fetched from the "
                    "upstream", "try again a little later",
                )  # fmt: skip
            try:
                self._fetch(file)
            except RegistryError as error:
                self._failed[sha256] = (monotonic() + _RETRY_SECONDS, error)
                raise
            finally:
                self._fetching.release()
        self._require_offered(sha256, filename)  # what is in it may be another distribution

    def metadata(self, sha256: str, filename: str) -> tuple[str, bytes]:
        """The digest and bytes of an offered wheel's metadata (PEP 658).

        Raises:
            RegistryError: as `store`, or there is none.
        """
        file = self._require_offered(sha256, filename)
        digest = file.metadata_sha256
        if digest is None:
            raise RegistryError("blob-not-found", f"{filename}: has no metadata of its own")
        if file.metadata_bytes is not None:
            return digest, file.metadata_bytes
        with self._turn(digest).lock:
            self._require_no_recent_failure(digest)
            try:
                data = self._fetch_metadata(file, digest)
            except RegistryError as error:
                self._failed[digest] = (monotonic() + _RETRY_SECONDS, error)
                raise
        with self.database.write() as session:
            session.execute(_this(file).values(metadata_bytes=data))
        return digest, data

    def _follow(self, name: str, *, now: bool) -> None:
        """Asks for the project's page where that is due. Others who want it meanwhile are given
        what there is; where there is nothing they wait."""
        with self.database.read() as session:
            row = _row(session, name)
            if row is None or not (now or self._is_due(row)):
                return
            can_wait = row.fetched_at is None
        turn = self._turn(name)
        if not turn.lock.acquire(blocking=can_wait or now):
            return
        try:
            with self.database.write() as session:
                row = _row(session, name)
                if row is None or not (now or self._is_due(row)):
                    return
                row.asked_at = self.clock()
            self._ask(name)
        finally:
            turn.lock.release()

    def _is_due(self, row: UpstreamProject) -> bool:
        if row.asked_at is None:
            return True
        wait = self.limits.refresh_seconds
        if row.problem is not None:
            wait = min(wait, _RETRY_SECONDS)
        return not timedelta() <= self.clock() - row.asked_at < timedelta(seconds=wait)

    def _ask(self, name: str) -> None:
        http = self._require_http()
        try:
            page = http.page(name)
            found = parse_page(
                page.data, name, page.url, origins=http.origins,
                max_bytes=self.limits.max_page_bytes,
            )  # fmt: skip
        except NotThereError as error:
            self._fail(name, str(error), gone=True)
        except UpstreamError as error:
            self._fail(name, str(error))
        except MalformedError as error:
            self._fail(name, error.message)
        else:
            self._take(name, found)

    def _fail(self, name: str, problem: str, *, gone: bool = False) -> None:
        LOGGER.warning("upstream: %s: %s", name, problem)
        with self.database.write() as session:
            row = _row(session, name)
            if row is not None:
                row.problem = problem[:1000]
            if row is not None and gone:
                for file in _files(session, name):
                    file.gone_at = file.gone_at or self.clock()

    def _take(self, name: str, found: Found) -> None:
        """Pins what is new, and compares what is not."""
        now = self.clock()
        with self.database.write() as session:
            row = _row(session, name)
            if row is None:  # taken off the list meanwhile
                return
            row.fetched_at, row.problem = now, None
            row.status, row.status_reason = found.status, found.status_reason
            pinned = {file.filename: file for file in _files(session, name)}
            bounds, most = SpecifierSet(row.specifier), self.limits.max_file_bytes
            for file in found.files:
                known = pinned.pop(file.filename, None)
                if known is not None:
                    self._compare(session, known, file, now)
                elif file.size <= most and bounds.contains(file.version, prereleases=True):
                    session.add(_pin(name, file, now))
            for rest in pinned.values():
                rest.gone_at = rest.gone_at or now

    def _compare(
        self, session: Session, known: UpstreamFile, file: FoundFile, now: datetime
    ) -> None:
        changed = None
        if (file.sha256, file.size) != (known.sha256, known.size):
            changed = file.sha256
        elif known.metadata_sha256 is None and known.blob_sha256 is None:
            known.metadata_sha256 = file.metadata_sha256
        elif file.metadata_sha256 not in (None, known.metadata_sha256):
            changed = file.metadata_sha256
        known.yanked = file.yanked
        known.gone_at = None
        if changed is None:
            known.url = file.url
        elif changed != known.changed_sha256:
            known.changed_sha256, known.changed_at = changed, now
            LOGGER.warning(
                "upstream: %s: expected sha256 %s as pinned, found %s", known.filename,
                known.sha256, changed,
            )  # fmt: skip
            self.audit.record(
                session, _ITSELF, "upstream.changed", f"{known.project}/{known.filename}",
                pinned_sha256=known.sha256, found_sha256=changed,
            )  # fmt: skip

    def _require_offered(self, sha256: str, filename: str) -> UpstreamFile:
        """The row of a file that is offered now."""
        named = distribution_of(filename)
        why = "nothing of this name is let through"
        if self.http is not None and named is not None and "\0" not in filename:
            with self.database.read() as session:
                row = _row(session, named.project)
                file = session.get(UpstreamFile, (named.project, filename))
                if row is not None and file is not None and file.sha256 == sha256:
                    problem = _held_back(row, self.clock())(file)
                    problem = problem or _why_withheld(session, sha256)
                    if problem is None:
                        session.expunge(file)
                        return file
                    why = problem
        raise RegistryError("blob-not-found", f"{filename!r:.200}: {why}")

    def _is_stored(self, file: UpstreamFile) -> bool:
        """Also whether the bytes are still there: what a store lost is fetched again."""
        return file.blob_sha256 is not None and not self.blobs.missing([file.sha256])

    def _fetch(self, file: UpstreamFile) -> None:
        for _ in range(_TRIES):
            held = self.leases.hold({file.sha256: file.size}, None)
            if self.blobs.missing([file.sha256]):
                self._put(file)
            refused = self._why_refused(file)
            try:
                with self.database.write() as session:
                    if _row(session, file.project) is None:
                        raise RegistryError("blob-not-found", f"{file.filename}: is let through "
                                            "no more")  # fmt: skip
                    self.leases.settle(session, [file.sha256], held)
                    session.execute(_this(file).values(blob_sha256=file.sha256, refused=refused))
            except BlobsGoneError:
                continue
            if refused is not None:
                LOGGER.warning("upstream: %s: not offered: %s", file.filename, refused)
            return
        raise RegistryError("busy", f"{file.filename}: deleted while it was fetched", "try again")

    def _put(self, file: UpstreamFile) -> None:
        try:
            with self._require_http().file(file.url, file.size) as body:
                self.blobs.put(file.sha256, body, file.size)
        except UpstreamError as error:
            raise RegistryError("upstream-failed", f"{file.filename}: {error}") from error
        except BlobMismatchError as error:
            raise self._changed(file, error.expected, error.found) from error

    def _fetch_metadata(self, file: UpstreamFile, digest: str) -> bytes:
        try:
            data = self._require_http().small(f"{file.url}.metadata", MAX_METADATA_BYTES)
        except UpstreamError as error:
            raise RegistryError("upstream-failed", f"{file.filename}.metadata: {error}") from error
        if sha256_hex(data) != digest:
            raise self._changed(file, f"metadata of sha256 {digest}", f"sha256 {sha256_hex(data)}")
        return data

    def _changed(self, file: UpstreamFile, expected: str, found: str) -> RegistryError:
        """Bytes that are not the pinned ones are told to the operator as well."""
        LOGGER.warning("upstream: %s: expected %s, found %s", file.filename, expected, found)
        refusal = RegistryError(
            "upstream-changed", f"{file.filename}: expected {expected} as pinned on "
            f"{file.pinned_at:%F}, found {found}",
        )  # fmt: skip
        self.audit.refused(_ITSELF, "upstream.fetch", f"{file.project}/{file.filename}", refusal)
        return refusal

    def _why_refused(self, file: UpstreamFile) -> str | None:
        """Why a wheel that came whole is not offered all the same."""
        named = distribution_of(file.filename)
        if named is None or not named.is_wheel:
            return None
        read = self.distributions.read_wheel(file.sha256, named, file.size)
        if read is None:
            return None
        if read.refused is None and file.metadata_sha256 not in (None, read.data_sha256):
            return (
                f"METADATA: expected sha256 {file.metadata_sha256}, which the upstream names, "
                f"found {read.data_sha256}"
            )
        return read.refused

    def _require_no_recent_failure(self, digest: str) -> None:
        """Raises what was found out a moment ago, instead of asking for it once more."""
        until, error = self._failed.get(digest, (0.0, None))
        if error is not None and monotonic() < until:
            raise error
        self._failed.pop(digest, None)

    def _require_http(self) -> UpstreamHttp:
        if self.http is None:
            raise RegistryError(
                "upstream-off",
                "expected upstream_url in server.toml, found none",
                "name the index that projects are taken from, and restart",
            )
        return self.http

    def _turn(self, key: str) -> _Turn:
        with self._turns_lock:
            return self._turns.setdefault(key, _Turn())


def _row(session: Session, name: str) -> UpstreamProject | None:
    """The project on the list, unless the name is one of ours: then there is nothing to ask."""
    if session.get(Distribution, name) is not None:
        return None
    return session.get(UpstreamProject, name)


def _files(session: Session, name: str) -> Sequence[UpstreamFile]:
    query = select(UpstreamFile).where(UpstreamFile.project == name)
    return session.scalars(query.options(defer(UpstreamFile.metadata_bytes))).all()


def _this(file: UpstreamFile) -> Any:
    return update(UpstreamFile).where(
        UpstreamFile.project == file.project, UpstreamFile.filename == file.filename
    )


def _pin(name: str, file: FoundFile, now: datetime) -> UpstreamFile:
    return UpstreamFile(
        project=name, filename=file.filename, version=file.version, sha256=file.sha256,
        size=file.size, url=file.url, uploaded_at=file.uploaded_at,
        requires_python=file.requires_python, metadata_sha256=file.metadata_sha256,
        yanked=file.yanked, pinned_at=now,
    )  # fmt: skip


def _copy(file: UpstreamFile) -> Copy:
    yanked = file.yanked
    if yanked is None and file.gone_at is not None:
        yanked = f"the upstream has it no more since {file.gone_at:%F}"
    return Copy(
        filename=file.filename, version=file.version, sha256=file.sha256, size=file.size,
        uploaded_at=file.uploaded_at, requires_python=file.requires_python,
        metadata_sha256=file.metadata_sha256, yanked=yanked,
    )  # fmt: skip


def _held_back(row: UpstreamProject, now: datetime) -> Callable[[UpstreamFile], str | None]:
    """Says why a pinned file is not offered; None where it is."""
    bounds = SpecifierSet(row.specifier)
    old_enough = now - timedelta(days=row.cooldown_days)

    def why(file: UpstreamFile) -> str | None:
        if row.status == "quarantined":
            return f"quarantined by the upstream: {row.status_reason or 'without a reason'}"
        if file.refused is not None:
            return file.refused
        if file.changed_sha256 is not None and file.blob_sha256 is None:
            return (
                f"expected the sha256 that was pinned on {file.pinned_at:%F}; the upstream now "
                f"names {file.changed_sha256}"
            )
        if not bounds.contains(file.version, prereleases=True):
            return f"let through are versions {row.specifier}"
        if file.uploaded_at > old_enough:
            return f"younger than {row.cooldown_days} days"
        return None

    return why


def _ours(session: Session, digests: Iterable[str]) -> set[str]:
    """Those of ``digests`` that are files of releases here, or were before a takedown."""
    found: set[str] = set()
    for batch in batches(digests):
        for column in (ReleaseFile.sha256, TakenBlob.sha256):
            found.update(session.scalars(select(column).where(column.in_(batch)).distinct()))
    return found


def _why_withheld(session: Session, sha256: str) -> str | None:
    """What is held back of ours is not handed out because another index has it too."""
    try:
        require_in_force(session, sha256)
    except RegistryError as error:
        return None if error.code == "blob-not-found" else error.message
    return None


def _listed(row: UpstreamProject, files: Sequence[UpstreamFile], now: datetime) -> Listed:
    stored = [file for file in files if file.blob_sha256 is not None]
    old_enough = now - timedelta(days=row.cooldown_days)
    why = _held_back(row, now)
    return Listed(
        name=row.name,
        specifier=row.specifier,
        cooldown_days=row.cooldown_days,
        allowed_at=row.allowed_at,
        asked_at=row.asked_at,
        fetched_at=row.fetched_at,
        problem=row.problem,
        status=row.status,
        pinned=len(files),
        young=sum(file.uploaded_at > old_enough for file in files),
        stored=len(stored),
        stored_bytes=sum(file.size for file in stored),
        changed={
            file.filename: f"expected {file.sha256}, found {file.changed_sha256} on "
            f"{file.changed_at:%F}"
            for file in files
            if file.changed_sha256 is not None
        },
        held_back={
            file.filename: said
            for file in files
            if file.uploaded_at <= old_enough and (said := why(file)) is not None
        },
    )
