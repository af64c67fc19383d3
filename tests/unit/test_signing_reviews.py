"""From the roles of bodies to what counts for a release, whatever a thief makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Targets

from signing.advisories import Advisory, sign_advisory, verify_advisory
from signing.assessment import COMMUNITY, REVIEWED, Assessment, Subject, assess
from signing.bodies import ADVISORY, DECISION, Body, role_of, target_path
from signing.encoding import canonical_json
from signing.errors import MalformedError, SigningError, VerificationError
from signing.evidence import Evidence
from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName
from signing.review import CRITERIA, Verdict, sign_decision
from signing.review_edits import edit_reviews
from signing.reviews import BodyWord, Said, gather
from signing.role_edits import delegate
from signing.roles import delegations_in

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAME = ComponentName.parse("minds-lab/darija-lid")
MANIFEST = "ab" * 32
KEYS = {body: generate_key("p256") for body in ("cert", "lab")}
SUBJECT = Subject(component=NAME, version="1.0.0", manifest_sha256=MANIFEST, risk_class=None)


def targets(**keys: PrivateKey) -> Targets:
    made = Targets(expires=NOW + timedelta(days=100))
    for body, key in (keys or KEYS).items():
        delegate(made, role_of(body), [key.public], 1)
        assert made.delegations is not None
        assert made.delegations.roles is not None
        made.delegations.roles[role_of(body)].unrecognized_fields["forge"] = Body(
            display_name=body, organisations=frozenset(["health-office"])
        ).to_json()
    return made


def verdict(body: str = "cert", **changed: Any) -> Verdict:
    made = Verdict(
        body=body, component=NAME, version="1.0.0", manifest_sha256=MANIFEST, passed=True, at=NOW,
        expires=NOW + timedelta(days=90), policy=CRITERIA,
    )  # fmt: skip
    return replace(made, **changed)


def advisory(**changed: Any) -> Advisory:
    made = Advisory(
        body="cert", id="CERT-2026-1", component=NAME, releases={"1.0.0": MANIFEST},
        severity="critical", title="It runs code", text="When it is loaded.",
        at=NOW + timedelta(hours=1),
    )  # fmt: skip
    return replace(made, **changed)


def word(
    envelopes: dict[str, bytes] | None = None, body: str = "cert", now: datetime = NOW
) -> BodyWord:
    if envelopes is None:
        path = target_path(body, NAME, "1.0.0", DECISION)
        envelopes = {path: sign_decision(verdict(body), KEYS[body])}
    role = edit_reviews(None, role_of(body), add=envelopes, keys=[KEYS[body]], now=now)
    return BodyWord(role=role_of(body), data=role, envelopes=envelopes)


def told(*words: BodyWord, at: datetime = NOW, given_: Targets | None = None) -> Said:
    return gather(given_ or targets(), words, NAME, "1.0.0", at)


def level(said: Said, now: datetime = NOW) -> Assessment:
    subject = replace(SUBJECT, critical_since=said.critical_since(MANIFEST))
    return assess(subject, said.decisions, now, unread=said.lapses)


def test_what_bodies_say() -> None:
    said = told(word(), word(body="lab"))
    assert [one.body for one in said.decisions] == ["cert", "lab"]
    assert said.decisions[0].organisations == {"health-office"}
    assert level(said).level == REVIEWED
    assert "reviewed by cert, lab, until 2026-05-30" in level(said).summary()


@pytest.mark.parametrize(
    ("words", "at", "given_", "code"),
    [
        ([word()], NOW + timedelta(days=31), None, "expired"),
        ([word()], NOW, targets(cert=KEYS["lab"]), "threshold-not-met"),
        ([word()], NOW, targets(lab=KEYS["lab"]), "chain-broken"),
        ([replace(word(), envelopes={})], NOW, None, "tree-mismatch"),
        ([replace(word(), envelopes=dict.fromkeys(word().envelopes, b"{}"))], NOW, None,
         "digest-mismatch"),
        ([replace(word(), role="reviews-lab")], NOW, None, "threshold-not-met"),
        ([replace(word(), data=b"{}")], NOW, None, "malformed"),
        ([word({target_path("cert", NAME, "1.0.0", DECISION):
                sign_decision(verdict(version="1.0.1"), KEYS["cert"])})], NOW, None,
         "name-mismatch"),
        ([word({target_path("cert", NAME, "1.0.0", DECISION):
                sign_decision(verdict(), KEYS["lab"])})], NOW, None, "key-unlisted"),
        ([word({target_path("cert", NAME, "1.0.0", DECISION):
                sign_decision(verdict("lab"), KEYS["cert"])})], NOW, None, "path-not-delegated"),
    ],
    ids=["expired", "key taken away", "no such body", "withheld", "swapped", "of another",
         "no role", "other release", "other key", "other body"],
)  # fmt: skip
def test_what_does_not_hold_lapses_alone(
    words: list[BodyWord], at: datetime, given_: Targets | None, code: str
) -> None:
    said = told(*words, at=at, given_=given_)
    assert said.decisions == ()
    assert [lapse.code for lapse in said.lapses] == [code]
    assert level(said, at).level == COMMUNITY
    assert said.lapses[0].why in level(said, at).summary()
    if given_ is None and at == NOW and words[0].role == "reviews-cert":
        both = told(*words, word(body="lab"))
        assert level(both).level == REVIEWED


def test_decisions_about_others_are_not_told() -> None:
    other = target_path("cert", ComponentName.parse("minds-lab/other"), "1.0.0", DECISION)
    later = target_path("cert", NAME, "2.0.0", DECISION)
    said = told(replace(word({other: b"x", later: b"y"}), envelopes={}))
    assert said == Said()


def test_a_critical_advisory_ends_an_approval() -> None:
    path = target_path("cert", NAME, "CERT-2026-1", ADVISORY)
    say: Callable[..., Said] = lambda **changed: told(  # noqa: E731
        word({path: sign_advisory(advisory(**changed), KEYS["cert"])}), word(body="lab")
    )
    now = NOW + timedelta(hours=2)
    assert level(say(), now).level == COMMUNITY
    assert [lapse.code for lapse in level(say(), now).lapsed] == ["critical-finding"]
    for changed in (
        {"severity": "high"}, {"releases": {"1.0.0": "00" * 32}}, {"at": NOW - timedelta(hours=1)},
    ):  # fmt: skip
        assert level(say(**changed), now).level == REVIEWED


@pytest.mark.parametrize(
    "changed",
    [{"id": "x"}, {"severity": "awful"}, {"title": " "}, {"text": "\x07"}, {"releases": {}}],
    ids=", ".join,
)
def test_an_advisory_that_nobody_would_read(changed: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        sign_advisory(advisory(**changed), KEYS["cert"])


def test_an_advisory_is_read_as_it_was_signed() -> None:
    delegation = delegations_in(targets())["reviews-cert"]
    data = sign_advisory(advisory(), KEYS["cert"])
    assert verify_advisory(data, delegation) == advisory()
    with pytest.raises(VerificationError):
        verify_advisory(data, delegations_in(targets())["reviews-lab"])
    with pytest.raises(SigningError):
        verify_advisory(sign_advisory(advisory(body="lab"), KEYS["cert"]), delegation)


WHOLE = word()  # once: each signature is another


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_changed_byte_makes_a_decision(data: st.DataObject) -> None:
    whole = WHOLE
    ((path, envelope),) = whole.envelopes.items()
    in_role = data.draw(st.booleans())
    original = whole.data if in_role else envelope
    place = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[place]))
    changed = original[:place] + bytes([byte]) + original[place + 1 :]
    said = told(
        replace(whole, data=changed) if in_role else replace(whole, envelopes={path: changed})
    )
    if said.decisions:  # JSON may be written in other ways that mean the same
        assert in_role
        assert json.loads(changed)["signed"] == json.loads(original)["signed"]
        assert said.decisions[0].sha256 == told(whole).decisions[0].sha256


def test_evidence_carries_them() -> None:
    made = Evidence(
        roots=(b"r",), targets=b"t", registrar=b"g", organisation=b"o", project=b"p",
        manifest=b"m", bundle=b"b", refreshed_at=NOW, reviews=(word(),),
    )  # fmt: skip
    assert Evidence.from_json(made.to_json()) == made
    assert Evidence.from_json(replace(made, reviews=None).to_json()).reviews is None
    assert Evidence.from_json(replace(made, reviews=()).to_json()).reviews == ()
    broken = json.loads(made.to_json())
    broken["reviews"][0]["more"] = 1
    with pytest.raises(MalformedError):
        Evidence.from_json(canonical_json(broken))
