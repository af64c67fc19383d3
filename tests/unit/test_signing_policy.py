"""`policy.toml` is read strictly: what is not clearly a rule is refused with its nearest name."""

from __future__ import annotations

import pytest

from signing.errors import MalformedError
from signing.policy import RULES, Policy, parse_policy

HEAD = 'schema = 1\ntitle = "Health"\n[rules]\n'
BESIDE = {
    "reviewers": 'review-level = "approved"\n',
    "witness-quorum": 'witnesses = ["a", "b"]\n',
}


def policy(rules: str) -> Policy:
    return parse_policy((HEAD + rules).encode())


@pytest.mark.parametrize("name", RULES)
def test_every_rule_reads_as_its_example_shows(name: str) -> None:
    found = policy(BESIDE.get(name, "") + RULES[name].example)
    assert name in found.rules


def test_a_policy_says_what_must_be_known() -> None:
    assert policy('licences = ["MIT"]').needs == frozenset()
    assert policy("cooldown-days = 1").needs == {"published"}
    # That nothing was found says nothing where nobody looked.
    assert policy('max-severity = "low"').needs == {"findings", "scans"}
    assert policy('review-level = "reviewed"').needs == {"reviews"}


REFUSED = {
    "an empty file": ("", "an empty policy allows nothing"),
    "only a comment": ("# rules to come\n", "an empty policy allows nothing"),
    "no table of rules": ('schema = 1\ntitle = "x"\n', "rules"),
    "no rule": (HEAD, "a policy without rules allows nothing"),
    "no title": ("schema = 1\n[rules]\ncooldown-days = 1\n", "title"),
    "a title that hides something": (
        'schema = 1\ntitle = "a\\u202eb"\n[rules]\ncooldown-days = 1\n',
        "one line of text",
    ),
    "a newer form": (HEAD.replace("= 1", "= 2") + "cooldown-days = 1", "a newer forge may know it"),
    "an unknown table": (HEAD + "cooldown-days = 1\n[rule]\n", "rule"),
    "an unknown rule": (HEAD + "cooldown-day = 1", "did you mean 'cooldown-days'?"),
    "an unknown rule of no likeness": (HEAD + "zzz = 1", "rules are: review-level"),
    "an empty list": (HEAD + "licences = []", "at least one entry"),
    "an empty list of reviewers": (
        HEAD + 'review-level = "reviewed"\nreviewers = []',
        "reviewers: expected at least one entry",
    ),
    "no list": (HEAD + 'licences = "MIT"', "a list"),
    "an entry twice": (HEAD + 'licences = ["MIT", "MIT"]', "each entry once"),
    "a misspelt licence": (HEAD + 'licences = ["Apache-2"]', "an SPDX expression"),
    "a licence in another spelling": (HEAD + 'licences = ["mit"]', "'MIT'"),
    "two licences in one": (HEAD + 'licences = ["MIT OR Apache-2.0"]', "one licence"),
    "an unknown format": (HEAD + 'formats-denied = ["pickel"]', "did you mean 'pickle'?"),
    "an unknown risk class": (HEAD + 'risk-classes = ["low"]', "one of minimal, limited, high"),
    "no days at all": (HEAD + "cooldown-days = 0", "at least 1"),
    "days without end": (HEAD + "cooldown-days = 99999", "1 to 3650"),
    "yes for a number": (HEAD + "cooldown-days = true", "an integer"),
    "a fraction": (HEAD + "cooldown-days = 1.5", "an integer"),
    "a level that refuses nothing": (HEAD + 'review-level = "community"', "reviewed, approved"),
    "reviewers without a level": (HEAD + 'reviewers = ["cert-ma"]', "review-level beside it"),
    "a reviewer with a strange name": (
        HEAD + 'review-level = "reviewed"\nreviewers = ["CERT"]',
        "perhaps 'cert'",
    ),
    "a witness with a letter that hides": (
        HEAD + 'witnesses = ["a\\u202eb"]',
        "witnesses[0]: expected the name of one",
    ),
    "a reviewer in another script": (
        HEAD + 'review-level = "reviewed"\nreviewers = ["\u0441ert"]',
        "reviewers[0]",
    ),
    "a quorum of nobody": (HEAD + "witness-quorum = 1", "witnesses beside it"),
    "a quorum beyond all": (HEAD + 'witnesses = ["a"]\nwitness-quorum = 2', "1 to 1"),
    "a severity that allows all": (HEAD + 'max-severity = "critical"', "none, low, medium, high"),
    "a kind that does not exist": (HEAD + 'organisation-kinds = ["bank"]', "government"),
    "a tag that is none": (HEAD + 'card-languages = ["french"]', "a language tag"),
    "a key twice": (HEAD + "cooldown-days = 1\ncooldown-days = 2", "TOML"),
    "dots without end": (HEAD + "." * 9000, "dots"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_policy_is_refused_and_says_why(case: str) -> None:
    text, words = REFUSED[case]
    with pytest.raises(MalformedError) as caught:
        parse_policy(text.encode())
    assert words in f"{caught.value.message}\n{caught.value.hint}"
    assert caught.value.message.startswith("policy.toml")


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"\x00", b"[" * 90_000, b"a = 1\n" * 99_000, b"\xef\xbb\xbfschema = 1"]
)
def test_garbage_is_malformed_whatever_it_is(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_policy(data)
