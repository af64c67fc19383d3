"""What the decisions of reviewers add up to for one release at one moment.

Pure arithmetic over decisions whose signatures were verified before (`signing.review`): which of
them count, why the others do not, and which level follows. Nobody has to act for an approval to
end: it expires, its signer loses the key, somebody finds something critical, and the same question
asked a moment later has another answer.

::

    community   signed and listed; nobody looked, or nobody's word counts any more
    reviewed    one body's reviewer passed it
    approved    a second body's reviewer passed it too, and said so for level 3: of a body that
                belongs to none of the first one's organisations
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from .names import ComponentName

COMMUNITY: Final = "community"
REVIEWED: Final = "reviewed"
APPROVED: Final = "approved"
LEVELS: Final = (COMMUNITY, REVIEWED, APPROVED)  # from the lowest to the highest
ASSURANCE: Final = tuple(f"FORGE_ASSURANCE_LEVEL_{number}" for number in (1, 2, 3))
MAX_LIFE: Final = timedelta(days=366)
MAX_LIFE_HIGH_RISK: Final = timedelta(days=184)
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one reviewer of one body decided about one release.

    ``number`` is the assurance level that a passing decision gives at most, 2 or 3.
    ``organisations`` are those that the body belongs to, as the authority says; its own name is
    one of them without being listed. ``keyid`` is the reviewer's key. ``inputs`` are the SHA-256
    digests of the scans and decisions that it rests on. ``sha256`` is the digest of the signed
    envelope.
    """

    body: str
    organisations: frozenset[str]
    keyid: str
    component: ComponentName
    version: str
    manifest_sha256: str
    passed: bool
    number: int
    at: datetime
    expires: datetime
    sha256: str
    policy_sha256: str
    inputs: tuple[str, ...] = ()
    conditions: str | None = None
    scope: str | None = None
    reason: str | None = None  # of a rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """A decision that does not count (``decision`` is None where it could not even be read), with
    a stable ``code``, and why in one sentence."""

    body: str
    code: str
    why: str
    decision: Decision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The release in question. ``keyids`` are the keys of its organisation and its publishers.
    ``critical_since`` is when the newest critical finding against it that nobody answered became
    known; None without one."""

    component: ComponentName
    version: str
    manifest_sha256: str
    risk_class: str | None
    keyids: frozenset[str] = frozenset()
    critical_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """``level`` is one of `LEVELS`; ``until`` is when it falls by itself (None at the lowest).
    ``standing`` are the decisions that count, ``lapsed`` those that do not and why.
    ``rejected_by`` names the bodies that decided against the release."""

    level: str
    until: datetime | None = None
    standing: tuple[Decision, ...] = ()
    lapsed: tuple[Lapse, ...] = ()
    rejected_by: tuple[str, ...] = ()

    def summary(self) -> str:
        """In a line: the level, by whom and until when, and what does not count and why."""
        text = {
            COMMUNITY: "community: no review of it counts",
            REVIEWED: "reviewed",
            APPROVED: "approved",
        }[self.level]
        if self.rejected_by:
            text = f"REJECTED by {', '.join(self.rejected_by)}"
        elif self.until is not None:
            bodies = ", ".join(dict.fromkeys(one.body for one in self.standing))
            text += f" by {bodies}, until {self.until:%Y-%m-%d}"
        return "; ".join([text, *(f"of {lapse.body}: {lapse.why}" for lapse in self.lapsed)])

    def reaches(self, level: str) -> bool:
        """Whether the release is at ``level`` or above it."""
        return LEVELS.index(self.level) >= LEVELS.index(level)


def assess(
    subject: Subject,
    decisions: Iterable[Decision],
    now: datetime,
    *,
    bodies: Collection[str] | None = None,
    unread: Iterable[Lapse] = (),
) -> Assessment:
    """The level of ``subject`` at ``now``.

    ``bodies`` are those whose word the asker takes; None for all that the authority names.
    ``unread`` are decisions that could not be verified: they count for nothing and are shown.
    """
    standing: list[Decision] = []
    lapsed = list(unread)
    for decision in sorted(decisions, key=lambda one: (one.body, one.at)):
        lapse = _lapse(subject, decision, now, bodies)
        if lapse is None:
            standing.append(decision)
        else:
            lapsed.append(lapse)
    rejected_by = tuple(sorted({one.body for one in standing if not one.passed}))
    level, until = (COMMUNITY, None) if rejected_by else _level(standing)
    return Assessment(
        level=level,
        until=until,
        standing=tuple(standing),
        lapsed=tuple(lapsed),
        rejected_by=rejected_by,
    )


def _level(passed: list[Decision]) -> tuple[str, datetime | None]:
    pairs = [
        min(one.expires, other.expires)
        for one in passed
        for other in passed
        if one.number >= 3 and one.keyid != other.keyid and _have_nothing_in_common(one, other)
    ]
    if pairs:
        return APPROVED, max(pairs)
    if passed:
        return REVIEWED, max(one.expires for one in passed)
    return COMMUNITY, None


def _have_nothing_in_common(one: Decision, other: Decision) -> bool:
    """Two bodies of one organisation are one voice, as two reports by it are."""
    return {one.body, *one.organisations}.isdisjoint({other.body, *other.organisations})


def _lapse(
    subject: Subject, one: Decision, now: datetime, bodies: Collection[str] | None
) -> Lapse | None:
    """Why ``one`` does not count; None where it does."""
    longest = MAX_LIFE_HIGH_RISK if subject.risk_class == "high" else MAX_LIFE
    own = subject.component.org in {one.body, *one.organisations} or one.keyid in subject.keyids
    critical = subject.critical_since
    # The words are made for the one reason that holds: most decisions count.
    reasons: tuple[tuple[str, bool, Callable[[], str]], ...] = (
        (
            "other-release",
            (one.component, one.version, one.manifest_sha256)
            != (subject.component, subject.version, subject.manifest_sha256),
            lambda: (
                f"it is about {one.component} {one.version}, manifest sha256:{one.manifest_sha256}"
            ),
        ),
        (
            "own-release",
            own,
            lambda: (
                f"{one.body} belongs to {subject.component.org}, or its reviewer signs for it: "
                "nobody reviews a release of their own"
            ),
        ),
        (
            "reviewer-not-accepted",
            bodies is not None and one.body not in bodies,
            lambda: f"the policy takes no review by {one.body}",
        ),
        ("not-yet", one.at > now + _SKEW, lambda: f"it is dated {one.at:%Y-%m-%d %H:%M} UTC"),
        (
            "too-long",
            one.expires - one.at > longest,
            lambda: (
                f"it claims more than {longest.days} days, which is the most for this risk class"
            ),
        ),
        ("review-expired", one.expires <= now, lambda: f"it expired on {one.expires:%Y-%m-%d}"),
        (
            "critical-finding",
            critical is not None and one.passed and critical > one.at,
            lambda: f"a critical finding became known since, on {critical:%Y-%m-%d}",
        ),
    )
    for code, holds, why in reasons:
        if holds:
            return Lapse(body=one.body, code=code, why=why(), decision=one)
    return None
