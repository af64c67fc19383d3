"""Scanning releases, and what is known of them by it.

A release is due when the scanners, their versions or the dates of their data are not those that it
was scanned with. Whoever takes it writes a claim that ends by itself, so that the work of a worker
that dies is taken by another. What is written at the end replaces what each scanner said before;
findings keep the time when they were seen first, and what is not found any more is marked as gone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from signing.digests import sha256_hex
from signing.encoding import canonical_json
from signing.names import ComponentName
from storage import BlobNotFoundError, BlobStore, LocalBlobStore

from ..db.engine import Database
from ..db.models import Component, Finding, Release, ReleaseFile, Scan, ScanClaim, ScanRound
from ..errors import RegistryError
from ..scans.base import (
    CLEAN,
    FAILED,
    FINDINGS,
    MAX_FINDINGS,
    NOT_SCANNED,
    STALE,
    Answer,
    File,
    FoundItem,
    Result,
    Scanner,
)
from ..scans.known import data_date, known
from ..scans.running import Limits, Opened, run
from ..scans.texts import Formats
from ..settings import Settings
from .clock import Clock
from .components import find_release, mark_reviewed

NOTHING_OF_ITS_KIND: Final = "nothing of its kind in the release"
"""The detail of a scanner that had nothing to look at: no scan is missing."""
_CLAIM: Final = timedelta(minutes=30)
_AT_ONCE: Final = 32  # files in one process
_HEAD: Final = 512
_TAIL: Final = 65536 + 64
_HEADER: Final = 17 * 2**20
_MAX_REPORTED: Final = 1000  # files
_WORST: Final = (FINDINGS, FAILED, NOT_SCANNED, CLEAN)
_BY_DATA: Final = "osv"  # whose answers age with its data
_PAGE: Final = 500
_RELEASES: Final = (
    select(
        Release.id, Component.organisation, Component.name, Release.version,
        Release.manifest_sha256,
    )
    .join(Component, Release.component_id == Component.id)
    .order_by(Release.id)
)  # fmt: skip

Ask = Callable[[str, Sequence[Opened], Mapping[str, Any], "str | None", Limits], "list[Answer]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanState:
    """What one scanner said, as it is to be shown. ``state`` is ``stale`` where it is too old to be
    relied on."""

    scanner: str
    scanner_version: str
    data_date: date | None
    state: str
    detail: str
    report_sha256: str | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingState:
    id: str
    scanner: str
    severity: str
    path: str
    location: str
    title: str
    first_seen_at: datetime
    last_seen_at: datetime
    gone_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A release to be scanned."""

    component: ComponentName
    version: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class Scans:
    database: Database
    blobs: BlobStore
    clock: Clock
    settings: Settings
    ask: Ask = run
    # {round: number of a release}; see `_all_scanned_up_to`
    _scanned: dict[str, int] = field(default_factory=dict)

    def due(self, limit: int = 20) -> list[Due]:
        """Releases that nobody has scanned with what there is now, and nobody scans."""
        return [due for _, due in self._due_after(0, limit)]

    def all_due(self) -> Iterator[Due]:
        """`due`, however many they are: some at a time, each once."""
        last = 0
        while page := self._due_after(last, _PAGE):
            last = page[-1][0]
            yield from (due for _, due in page)

    def _due_after(self, after: int, limit: int) -> list[tuple[int, Due]]:
        current, now = self._round(), self.clock()
        unscanned = or_(ScanRound.round.is_(None), ScanRound.round != current)
        free = or_(ScanClaim.expires_at.is_(None), ScanClaim.expires_at <= now)
        with self.database.read() as session:
            after = max(after, self._all_scanned_up_to(session, current, unscanned))
            query = (
                _RELEASES.outerjoin(ScanRound, ScanRound.manifest_sha256 == Release.manifest_sha256)
                .outerjoin(ScanClaim, ScanClaim.manifest_sha256 == Release.manifest_sha256)
                .where(Release.id > after, unscanned, free)
            )
            return [(row[0], _due(*row[1:])) for row in session.execute(query.limit(limit))]

    def _all_scanned_up_to(
        self, session: Session, current: str, unscanned: ColumnElement[bool]
    ) -> int:
        """The number of a release; it and all before it were scanned in this round. From there on
        the next call goes, which comes every minute: not through a million releases again."""
        known = self._scanned.get(current, 0)
        first = session.scalar(
            select(Release.id)
            .outerjoin(ScanRound, ScanRound.manifest_sha256 == Release.manifest_sha256)
            .where(Release.id > known, unscanned)
            .order_by(Release.id)
            .limit(1)
        )
        if first is None:
            first = (session.scalar(select(func.max(Release.id))) or 0) + 1
        self._scanned.clear()  # of other rounds
        self._scanned[current] = first - 1
        return int(first) - 1

    def of(self, name: ComponentName, version: str | None) -> list[Due]:
        """One version of a component, or all of them.

        Raises:
            RegistryError: there is none (``not-found``).
        """
        query = _RELEASES.where(Component.organisation == name.org, Component.name == name.name)
        if version is not None:
            query = query.where(Release.version == version)
        with self.database.read() as session:
            found = [_due(*row[1:]) for row in session.execute(query)]
        if not found:
            raise RegistryError("not-found", f"{name} {version or ''}: nothing published")
        return found

    def everything(self) -> Iterator[Due]:
        """Every release, some at a time: who scans them takes days."""
        last = 0
        while True:
            with self.database.read() as session:
                page = session.execute(_RELEASES.where(Release.id > last).limit(_PAGE)).all()
            if not page:
                return
            last = page[-1][0]
            yield from (_due(*row[1:]) for row in page)

    def scan(self, due: Due) -> list[ScanState] | None:
        """Scans a release and writes down what came of it; None where another worker has it.

        Raises:
            BackendError: the store failed; the release stays due.
        """
        token, started, current = os.urandom(8).hex(), self.clock(), self._round()
        if not self._claim(due, token):
            return None
        try:
            files, release = self._release(due)
            results = []
            for scanner in known().values():
                results.append(self._one(scanner, files, release))
                if not self._claim(due, token):  # it took long: hold on
                    return None
            with self.database.write() as session:
                claim = session.get(ScanClaim, due.manifest_sha256)
                if claim is None or claim.token != token:
                    return None  # somebody took us for dead
                for result in results:
                    _write(session, due, result, started, self.clock())
                mark_reviewed(session, due.component)
                session.merge(
                    ScanRound(
                        manifest_sha256=due.manifest_sha256, round=current, scanned_at=self.clock()
                    )
                )
        finally:
            with self.database.write() as session:
                session.execute(
                    delete(ScanClaim).where(
                        ScanClaim.manifest_sha256 == due.manifest_sha256, ScanClaim.token == token
                    )
                )
        with self.database.read() as session:
            return self.of_release(session, due.manifest_sha256)

    def of_release(self, session: Session, manifest_sha256: str) -> list[ScanState]:
        """What each scanner said of a release, in one statement; one that was not asked yet is
        ``not-scanned``."""
        rows = session.scalars(select(Scan).where(Scan.manifest_sha256 == manifest_sha256)).all()
        said = {row.scanner: self._shown(row) for row in rows}
        for name, scanner in known().items():
            if name not in said:
                said[name] = ScanState(
                    scanner=name, scanner_version=scanner.version, data_date=None,
                    state=NOT_SCANNED, detail="not scanned yet", report_sha256=None,
                    started_at=None, finished_at=None,
                )  # fmt: skip
        return [said[name] for name in sorted(said)]

    def states(
        self, name: ComponentName, version: str
    ) -> tuple[str, list[ScanState], list[FindingState]]:
        """The manifest's digest, what the scanners said, and the findings that are not gone.

        Raises:
            RegistryError: no such release (``not-found``).
        """
        with self.database.read() as session:
            release = find_release(session, name, version)
            if release is None:
                raise RegistryError("not-found", f"{name} {version}: not published")
            digest = release.manifest_sha256
            return digest, self.of_release(session, digest), findings_of(session, digest)

    def _shown(self, row: Scan) -> ScanState:
        scanner = known().get(row.scanner)
        state, detail = row.state, row.detail
        if state in (CLEAN, FINDINGS):
            if scanner is None:
                state, detail = STALE, "this registry does not run the scanner any more"
            elif scanner.version != row.scanner_version:
                state, detail = (
                    STALE,
                    f"scanned by version {row.scanner_version}, now there is " + (scanner.version),
                )
            elif row.data_date is not None and self._is_old(row.data_date):
                state = STALE
                detail = f"its data are of {row.data_date}, older than this registry allows"
        return ScanState(
            scanner=row.scanner, scanner_version=row.scanner_version, data_date=row.data_date,
            state=state, detail=detail, report_sha256=row.report_sha256,
            started_at=row.started_at, finished_at=row.finished_at,
        )  # fmt: skip

    def _is_old(self, day: date) -> bool:
        return self.clock().date() - day > timedelta(days=self.settings.osv_max_age_days)

    def _data(self, scanner: str) -> tuple[str | None, date | None]:
        """Where the scanner's data are, and of when."""
        snapshot = self.settings.osv_snapshot
        if scanner != _BY_DATA or not snapshot:
            return None, None
        day = data_date(snapshot)
        return (snapshot, day) if day is not None else (None, None)

    def _round(self) -> str:
        each = [f"{name} {one.version} {self._data(name)[1]}" for name, one in known().items()]
        return sha256_hex("\n".join(sorted(each)).encode())

    def _claim(self, due: Due, token: str) -> bool:
        now = self.clock()
        until = now + _CLAIM
        ours = (
            update(ScanClaim)
            .where(
                ScanClaim.manifest_sha256 == due.manifest_sha256,
                or_(ScanClaim.token == token, ScanClaim.expires_at <= now),
            )
            .values(token=token, expires_at=until)
        )
        with suppress(IntegrityError), self.database.write() as session:  # somebody was quicker
            if session.execute(ours).rowcount:  # type: ignore[attr-defined]
                return True
            if session.get(ScanClaim, due.manifest_sha256) is not None:
                return False
            claim = ScanClaim(manifest_sha256=due.manifest_sha256, token=token, expires_at=until)
            session.add(claim)
            session.flush()
            return True
        return False

    def _release(self, due: Due) -> tuple[list[_Seen], dict[str, Any]]:
        with self.database.read() as session:
            release = find_release(session, due.component, due.version)
            if release is None:
                raise RegistryError("not-found", f"{due.component} {due.version}: not published")
            rows = session.execute(
                select(ReleaseFile.path, ReleaseFile.size, ReleaseFile.sha256)
                .where(ReleaseFile.release_id == release.id)
                .order_by(ReleaseFile.path)
            ).all()
            about = {"kind": release.kind, "license": release.details.get("license", "")}
        return [self._seen(File(path=row[0], size=row[1], sha256=row[2])) for row in rows], about

    def _seen(self, file: File) -> _Seen:
        """The file with its first and last bytes; without them where it is gone."""
        try:
            with self.blobs.open(file.sha256) as stream:
                head = stream.read(_HEAD)
            with self.blobs.open(file.sha256, max(0, file.size - _TAIL)) as stream:
                return _Seen(file=file, head=head, tail=stream.read(_TAIL), here=True)
        except BlobNotFoundError:
            return _Seen(file=file, head=b"", tail=b"", here=False)

    def _one(self, scanner: Scanner, seen: Sequence[_Seen], release: Mapping[str, Any]) -> Result:
        """What one scanner says of all files of a release."""
        data, day = self._data(scanner.name)
        nothing = Result(
            scanner=scanner.name, scanner_version=scanner.version, data_date=day,
            state=NOT_SCANNED, detail=NOTHING_OF_ITS_KIND, items=(), report={},
        )  # fmt: skip
        if scanner.version == "missing":
            return replace(nothing, detail="not installed")
        wanted = [
            each
            for each in seen
            if scanner.wants(each.file.path, each.file.size, each.head, each.tail)
        ]
        if not wanted:
            return nothing
        limits = Limits(
            memory_bytes=self.settings.scan_memory_bytes, seconds=self.settings.scan_seconds
        )
        answers: list[tuple[File, Answer]] = []
        for start in range(0, len(wanted), _AT_ONCE):
            batch = wanted[start : start + _AT_ONCE]
            opened = []
            for each in batch:
                partly = scanner.header_only or (scanner.name == Formats.name and each.is_numbers)
                descriptor = self._descriptor(each, partly) if each.here else None
                if descriptor is None:
                    answers.append(
                        (each.file, Answer(state=FAILED, detail="its bytes cannot be had"))
                    )
                else:
                    opened.append(Opened(file=each.file, descriptor=descriptor))
            said = self.ask(scanner.name, opened, release, data, limits) if opened else []
            answers += zip((each.file for each in opened), said, strict=True)
        return _summed(nothing, answers)

    def _descriptor(self, seen: _Seen, partly: bool) -> int | None:
        """A descriptor of the blob: its file, or a copy that has no name, of which ``partly`` only
        both ends are made; None where its bytes are gone, or there is no room for the copy."""
        file = seen.file
        try:
            if isinstance(self.blobs, LocalBlobStore):
                return os.open(self.blobs.path(file.sha256), os.O_RDONLY | os.O_CLOEXEC)
            with (
                self.blobs.open(file.sha256) as stream,
                tempfile.TemporaryFile(prefix="forge-scan-") as copy,
            ):
                left = min(file.size, _HEADER) if partly else file.size
                while left > 0 and (part := stream.read(min(left, 2**20))):
                    copy.write(part)
                    left -= len(part)
                copy.truncate(file.size)  # the rest reads as zeros, and takes no room
                copy.seek(file.size - len(seen.tail))
                copy.write(seen.tail)
                copy.seek(0)
                return os.dup(copy.fileno())
        except (BlobNotFoundError, OSError):  # gone, or no room for a copy
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    file: File
    head: bytes
    tail: bytes
    here: bool

    @property
    def is_numbers(self) -> bool:
        """Whether it begins as safetensors or GGUF do, and no archive is appended: what is between
        the ends of such a file says nothing of its format."""
        length = int.from_bytes(self.head[:8], "little")
        header = self.head[8:9] == b"{" and 8 + length <= min(self.file.size, _HEADER)
        return (header or self.head.startswith(b"GGUF")) and b"PK\x05\x06" not in self.tail


def findings_of(
    session: Session, manifest_sha256: str, *, gone: bool = False
) -> list[FindingState]:
    """The findings about a release, in one statement; with ``gone`` also those that later scans
    did not find any more."""
    query = select(Finding).where(Finding.manifest_sha256 == manifest_sha256)
    if not gone:
        query = query.where(Finding.gone_at.is_(None))
    return [
        FindingState(
            id=row.id, scanner=row.scanner, severity=row.severity, path=row.path,
            location=row.location, title=row.title, first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at, gone_at=row.gone_at,
        )
        for row in session.scalars(query.order_by(Finding.scanner, Finding.path, Finding.id))
    ]  # fmt: skip


def _due(org: str, name: str, version: str, digest: str) -> Due:
    return Due(
        component=ComponentName.parse(f"{org}/{name}", "component"),
        version=version,
        manifest_sha256=digest,
    )


def _summed(base: Result, answers: Sequence[tuple[File, Answer]]) -> Result:
    """The worst that was said of any file."""
    told = [
        one for one in answers if one[1].state != NOT_SCANNED or one[1].detail != "no pickle in it"
    ]
    if not told:
        return base
    state = next(each for each in _WORST if any(answer.state == each for _, answer in told))
    details = [
        f"{file.path}: {answer.state}{': ' if answer.detail else ''}{answer.detail}"
        for file, answer in told
        if answer.state in (FAILED, NOT_SCANNED) or answer.detail
    ]
    detail = "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "")
    items = _unique(base.scanner, (item for _, answer in told for item in answer.items))
    report = {
        "looked_at": len(told),
        "files": [
            {
                "path": file.path, "sha256": file.sha256, "state": answer.state,
                "detail": answer.detail, "facts": dict(answer.facts),
            }
            for file, answer in sorted(told, key=lambda each: _WORST.index(each[1].state))
        ][:_MAX_REPORTED],
    }  # fmt: skip
    return replace(base, state=state, detail=detail, items=items, report=report)


def _unique(scanner: str, items: Iterable[FoundItem]) -> list[FoundItem]:
    return list({item.id_of(scanner): item for item in items}.values())[:MAX_FINDINGS]


def _write(session: Session, due: Due, result: Result, started: datetime, now: datetime) -> None:
    """Puts a result in the place of what the scanner said before."""
    report = canonical_json(
        {
            "component": str(due.component),
            "version": due.version,
            "manifest_sha256": due.manifest_sha256,
            "scanner": result.scanner,
            "scanner_version": result.scanner_version,
            "data_date": None if result.data_date is None else result.data_date.isoformat(),
            "state": result.state,
            "detail": result.detail,
            "findings": [
                {
                    "id": item.id_of(result.scanner), "severity": item.severity, "path": item.path,
                    "location": item.location, "title": item.title,
                }
                for item in result.items
            ],
            **result.report,
        }
    )  # fmt: skip
    of_scan = (Scan.manifest_sha256 == due.manifest_sha256, Scan.scanner == result.scanner)
    session.execute(delete(Scan).where(*of_scan))
    session.add(
        Scan(
            manifest_sha256=due.manifest_sha256, component=str(due.component), version=due.version,
            scanner=result.scanner, scanner_version=result.scanner_version,
            data_date=result.data_date, state=result.state, detail=result.detail, report=report,
            report_sha256=sha256_hex(report), started_at=started, finished_at=now,
        )
    )  # fmt: skip
    known_before = {
        row.id: row
        for row in session.scalars(
            select(Finding).where(
                Finding.manifest_sha256 == due.manifest_sha256, Finding.scanner == result.scanner
            )
        )
    }
    for item in result.items:
        name = item.id_of(result.scanner)
        row = known_before.pop(name, None)
        if row is None:
            row = Finding(
                manifest_sha256=due.manifest_sha256, id=name, scanner=result.scanner,
                path=item.path, location=item.location, first_seen_at=now,
            )  # fmt: skip
            session.add(row)
        if row.severity != item.severity:
            row.severity, row.severity_since = item.severity, now
        row.title = item.title
        row.last_seen_at, row.gone_at = now, None
    # Only who looked at everything can say that something is not there any more.
    if result.state in (CLEAN, FINDINGS):
        for row in known_before.values():
            row.gone_at = row.gone_at or now
