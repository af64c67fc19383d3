"""Whether a policy permits the use of a release: each rule held against what is known of it.

Pure. `Facts` are gathered elsewhere, and it does not matter here by whom: clients and server ask
the same `evaluate`. What is not known never satisfies a rule. Levels of review are computed by
`signing.assessment` and nowhere else. Results that rest on the registry's own word say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from .assessment import Assessment
from .facts import CLEAN, FINDINGS, NOT_SCANNED, Facts
from .file_formats import endings_of, formats_of
from .licences import Licences
from .policy import QUALIFIERS, RULES, SEVERITIES, Policy

_SCANNED: Final = (CLEAN, FINDINGS)


class RuleResult(NamedTuple):
    """How one rule came out. ``wanted`` is what it asks, ``found`` what is known, ``satisfy`` what
    would satisfy it. ``unsigned``: what was found is the registry's word and signed by nobody.
    ``overridden`` is the reason for which somebody takes the release all the same."""

    name: str
    holds: bool
    wanted: str
    found: str
    satisfy: str
    unsigned: bool = False
    overridden: str | None = None

    @property
    def permits(self) -> bool:
        return self.holds or self.overridden is not None

    def to_json(self) -> dict[str, object]:
        return {
            "rule": self.name,
            "holds": self.holds,
            "wanted": self.wanted,
            "found": self.found,
            "satisfy": None if self.holds else self.satisfy,
            "unsigned": self.unsigned,
            "overridden": self.overridden,
        }

    def __str__(self) -> str:
        text = f"{self.name}: wants {self.wanted}, found {self.found}"
        return text + (" (the registry's word, unsigned)" if self.unsigned else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Every rule of a policy for one release. Without any rule it permits nothing."""

    rules: tuple[RuleResult, ...]

    @property
    def permits(self) -> bool:
        return bool(self.rules) and all(rule.permits for rule in self.rules)

    @property
    def refusals(self) -> tuple[RuleResult, ...]:
        return tuple(rule for rule in self.rules if not rule.permits)

    @property
    def overridden(self) -> tuple[RuleResult, ...]:
        """The rules that are broken and were overridden; not those that hold by now."""
        return tuple(rule for rule in self.rules if not rule.holds and rule.overridden is not None)

    def override(self, reasons: Mapping[str, str]) -> Verdict:
        """The verdict for somebody who overrides these rules, ``{rule: reason}``."""
        return Verdict(
            rules=tuple(
                rule if rule.holds else rule._replace(overridden=reasons.get(rule.name))
                for rule in self.rules
            )
        )


def evaluate(policy: Policy, facts: Facts, now: datetime) -> Verdict:
    """Holds every rule of ``policy`` against ``facts``, in the order of `RULES`. It never stops at
    the first that is broken: whoever is refused sees all that is in the way."""
    formats = formats_of(facts.files or ())
    return Verdict(
        rules=tuple(
            _CHECKS[name](_Case(name, policy, facts, formats, now), value)
            for name, value in policy.rules.items()
            if name not in QUALIFIERS
        )
    )


class _Case(NamedTuple):
    """One rule to be held against one release; ``formats`` as `formats_of` finds them."""

    rule: str
    policy: Policy
    facts: Facts
    formats: Mapping[str, str]
    now: datetime

    def result(self, holds: bool, wanted: str, found: str, satisfy: str) -> RuleResult:
        return RuleResult(
            name=self.rule,
            holds=holds,
            wanted=wanted,
            found=found,
            satisfy=satisfy,
            unsigned=RULES[self.rule].unsigned,
        )


def _review_level(case: _Case, level: str) -> RuleResult:
    bodies: tuple[str, ...] | None = case.policy.rules.get("reviewers")
    by = "" if bodies is None else f" by {_either(bodies)}"
    satisfy = f"a review in force{by} at this level: its publisher asks a reviewer body for one"
    reviews = case.facts.reviews
    if reviews is None:
        return case.result(False, f"{level}{by}", "unknown: no reviews could be read", satisfy)
    found = reviews.assess(case.now, bodies)
    return case.result(found.reaches(level), f"{level}{by}", _described(found), satisfy)


def _described(found: Assessment) -> str:
    """An assessment in one line: the level, until when, and why it is not higher."""
    text = found.level
    if found.until is not None:
        text += f" until {found.until:%Y-%m-%d}"
    if found.rejected_by:
        text += f"; rejected by {', '.join(found.rejected_by)}"
    lapses = [f"{lapse.body}: {lapse.why}" for lapse in found.lapsed[:3]]
    if len(found.lapsed) > 3:
        lapses.append(f"and {len(found.lapsed) - 3} more")
    return "; not counted: ".join([text, "; ".join(lapses)]) if lapses else text


def _licences(case: _Case, accepted: Licences) -> RuleResult:
    wanted = _either(tuple(sorted(accepted.accepted)))
    found = case.facts.license
    if found is None:
        return case.result(False, wanted, "unknown", "a release that states its licence")
    missing = accepted.in_the_way(found)
    satisfy = (
        f"a release under an accepted licence, or {' and '.join(sorted(missing))} accepted too"
    )
    return case.result(not missing, wanted, found, satisfy)


def _formats_allowed(case: _Case, allowed: tuple[str, ...]) -> RuleResult:
    found = case.formats
    wrong = {name: path for name, path in found.items() if name not in allowed}
    wanted = f"{', '.join(allowed)} and no other"
    return case.result(
        bool(found) and not wrong,
        wanted,
        _files(wrong or found),
        "a release without these files, or with safetensors in their place",
    )


def _formats_denied(case: _Case, denied: tuple[str, ...]) -> RuleResult:
    found = case.formats
    wrong = {name: path for name, path in found.items() if name in denied}
    endings = " ".join(ending for name in denied for ending in endings_of(name))
    return case.result(
        bool(found) and not wrong,
        f"no {', '.join(denied)}" + (f" ({endings})" if endings else ""),
        _files(wrong) if wrong else (_files(found) if found else "unknown"),
        "a release without these files, or with safetensors in their place",
    )


def _files(found: Mapping[str, str]) -> str:
    if not found:
        return "unknown"
    return ", ".join(f"{name} ({path})" for name, path in sorted(found.items()))


def _risk_classes(case: _Case, classes: tuple[str, ...]) -> RuleResult:
    found = case.facts.risk_class
    satisfy = "a release whose publisher states such a class in forge.toml, [risk]"
    return case.result(found in classes, _either(classes), found or "none stated", satisfy)


def _cooldown(case: _Case, days: int) -> RuleResult:
    published = case.facts.published_at
    wanted = f"published {days} days ago or earlier"
    if published is None:
        return case.result(False, wanted, "unknown", "a registry that says when it was published")
    due = published + timedelta(days=days)
    # A date to come is nobody's past: it would otherwise only make the wait longer.
    holds = due <= case.now and published <= case.now
    return case.result(
        holds,
        wanted,
        f"published on {published:%Y-%m-%d %H:%M} UTC",
        f"waiting until {due:%Y-%m-%d %H:%M} UTC, or an older version",
    )


def _card_languages(case: _Case, wanted: tuple[str, ...]) -> RuleResult:
    found = case.facts.card_languages
    missing = [each for each in wanted if each not in (found or ())]
    return case.result(
        not missing,
        f"a card in {', '.join(wanted)}",
        "unknown" if found is None else ", ".join(found) or "none whose name states a language",
        "a release with " + ", ".join(f"README.{each}.md" for each in missing),
    )


def _organisations_allowed(case: _Case, allowed: tuple[str, ...]) -> RuleResult:
    org = case.facts.component.org
    return case.result(org in allowed, _either(allowed), org, "a component of one of these")


def _organisations_denied(case: _Case, denied: tuple[str, ...]) -> RuleResult:
    org = case.facts.component.org
    return case.result(
        org not in denied, f"not {_either(denied)}", org, "a component of another organisation"
    )


def _organisation_kinds(case: _Case, kinds: tuple[str, ...]) -> RuleResult:
    found = case.facts.organisation_kind
    satisfy = "a component of such an organisation"
    return case.result(found in kinds, _either(kinds), found or "unknown", satisfy)


def _witnesses(case: _Case, names: tuple[str, ...]) -> RuleResult:
    quorum: int = case.policy.rules.get("witness-quorum", len(names))
    found = case.facts.witnesses
    seen = [name for name in names if name in (found or ())]
    return case.result(
        len(seen) >= quorum,
        f"{quorum} of {', '.join(names)}",
        "unknown: no proof by the public log" if found is None else ", ".join(found) or "none",
        "a registry whose log these witnesses cosign",
    )


def _max_severity(case: _Case, most: str) -> RuleResult:
    wanted = "no open finding" if most == "none" else f"no open finding above {most}"
    findings, scans = case.facts.findings, case.facts.scans
    if findings is None or not any(scan.state in _SCANNED for scan in scans or ()):
        what = "unknown" if findings is None else "never scanned, so nothing is known"
        return case.result(False, wanted, what, "a scan by the registry that succeeded")
    grave = sorted(
        (one for one in findings if one.rank > SEVERITIES.index(most)),
        key=lambda one: (-one.rank, one.id),
    )
    shown = [f"{one.severity}: {one.id}" for one in (grave or findings)[:3]]
    if len(grave) > 3:
        shown.append(f"and {len(grave) - 3} more")
    return case.result(
        not grave,
        wanted,
        ", ".join(shown) or "none",
        "a version without it, or its publisher's verified answer to it",
    )


def _scan_age(case: _Case, days: int) -> RuleResult:
    wanted = f"scanned within {days} days by each scanner"
    satisfy = "a new scan: the registry's operator runs it"
    scans = [scan for scan in case.facts.scans or () if scan.state != NOT_SCANNED]
    if not scans:
        what = "unknown" if case.facts.scans is None else "never scanned"
        return case.result(False, wanted, what, satisfy)
    oldest = case.now - timedelta(days=days)
    bad = [one for one in scans if one.state not in _SCANNED or one.at is None or one.at < oldest]
    found = ", ".join(
        f"{one.scanner} {one.state}" + (f" on {one.at:%Y-%m-%d}" if one.at else "")
        for one in (bad or scans)[:4]
    )
    return case.result(not bad, wanted, found, satisfy)


@lru_cache(maxsize=256)  # of the lists of a policy, for each release
def _either(names: tuple[str, ...]) -> str:
    """``a``, ``a or b``, ``a, b or c``; long lists shortened."""
    if len(names) > 12:
        return f"{', '.join(names[:12])} or one of {len(names) - 12} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


_CHECKS: Final[Mapping[str, Callable[[_Case, Any], RuleResult]]] = {
    "review-level": _review_level,
    "licences": _licences,
    "formats-allowed": _formats_allowed,
    "formats-denied": _formats_denied,
    "risk-classes": _risk_classes,
    "cooldown-days": _cooldown,
    "card-languages": _card_languages,
    "organisations-allowed": _organisations_allowed,
    "organisations-denied": _organisations_denied,
    "organisation-kinds": _organisation_kinds,
    "witnesses": _witnesses,
    "max-severity": _max_severity,
    "scan-max-age-days": _scan_age,
}
