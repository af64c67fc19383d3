"""What speaks against the releases that a folder uses: the state of each, as of now.

Nothing is fetched but what is signed about the releases, and what the registry says of them; no
file is looked at (`forge verify` does that). Without a network it is what was known here last, and
the answer says how old that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from signing.errors import MalformedError, SigningError, WithheldError
from signing.facts import Facts, OpenFinding
from signing.names import ComponentName
from signing.roles import IndexEntry, releases_of

from ..context import Context
from ..errors import ForgeError, NetworkError
from ..lockfile import Lock, LockedComponent, locked_release, read_lock
from ..output import clean
from ..remote.api import Api
from .installed import Site
from .knowledge import FactsMemory, Kept, Knowledge
from .permission import Gate, open_gate
from .proof import Prover
from .withheld import known_status

ERROR, WARNING, NOTE = "error", "warning", "note"
LEVELS: Final = (ERROR, WARNING, NOTE)
# What an audit may find, in the order of its gravity, and what each means.
CODES: Final = {
    "policy-unusable": "A policy is pinned and cannot be held to, so nothing is permitted.",
    "release-revoked": "The status host revoked the release for good.",
    "release-quarantined": "The status host withholds the release until it is cleared up.",
    "not-verified": "What proves the release does not hold any more, or is not there.",
    "policy-refused": "A pinned policy does not permit the release.",
    "held": "The registry holds the release back, or had its files removed.",
    "recalled": "Its publisher or the CERT asks everybody who has it to act.",
    "vulnerable": "A finding against the release is open.",
    "yanked": "Its publisher advises against the release.",
    "deprecated": "Its publisher would rather see it replaced.",
    "review-lapsed": "A reviewer's decision about it does not count any more.",
    "review-withdrawn": "A reviewer's decision about it was taken back.",
    "overridden": "A rule of a policy was put aside for it.",
    "outdated": "A newer version is there.",
}
_LEVEL_OF_SEVERITY: Final = {"low": NOTE, "medium": WARNING}
# Codes that end in exit code 7: what must not be used, or is not permitted.
BLOCKING: Final = frozenset(
    ("policy-unusable", "release-revoked", "release-quarantined", "policy-refused")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One thing that speaks against a release. ``rule`` is the rule of a policy; ``unsigned`` says
    that it rests on the registry's word alone."""

    code: str
    level: str
    text: str
    hint: str | None = None
    rule: str | None = None
    unsigned: bool = False

    def to_json(self) -> dict[str, object]:
        return {
            "code": self.code,
            "level": self.level,
            "rule": self.rule,
            "text": self.text,
            "hint": self.hint,
            "unsigned": self.unsigned,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedRelease:
    """A release and what speaks against it, gravest first. ``line`` is where its lock names it."""

    release: LockedComponent
    issues: tuple[Issue, ...]
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """``path`` is the lock, or the folder where there is none. ``asked``: the registry was asked
    just now. ``known_at`` is when what may change was last asked for, of the oldest."""

    path: Path
    asked: bool
    known_at: datetime | None
    policies: tuple[str, ...]
    releases: tuple[AuditedRelease, ...]
    issues: tuple[Issue, ...] = ()  # about no release in particular

    @property
    def permits(self) -> bool:
        """Whether nothing of it must be stopped at once."""
        return not any(issue.code in BLOCKING for issue in self.all_issues())

    def all_issues(self) -> Iterator[Issue]:
        yield from self.issues
        for each in self.releases:
            yield from each.issues

    def count(self, level: str) -> int:
        return sum(issue.level == level for issue in self.all_issues())


def audit(context: Context, target: Path, *, offline: bool = False) -> Audit:
    """What speaks against everything in ``target``: a forge.lock, or a folder with one or with
    installed components.

    Raises:
        ForgeError: ``not-found``; the registry of the lock is not trusted here.
    """
    site, lock = _subject(target)
    prover = Prover(context, lock)
    asked = not offline and _ask(context)
    run = _Run(
        context=context,
        prover=prover,
        gate=_gate(context, site, asked),
        asked=asked,
        into=site.into,
    )
    lines = _lines(site.lock_path)
    releases = tuple(
        AuditedRelease(
            release=release,
            issues=tuple(sorted(run.issues(release), key=_gravity)),
            line=lines.get(str(release.component)),
        )
        for release in lock.components
    )
    return Audit(
        path=site.lock_path if site.lock_path.exists() else site.into,
        asked=asked and not run.unreachable,
        known_at=min(run.ages, default=None),
        policies=run.policies,
        releases=releases,
        issues=tuple(run.general),
    )


def _subject(target: Path) -> tuple[Site, Lock]:
    site = Site(target if target.is_dir() else target.parent)
    if not target.exists() or (target.is_file() and target.name != site.lock_path.name):
        raise ForgeError(
            "not-found",
            f"{target}: expected a forge.lock, or a folder that has one",
            hint="forge audit [forge.lock|FOLDER]",
        )
    lock = read_lock(site.lock_path)
    if lock is not None:
        return site, lock
    records = list(site.records())
    if not records:
        raise ForgeError(
            "not-found",
            f"{target}: no forge.lock, and nothing that forge installed",
            hint="install something: forge install ORG/NAME --into FOLDER",
        )
    first = records[0]
    return site, Lock(
        registry=first.registry,
        fingerprint=first.fingerprint,
        requirements=(),
        components=tuple(
            locked_release(record.manifest())
            for record in records
            if record.fingerprint == first.fingerprint
        ),
    )


def _ask(context: Context) -> bool:
    """Whether the registry answers."""
    try:
        context.view.refresh()
    except NetworkError as error:
        context.out.warn(f"{error.message}; this is what was known here last")
        return False
    return True


def _gate(context: Context, site: Site, asked: bool) -> Gate | None:
    gate = open_gate(context, site.into)
    if gate is not None:
        gate.again, gate.unreachable = asked, not asked
    return gate


def _lines(path: Path) -> dict[str, int]:
    """``{"org/name": line}`` of where the lock names each component."""
    found = {}
    if path.exists():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            key, equals, value = line.partition(" = ")
            if equals and key == "name":
                found[value.strip('"')] = number
    return found


def _gravity(issue: Issue) -> tuple[int, int]:
    return LEVELS.index(issue.level), list(CODES).index(issue.code)


@dataclass(slots=True, kw_only=True)
class _Run:
    """One audit under way."""

    context: Context
    prover: Prover
    gate: Gate | None
    asked: bool
    into: Path
    unreachable: bool = False
    general: list[Issue] = field(default_factory=list)
    ages: list[datetime] = field(default_factory=list)
    policies: tuple[str, ...] = ()
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.gate is None:
            return
        try:
            self.policies = tuple(map(str, self.gate.policies))
        except ForgeError as error:
            if error.code != "policy-unusable":
                raise
            text = error.message.partition("\n")[0]
            self.general.append(
                Issue(code=error.code, level=ERROR, text=clean(text), hint=error.hint)
            )
            self.gate = None

    def issues(self, release: LockedComponent) -> Iterator[Issue]:
        yield from self._withheld(release)
        yield from self._told(release)
        yield from self._overrides(release)
        try:
            yield from self._index(release)
            yield from self._judged(release)
        except WithheldError:
            return  # said already, first of all
        except (SigningError, ForgeError) as error:
            if isinstance(error, NetworkError):
                self.unreachable = True
            yield Issue(
                code="not-verified",
                level=ERROR,
                text=clean(getattr(error, "message", error)),
                hint=getattr(error, "hint", None),
            )

    def _withheld(self, release: LockedComponent) -> Iterator[Issue]:
        status = known_status(self.context, self.prover.pin)
        withheld = None if status is None else status.find(release.manifest_sha256)
        if withheld is not None:
            error = withheld.error()
            yield Issue(code=error.code, level=ERROR, text=clean(withheld), hint=error.hint)

    def _told(self, release: LockedComponent) -> Iterator[Issue]:
        """What the registry says by itself, signed by nobody: that it holds the release back, or
        that it was recalled."""
        for row in self._rows("withheld"):
            ours = row.get("manifest_sha256") == release.manifest_sha256
            if ours and not self._is_signed(release):
                text = f"{row.get('state')}: {row.get('reason')}"
                yield Issue(code="held", level=ERROR, text=clean(text), unsigned=True)
        for row in self._rows("recalls"):
            if row.get("manifest_sha256") == release.manifest_sha256:
                yield Issue(
                    code="recalled",
                    level=ERROR,
                    text=clean(f"by {row.get('by')}: {row.get('reason')}"),
                    hint="act on it, and say so: forge recall ack, then forge recall remedied",
                    unsigned=True,
                )

    def _is_signed(self, release: LockedComponent) -> bool:
        """Whether the status host withholds it: that was said already."""
        status = known_status(self.context, self.prover.pin)
        return status is not None and status.find(release.manifest_sha256) is not None

    def _rows(self, what: str) -> list[dict[str, Any]]:
        """One list of the registry's, asked for once; empty where it has none, or was not asked."""
        if what not in self.told:
            answer: Any = None
            if self.asked and not self.unreachable:
                try:
                    answer = Api(http=self.context.http, url=self.prover.pin.url).get(what)
                except ForgeError:
                    answer = None
            found = answer.get(what) if isinstance(answer, dict) else None
            rows = found if isinstance(found, list) else []
            self.told[what] = [row for row in rows if isinstance(row, dict)]
        return self.told[what]

    def _overrides(self, release: LockedComponent) -> Iterator[Issue]:
        for one in release.overrides:
            yield Issue(code="overridden", level=WARNING, text=clean(one), rule=one.rule)

    def _index(self, release: LockedComponent) -> Iterator[Issue]:
        """What the signed index says: today, or where nobody was asked when it was seen last."""
        seen = None if self.asked else self._index_seen(release.component)
        releases = self.context.view.require(release.component).releases if seen is None else seen
        entry = releases.get(str(release.version))
        if entry is None and not self.asked:
            return
        if entry is None or entry.manifest_sha256 != release.manifest_sha256:
            raise MalformedError(
                str(release),
                f"manifest sha256 {release.manifest_sha256}, as locked",
                entry.manifest_sha256 if entry is not None else "no such version",
                "a published version never changes: tell the registry's operator",
            )
        newest = _newest(releases.values())
        better = newest is not None and newest.version > entry.version
        where = "" if self.into == Path() else f" --into {self.into}"
        take = f"forge install {release.component} --upgrade{where}" if better else None
        if entry.deprecated is not None:
            yield Issue(code="deprecated", level=WARNING, text=clean(entry.deprecated))
        if entry.yanked is not None:
            if entry.yanked_successor is not None:
                take = f"its publisher would rather see: {clean(entry.yanked_successor)}"
            yield Issue(
                code="yanked", level=WARNING, text=clean(entry.yanked) or "no reason", hint=take
            )
        elif newest is not None and better:
            yield Issue(code="outdated", level=NOTE, text=f"{newest.version} is there", hint=take)

    def _index_seen(self, name: ComponentName) -> Mapping[str, IndexEntry]:
        """The index that was verified and kept when the registry was asked last; empty without."""
        kept = self.prover.pin.state_dir / "metadata" / f"{quote(name.role, '')}.json"
        with suppress(OSError, SigningError):
            return releases_of(kept.read_bytes(), name)
        return {}

    def _judged(self, release: LockedComponent) -> Iterator[Issue]:
        before = FactsMemory(self.prover.pin.state_dir).read(release.manifest_sha256)
        facts = self._facts(release)
        yield from _findings(facts)
        yield from _reviews(before, facts, self.context.now)
        if self.gate is None:
            return
        for pinned, rule in self.gate.judge(self.prover, release).refusals:
            yield Issue(
                code="policy-refused",
                level=ERROR,
                text=f"{pinned}: {clean(rule)}",
                hint=f"would satisfy it: {clean(rule.satisfy)}",
                rule=rule.name,
                unsigned=rule.unsigned,
            )

    def _facts(self, release: LockedComponent) -> Facts:
        needs = frozenset() if self.gate is None else self.gate.needs
        knowledge = Knowledge(
            context=self.context,
            pin=self.prover.pin,
            needs=needs | {"findings", "reviews", "scans"},
            again=self.asked,
            unreachable=not self.asked or self.unreachable,
        )
        facts = knowledge.facts(release, lambda: self.prover.evidence(release))
        self.unreachable = self.unreachable or (self.asked and knowledge.unreachable)
        if facts.known_at is not None:
            self.ages.append(facts.known_at)
        return facts


def _newest(entries: Iterable[IndexEntry]) -> IndexEntry | None:
    fit = [e for e in entries if e.yanked is None and not e.version.is_prerelease]
    return max(fit, key=lambda entry: entry.version, default=None)


def _findings(facts: Facts) -> Iterator[Issue]:
    for finding in sorted(facts.findings or (), key=lambda one: (-one.rank, one.id)):
        yield Issue(
            code="vulnerable",
            level=_level(finding),
            text=clean(f"{finding.severity}: {finding.id} {finding.title}".rstrip()),
            unsigned=True,
        )


def _level(finding: OpenFinding) -> str:
    return _LEVEL_OF_SEVERITY.get(finding.severity, ERROR)


def _reviews(before: Kept | None, facts: Facts, now: datetime) -> Iterator[Issue]:
    """Decisions that do not count, and those that did and are gone."""
    reviews = facts.reviews
    if reviews is None:
        return
    assessment = reviews.assess(now)
    for lapse in assessment.lapsed:
        yield Issue(code="review-lapsed", level=WARNING, text=clean(f"{lapse.body}: {lapse.why}"))
    old = before.facts.reviews if before is not None else None
    known = {one.sha256 for one in reviews.decisions}
    told = {lapse.body for lapse in assessment.lapsed}
    for one in old.decisions if old is not None else ():
        if one.sha256 not in known and one.body not in told:
            text = f"{one.body} took back what it decided on {one.at:%Y-%m-%d}"
            yield Issue(code="review-withdrawn", level=WARNING, text=text)
