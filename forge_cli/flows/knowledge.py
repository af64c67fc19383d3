"""What is known here about releases, for policies: gathered once, kept, asked for again in time.

    <trust>/<root>/facts/<manifest sha256>.json

What somebody signed is taken from evidence that was verified; it stays true of a release for ever.
Reviews, findings and scans change: they are in date for a day, which is as long as the registry's
timestamp lives. Where the registry cannot be reached older ones count for a month, and it is said
how old they are; after that they are unknown. Only what a policy needs is asked for.

The files lie beside the pinned root, not in the cache: who can write there could as well pin
another root.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from signing.assessment import Decision, Lapse, Subject
from signing.errors import MalformedError, SigningError
from signing.evidence import Evidence
from signing.facts import Facts, OpenFinding, Reviews, Scan
from signing.manifest import parse_manifest
from signing.names import ComponentName
from signing.roles import delegation_of
from signing.tlog.policy import policy_of
from signing.tlog.proof import check_proof, parse_proof

from ..context import Context
from ..errors import ForgeError, NetworkError, RemoteError
from ..files import write_private
from ..lockfile import LockedComponent
from ..remote.api import Api
from ..truststore import Pin

IN_DATE: Final = timedelta(days=1)
AT_MOST: Final = timedelta(days=30)
CHANGING: Final = frozenset(("reviews", "findings", "scans"))
_SCHEMA: Final = 1
_INSTANT: Final = "%Y-%m-%dT%H:%M:%SZ"

# What proves a release; asked for only where its signed facts are not known yet.
Proves = Callable[[], Evidence]


class FactsMemory:
    """The facts that were gathered on this machine about releases of one registry."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "facts"

    def read(self, manifest_sha256: str) -> Kept | None:
        """What is kept; None where there is nothing that can be read."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, SigningError):
            return _kept_of(json.loads(self._path(manifest_sha256).read_bytes()))
        return None

    def keep(self, kept: Kept) -> None:
        data = json.dumps(_json_of(kept), ensure_ascii=False).encode()
        with suppress(OSError):  # then it is asked for again
            write_private(self._path(kept.facts.manifest_sha256), data)

    def _path(self, manifest_sha256: str) -> Path:
        return self._folder / f"{manifest_sha256}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """``facts``, and which of the registry's answers are in them: names of `Policy.needs`."""

    facts: Facts
    asked: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Knowledge:
    """Gathers facts about releases of the registry that is pinned as ``pin``.

    ``needs`` is what policies must know beyond what is signed. ``again`` asks for what may change
    even where it is in date.
    """

    context: Context
    pin: Pin
    needs: frozenset[str]
    again: bool = False
    unreachable: bool = False

    def facts(self, release: LockedComponent, proves: Proves) -> Facts:
        """What is known of the release.

        Raises:
            SigningError, ForgeError: what proves it could not be had, or does not hold.
        """
        memory = FactsMemory(self.pin.state_dir)
        kept = memory.read(release.manifest_sha256)
        known = kept
        if known is None:
            known = Kept(facts=signed_facts(self.context, self.pin, proves()))
        known = self._asked(release, known)
        if known != kept:
            memory.keep(known)
        return self._in_force(known.facts)

    def _asked(self, release: LockedComponent, known: Kept) -> Kept:
        """``known`` with what is missing or too old asked for, as far as that can be had."""
        wanted = self._wanted(known)
        if not wanted or self.unreachable:
            return known
        try:
            answers = self._answers(release, wanted)
        except NetworkError:
            self.unreachable = True  # asked once is enough: each try takes its time
            return known
        at = self.context.now if wanted & CHANGING else known.facts.known_at
        facts = replace(known.facts, **answers, known_at=at)
        return Kept(facts=facts, asked=known.asked | wanted)

    def _wanted(self, known: Kept) -> frozenset[str]:
        wanted = self.needs - known.asked
        if known.facts.published_at is None:
            wanted |= self.needs & {"published"}
        at = known.facts.known_at
        now = self.context.now
        again = self.again and at != now  # not twice in one run
        old = at is None or again or not timedelta() <= now - at < IN_DATE
        # All that may change carries one date, so all of it is asked for together.
        if old or wanted & CHANGING:
            wanted |= self.needs & CHANGING
        return wanted

    def _answers(self, release: LockedComponent, wanted: frozenset[str]) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        if "reviews" in wanted:
            answers["reviews"] = self._reviews(release)
        name, version = release.component, str(release.version)
        if "published" in wanted:
            answers["published_at"] = published_at(self._ask(name), version)
        if "findings" in wanted:
            answers["findings"] = open_findings(self._ask(name, version, "findings"))
        if "scans" in wanted:
            answers["scans"] = scans(self._ask(name, version, "scans"))
        return answers

    def _ask(self, name: ComponentName, *more: str) -> Any:
        """The registry's answer; None where it has none, or one that is no answer."""
        api = Api(http=self.context.http, url=self.pin.url)
        try:
            return api.get("components", name.org, name.name, *more)
        except RemoteError as error:
            if error.status >= 500:
                raise NetworkError(error.message) from error
            return None
        except NetworkError:
            raise
        except ForgeError:
            return None

    def _reviews(self, release: LockedComponent) -> Reviews | None:
        from .policies import view_of

        view = view_of(self.context, self.pin)
        entry = view.require(release.component).releases.get(str(release.version))
        if entry is None or entry.manifest_sha256 != release.manifest_sha256:
            return None
        assessment = view.reviews(release.component, entry)
        version, digest = str(release.version), release.manifest_sha256
        return Reviews.of(assessment, release.component, version, digest)

    def _in_force(self, facts: Facts) -> Facts:
        """Without what is older than a month."""
        at = facts.known_at
        if at is not None and timedelta() <= self.context.now - at < AT_MOST:
            return facts
        return replace(facts, reviews=None, findings=None, scans=None)


def signed_facts(context: Context, pin: Pin, evidence: Evidence) -> Facts:
    """What follows from evidence that was verified."""
    manifest = parse_manifest(evidence.manifest)
    profile = delegation_of(evidence.registrar, manifest.component.org).profile
    return replace(
        Facts.of_manifest(manifest),
        organisation_kind=None if profile is None else profile.kind,
        witnesses=_witnesses(context, pin, evidence, manifest.component),
    )


def _witnesses(
    context: Context, pin: Pin, evidence: Evidence, name: ComponentName
) -> tuple[str, ...] | None:
    """Who cosigned the log that holds the release's index; None where there is no proof of it."""
    from signing.roles import role_version
    from signing.tlog.entries import role_entry

    policy = policy_of(evidence.targets, context.trust.witnesses(pin.fingerprint))
    if policy is None or evidence.log_proof is None:
        return None
    leaf = role_entry(name.role, role_version(evidence.project), evidence.project)
    proof = parse_proof(evidence.log_proof, "log proof")
    signed = check_proof(
        proof, leaf.to_bytes(), policy.keys, policy.witnesses, f"role {name.role} in the log"
    )
    return tuple(sorted(signed.witnesses))


# --- the registry's answers, read leniently: what is not understood is not known -----------------


def published_at(answer: Any, version: str) -> datetime | None:
    for item in _items(answer, "versions") or ():
        if item.get("version") == version:
            return _instant(item.get("published_at"))
    return None


def open_findings(answer: Any) -> tuple[OpenFinding, ...] | None:
    """The findings that nobody answered. What does not say whether it is open counts as open."""
    items = _items(answer, "findings")
    if items is None:
        return None
    return tuple(
        OpenFinding(
            id=str(item.get("id", "?"))[:200],
            severity=str(item.get("severity", "unknown"))[:20],
            title=str(item.get("title") or "")[:200],
        )
        for item in items
        if item.get("open") is not False and item.get("gone_at") is None
    )


def scans(answer: Any) -> tuple[Scan, ...] | None:
    """The last scan of each scanner."""
    items = _items(answer, "scans")
    if items is None:
        return None
    last: dict[str, Scan] = {}
    for item in items:
        at = _instant(item.get("finished_at") or item.get("started_at"))
        scanner = str(item.get("scanner", "?"))[:100]
        one = Scan(scanner=scanner, state=str(item.get("state", "unknown"))[:20], at=at)
        before = last.get(scanner)
        if before is None or _moment(before.at) <= _moment(at):
            last[scanner] = one
    return tuple(last[name] for name in sorted(last))


def _moment(at: datetime | None) -> datetime:
    return at or datetime.min.replace(tzinfo=UTC)


def _items(answer: Any, name: str) -> list[Mapping[str, Any]] | None:
    items = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    return items


def _instant(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if at.tzinfo is None else at


# --- how it is kept ------------------------------------------------------------------------------


def _json_of(kept: Kept) -> dict[str, Any]:
    facts = asdict(kept.facts)
    facts["component"] = str(kept.facts.component)
    reviews = kept.facts.reviews
    if reviews is not None:
        facts["reviews"] = {
            "subject": _plain(reviews.subject),
            "decisions": [_plain(each) for each in reviews.decisions],
            "unread": [{"body": u.body, "code": u.code, "why": u.why} for u in reviews.unread],
        }
    text: dict[str, Any] = json.loads(json.dumps(facts, default=_text))
    return {"schema": _SCHEMA, "asked": sorted(kept.asked), "facts": text}


def _plain(value: Subject | Decision) -> dict[str, Any]:
    return asdict(value) | {"component": str(value.component)}


def _text(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(type(value).__name__)


def _kept_of(value: Any) -> Kept:
    """Raises any of the usual errors where it is not what `_json_of` made."""
    if value["schema"] != _SCHEMA:
        raise MalformedError("facts", str(_SCHEMA), value["schema"])
    facts = dict(value["facts"])
    for name in ("files", "card_languages", "witnesses"):
        facts[name] = _tuple(facts[name])
    for name in ("published_at", "known_at"):
        facts[name] = _date(facts[name])
    if facts["findings"] is not None:
        facts["findings"] = tuple(OpenFinding(**each) for each in facts["findings"])
    if facts["scans"] is not None:
        facts["scans"] = tuple(Scan(**each | {"at": _date(each["at"])}) for each in facts["scans"])
    if facts["reviews"] is not None:
        facts["reviews"] = _reviews_of(facts["reviews"])
    facts["component"] = ComponentName.parse(facts["component"])
    return Kept(facts=Facts(**facts), asked=frozenset(value["asked"]))


def _reviews_of(value: Any) -> Reviews:
    return Reviews(
        subject=Subject(**_with_dates(value["subject"], "critical_since", keyids=frozenset)),
        decisions=tuple(
            Decision(**_with_dates(each, "at", "expires", organisations=frozenset, inputs=tuple))
            for each in value["decisions"]
        ),
        unread=tuple(Lapse(**each) for each in value["unread"]),
    )


def _with_dates(value: Any, *dates: str, **kinds: Callable[[Iterable[str]], Any]) -> dict[str, Any]:
    found = dict(value)
    for name in dates:
        found[name] = _date(found[name])
    for name, kind in kinds.items():
        found[name] = kind(found[name])
    found["component"] = ComponentName.parse(found["component"])
    return found


def _tuple(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _date(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
