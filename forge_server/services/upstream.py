"""Projects of another Python index that the operator lets through, pinned at first sight.

Nothing of this is signed by anybody whom the registry knows. What it adds is memory: the digest of
a file is the one that was named first, or the file is not offered; a file is old enough that others
had time to find out about it; and a name that belongs to a component here is never looked up there.
How that holds is decided in transactions: a name is on the list or is a distribution of ours, and
whichever came first keeps it (`Distributions.require_free` asks this list).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from sqlalchemy import select, update

from signing.errors import MalformedError

from ..db.engine import Database
from ..db.models import Distribution
from ..db.upstream_models import UpstreamFile, UpstreamProject
from ..domain.upstream_pages import ACTIVE, Found, parse_page, read_name
from ..errors import RegistryError
from ..logs import LOGGER
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .turns import Turns
from .upstream_files import Copies
from .upstream_http import NotThereError, UpstreamError, UpstreamHttp
from .upstream_pins import (
    Listed,
    Offer,
    copy_of,
    files_of,
    held_back,
    listed_of,
    mark_of,
    old_enough_at,
    ours_among,
    project_of,
    take,
    why_withheld,
)

_RETRY_SECONDS: Final = 60
_ITSELF: Final = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``cooldown_days`` is for projects that were given none of their own; ``refresh_seconds`` is
    how long a page is taken for current; ``max_file_bytes`` is of one file."""

    cooldown_days: int = 7
    refresh_seconds: int = 600
    max_file_bytes: int = 2 * 2**30
    max_page_bytes: int = 32 * 2**20


@dataclass(slots=True)
class Upstream:
    """``http`` None: the operator named no upstream, and nothing of one is served."""

    database: Database
    audit: Audit
    clock: Clock
    http: UpstreamHttp | None
    limits: Limits
    copies: Copies
    _turns: Turns = field(default_factory=Turns)

    def allow(
        self, caller: Caller, text: str, specifier: str, cooldown_days: int | None = None
    ) -> str:
        """Puts a project on the list, or gives it other bounds; returns its name in normal form.

        Raises:
            RegistryError: there is no upstream, the bounds are none, or the name belongs to a
                component here (``distribution-taken``).
        """
        self._require_http()
        name = _normal(text)
        try:
            bounds = str(SpecifierSet(specifier))
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
        name = _normal(text)
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
            return [listed_of(row, files_of(session, row.name), now) for row in rows]

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

    def ask(self, text: str) -> Offer | None:
        """As `offer`, after asking the upstream now."""
        return self.offer(_normal(text), now=True)

    def mark(self, name: str) -> Hashable | None:
        """Stays the same for as long as `offer` does, until the moment that it names; None where
        nothing is offered under the name. The upstream is asked if that was long ago."""
        if self.http is None:
            return None
        self._follow(name, now=False)
        with self.database.read() as session:
            row = project_of(session, name)
            return None if row is None else mark_of(session, row)

    def offer(self, name: str, *, now: bool = False) -> Offer | None:
        """What is offered of a project (in its normal form) that is on the list; None where it is
        not, or the name is one of ours. The upstream is asked if that was long ago, or ``now`` says
        so.

        Raises:
            RegistryError: it has never answered (``upstream-failed``), or has no such project
                (``not-found``).
        """
        if self.http is None:
            return None
        self._follow(name, now=now)
        with self.database.read() as session:
            row = project_of(session, name)
            if row is None:
                return None
            if row.fetched_at is None:
                raise RegistryError(
                    "upstream-failed",
                    f"{name}: the upstream has not answered yet: {row.problem or 'being asked'}",
                    "try again a little later",
                )
            moment = self.clock()
            why_not, pinned = held_back(row, moment), files_of(session, name)
            files = [file for file in pinned if why_not(file) is None]
            ours = ours_among(session, [file.sha256 for file in files])
            copies = [
                copy_of(file)
                for file in files
                if file.sha256 not in ours or why_withheld(session, file.sha256) is None
            ]
            return Offer(
                name=name,
                files=sorted(copies, key=lambda one: (Version(one.version), one.filename)),
                status=row.status,
                status_reason=row.status_reason,
                as_of=row.fetched_at,
                problem=row.problem,
                until=old_enough_at(row, pinned, moment),
            )

    def _follow(self, name: str, *, now: bool) -> None:
        """Asks for the project's page where that is due. Others who want it meanwhile are given
        what there is; where there is nothing they wait."""
        with self.database.read() as session:
            row = project_of(session, name)
            if row is None or not (now or self._is_due(row)):
                return
            can_wait = row.fetched_at is None
        turn = self._turns.of(name)
        if not turn.lock.acquire(blocking=can_wait or now):
            return
        try:
            with self.database.write() as session:
                row = project_of(session, name)
                if row is None or not (now or self._is_due(row)):
                    return
                # With other bounds a file may be new to us and to nobody else.
                looked_at = None if row.asked_at is None else row.fetched_at
                row.asked_at = self.clock()
            self._ask(name, looked_at)
        finally:
            turn.lock.release()

    def _is_due(self, row: UpstreamProject) -> bool:
        if row.asked_at is None:
            return True
        wait = self.limits.refresh_seconds
        if row.problem is not None:
            wait = min(wait, _RETRY_SECONDS)
        return not timedelta() <= self.clock() - row.asked_at < timedelta(seconds=wait)

    def _ask(self, name: str, looked_at: datetime | None) -> None:
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
            self._take(name, found, looked_at)

    def _fail(self, name: str, problem: str, *, gone: bool = False) -> None:
        LOGGER.warning("upstream: %s: %s", name, problem)
        with self.database.write() as session:
            row = project_of(session, name)
            if row is not None:
                row.problem = problem[:1000]
            if row is not None and gone:
                for file in files_of(session, name):
                    file.gone_at = file.gone_at or self.clock()

    def _take(self, name: str, found: Found, looked_at: datetime | None) -> None:
        now = self.clock()
        with self.database.write() as session:
            row = project_of(session, name)
            if row is None:  # taken off the list meanwhile
                return
            most = self.limits.max_file_bytes
            for file, changed in take(session, row, found, now, most, looked_at):
                LOGGER.warning(
                    "upstream: %s: expected sha256 %s as pinned, found %s", file.filename,
                    file.sha256, changed,
                )  # fmt: skip
                self.audit.record(
                    session, _ITSELF, "upstream.changed", f"{name}/{file.filename}",
                    pinned_sha256=file.sha256, found_sha256=changed,
                )  # fmt: skip

    def _require_http(self) -> UpstreamHttp:
        if self.http is None:
            raise RegistryError(
                "upstream-off",
                "expected upstream_url in server.toml, found none",
                "name the index that projects are taken from, and restart",
            )
        return self.http


def _normal(text: str) -> str:
    """The normal form of a project's name. Raises RegistryError."""
    try:
        return read_name(text.strip())
    except MalformedError as error:
        raise RegistryError("malformed", error.message) from None
