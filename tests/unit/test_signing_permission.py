"""Each rule of a policy where it holds, where it is broken, and where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from signing.assessment import Decision, Lapse, Subject
from signing.facts import Facts, OpenFinding, Reviews, Scan, card_languages
from signing.file_formats import FORMATS, endings_of, format_of
from signing.names import ComponentName
from signing.permission import RuleResult, Verdict, evaluate
from signing.policy import QUALIFIERS, RULES, parse_policy

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NAME = ComponentName.parse("minds-lab/darija-lid")
DIGEST = "ab" * 32


def decision(body: str, number: int = 2, **changed: Any) -> Decision:
    values: dict[str, Any] = {
        "body": body,
        "organisations": frozenset(),
        "keyid": f"key of {body}",
        "component": NAME,
        "version": "1.0.0",
        "manifest_sha256": DIGEST,
        "passed": True,
        "number": number,
        "at": NOW - timedelta(days=10),
        "expires": NOW + timedelta(days=90),
        "sha256": "cd" * 32,
        "policy_sha256": "ef" * 32,
    }
    return Decision(**values | changed)


def reviews(*decisions: Decision, unread: tuple[Lapse, ...] = (), **subject: Any) -> Reviews:
    about = Subject(
        component=NAME, version="1.0.0", manifest_sha256=DIGEST, risk_class=None, **subject
    )
    return Reviews(subject=about, decisions=decisions, unread=unread)


GOOD = Facts(
    component=NAME,
    version="1.0.0",
    manifest_sha256=DIGEST,
    license="Apache-2.0 OR MIT",
    files=("weights/model.safetensors", "README.md"),
    risk_class="minimal",
    card_languages=("ar", "fr"),
    organisation_kind="academic",
    witnesses=("one.example", "two.example"),
    reviews=reviews(decision("cert-ma", 3), decision("ai-institute", 3)),
    published_at=NOW - timedelta(days=30),
    findings=(OpenFinding(id="a:b:c", severity="low"),),
    scans=(Scan(scanner="picklescan", state="clean", at=NOW - timedelta(days=1)),),
)
NOTHING = Facts(component=NAME, version="1.0.0", manifest_sha256=DIGEST)


def verdict(rules: str, facts: Facts = GOOD, now: datetime = NOW) -> Verdict:
    return evaluate(parse_policy(f'schema=1\ntitle="t"\n[rules]\n{rules}'.encode()), facts, now)


def only(rules: str, facts: Facts = GOOD, now: datetime = NOW) -> RuleResult:
    (result,) = verdict(rules, facts, now).rules
    return result


SCANNED = GOOD.scans or ()
# (rule, facts that hold, facts that break it, words in what was found and would satisfy)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "review-level reviewed": (
        'review-level = "reviewed"',
        {"reviews": reviews(decision("cert-ma"))},
        {"reviews": reviews()},
        "found community",
    ),
    "review-level approved": (
        'review-level = "approved"',
        {},
        {"reviews": reviews(decision("cert-ma", 3), decision("ai-institute", 2, passed=False))},
        "rejected by ai-institute",
    ),
    "one body is no approval": (
        'review-level = "approved"',
        {},
        {"reviews": reviews(decision("cert-ma", 3))},
        "found reviewed until 2026-07-30",
    ),
    "reviewers": (
        'review-level = "reviewed"\nreviewers = ["cert-ma"]',
        {},
        {"reviews": reviews(decision("ai-institute"))},
        "the policy takes no review by ai-institute",
    ),
    "an expired review": (
        'review-level = "reviewed"',
        {},
        {"reviews": reviews(decision("cert-ma", expires=NOW - timedelta(days=1)))},
        "it expired on 2026-04-30",
    ),
    "a review by the publisher itself": (
        'review-level = "reviewed"',
        {},
        {"reviews": reviews(decision("minds-lab"))},
        "nobody reviews a release of their own",
    ),
    "a critical finding since": (
        'review-level = "reviewed"',
        {},
        {"reviews": reviews(decision("cert-ma"), critical_since=NOW - timedelta(days=2))},
        "a critical finding became known since, on 2026-04-29",
    ),
    "an unread review": (
        'review-level = "reviewed"',
        {},
        {"reviews": reviews(unread=(Lapse(body="cert-ma", code="x", why="it is torn"),))},
        "cert-ma: it is torn",
    ),
    "licences": ('licences = ["MIT"]', {}, {"license": "GPL-3.0-only"}, "GPL-3.0-only accepted"),
    "formats-allowed": (
        'formats-allowed = ["safetensors", "text"]',
        {},
        {"files": ("model.pkl", "README.md")},
        "pickle (model.pkl)",
    ),
    "a file of no known kind": (
        'formats-allowed = ["safetensors", "text"]',
        {},
        {"files": ("weights.xyz",)},
        "other (weights.xyz)",
    ),
    "formats-denied": (
        'formats-denied = ["pickle"]',
        {},
        {"files": ("a/Model.CKPT",)},
        "pickle (a/Model.CKPT)",
    ),
    "risk-classes": ('risk-classes = ["minimal"]', {}, {"risk_class": "high"}, "found high"),
    "cooldown-days": (
        "cooldown-days = 7",
        {"published_at": NOW - timedelta(days=7)},
        {"published_at": NOW - timedelta(days=6)},
        "waiting until 2026-05-02 12:00 UTC",
    ),
    "a date to come": ("cooldown-days = 1", {}, {"published_at": NOW + timedelta(days=9)}, "2026"),
    "card-languages": (
        'card-languages = ["ar", "zgh"]',
        {"card_languages": ("ar", "zgh")},
        {},
        "README.zgh.md",
    ),
    "organisations-allowed": (
        'organisations-allowed = ["minds-lab"]',
        {},
        {"component": ComponentName.parse("other/thing")},
        "found other",
    ),
    "organisations-denied": (
        'organisations-denied = ["other"]',
        {},
        {"component": ComponentName.parse("other/thing")},
        "wants not other",
    ),
    "organisation-kinds": (
        'organisation-kinds = ["government", "academic"]',
        {},
        {"organisation_kind": "company"},
        "government or academic",
    ),
    "witnesses": (
        'witnesses = ["one.example", "two.example"]',
        {},
        {"witnesses": ("one.example", "three.example")},
        "2 of one.example, two.example",
    ),
    "witness-quorum": (
        'witnesses = ["one.example", "three.example"]\nwitness-quorum = 1',
        {},
        {"witnesses": ("four.example",)},
        "1 of one.example",
    ),
    "max-severity": (
        'max-severity = "low"',
        {},
        {"findings": (OpenFinding(id="x:y:z", severity="high"),)},
        "high: x:y:z",
    ),
    "a severity that nobody knows": (
        'max-severity = "high"',
        {},
        {"findings": (OpenFinding(id="x:y:z", severity="apocalyptic"),)},
        "apocalyptic",
    ),
    "no finding because nobody looked": (
        'max-severity = "high"',
        {"findings": ()},
        {"findings": (), "scans": (Scan(scanner="a", state="failed", at=NOW),)},
        "never scanned",
    ),
    "scan-max-age-days": (
        "scan-max-age-days = 7",
        {},
        {"scans": (Scan(scanner="a", state="clean", at=NOW - timedelta(days=8)),)},
        "a clean on 2026-04-23",
    ),
    "a failed scan beside a good one": (
        "scan-max-age-days = 7",
        {"scans": (*SCANNED, Scan(scanner="fickling", state="not-scanned", at=NOW))},
        {"scans": (*SCANNED, Scan(scanner="fickling", state="failed", at=NOW))},
        "fickling failed",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_holds_where_it_should(case: str) -> None:
    rules, good, _, _ = CASES[case]
    result = only(rules, replace(GOOD, **good))
    assert result.holds, str(result)
    assert verdict(rules, replace(GOOD, **good)).permits


@pytest.mark.parametrize("case", CASES)
def test_a_broken_rule_says_what_was_wanted_found_and_would_do(case: str) -> None:
    rules, _, bad, words = CASES[case]
    result = only(rules, replace(GOOD, **bad))
    assert not result.holds, str(result)
    assert words in f"{result} {result.satisfy}"
    assert result.name in RULES
    assert result.wanted
    assert result.found
    assert result.satisfy
    assert not verdict(rules, replace(GOOD, **bad)).permits


@pytest.mark.parametrize("case", [case for case in CASES if "organisations-" not in case])
def test_what_is_not_known_satisfies_no_rule(case: str) -> None:
    rules, _, _, _ = CASES[case]
    result = only(rules, NOTHING)
    assert not result.holds, str(result)


def test_every_rule_has_a_case() -> None:
    told = "\n".join(rules for rules, *_ in CASES.values())
    assert [name for name in RULES if f"{name} = " not in told] == []


@pytest.mark.parametrize("name", [name for name in RULES if name not in QUALIFIERS])
def test_the_registrys_own_word_is_called_that(name: str) -> None:
    result = only(RULES[name].example)
    assert result.unsigned is RULES[name].unsigned
    assert ("the registry's word" in str(result)) is RULES[name].unsigned


def test_time_alone_ends_a_permission() -> None:
    rules = 'review-level = "approved"'
    assert verdict(rules).permits
    assert not verdict(rules, now=NOW + timedelta(days=91)).permits


def test_all_broken_rules_are_told_and_one_is_enough() -> None:
    found = verdict('licences = ["EUPL-1.2"]\nrisk-classes = ["high"]\ncooldown-days = 1')
    assert [rule.name for rule in found.refusals] == ["licences", "risk-classes"]
    assert not found.permits


def test_a_verdict_without_rules_permits_nothing() -> None:
    assert not Verdict(rules=()).permits


def test_an_override_is_seen_and_excuses_its_rule_alone() -> None:
    found = verdict('licences = ["EUPL-1.2"]\nrisk-classes = ["high"]')
    one = found.override({"licences": "bought"})
    assert [rule.name for rule in one.refusals] == ["risk-classes"]
    both = found.override({"licences": "bought", "risk-classes": "in a closed room"})
    assert both.permits
    assert [rule.overridden for rule in both.overridden] == ["bought", "in a closed room"]
    assert [rule.holds for rule in both.rules] == [False, False]


def test_an_override_of_what_holds_changes_nothing() -> None:
    found = verdict('licences = ["MIT"]').override({"licences": "just in case"})
    assert found.overridden == ()


def test_long_lists_are_shortened_in_words_only() -> None:
    names = [f"lab-{at}" for at in range(40)] + ["minds-lab"]
    result = only(f"organisations-allowed = {names!r}".replace("'", '"'))
    assert result.holds
    assert "or one of 29 more" in result.wanted


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("model.safetensors", "safetensors"),
        ("a.b/PYTORCH_MODEL.BIN", "binary"),
        ("x.pkl", "pickle"),
        ("model.pt", "pickle"),
        ("LICENSE", "text"),
        ("README.zgh.md", "text"),
        ("archive.tar.gz", "archive"),
        ("noending", "other"),
        ("model.safetensors.pkl", "pickle"),
        ("pkl", "other"),
        (".pkl", "pickle"),
        ("x.", "other"),
    ],
)
def test_a_format_is_read_off_the_ending(path: str, wanted: str) -> None:
    assert format_of(path) == wanted


def test_no_ending_stands_for_two_formats() -> None:
    endings = [ending for name in FORMATS for ending in endings_of(name)]
    assert len(endings) == len(set(endings))


@pytest.mark.parametrize(
    ("card", "paths", "wanted"),
    [
        ("README.md", ["README.md", "README.fr.md", "README.ar.md"], ("ar", "fr")),
        ("README.md", ["README.md"], ()),
        ("README.md", ["README.md", "docs/README.fr.md", "README.fr.txt"], ()),
        ("docs/card.md", ["docs/card.md", "docs/card.zgh.md"], ("zgh",)),
        ("README", ["README", "README.fr"], ()),
        (None, ["README.fr.md"], ()),
    ],
)
def test_a_cards_languages_are_those_in_its_files_names(
    card: str | None, paths: list[str], wanted: tuple[str, ...]
) -> None:
    assert card_languages(card, paths) == wanted
