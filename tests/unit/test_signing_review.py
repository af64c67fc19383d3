"""Reviewers' decisions: what is signed, who may sign it, and what they add up to."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from securesystemslib.dsse import Envelope

from signing.assessment import (
    APPROVED,
    COMMUNITY,
    MAX_LIFE,
    MAX_LIFE_HIGH_RISK,
    REVIEWED,
    Assessment,
    Decision,
    Lapse,
    Subject,
    assess,
)
from signing.bodies import Body, parse_id, parse_target_path, role_of, target_path
from signing.encoding import canonical_json
from signing.errors import ConflictError, MalformedError, SigningError, VerificationError
from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName
from signing.review import Verdict, read_verdict, sign_decision, verify_decision
from signing.review_edits import edit_reviews
from signing.roles import Delegation, level_of, parse_targets, paths_of
from signing.statement import Resource, sign_statement, verify_statement
from signing.updates import check_next, check_shape

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAME = ComponentName.parse("minds-lab/darija-lid")
MANIFEST = "ab" * 32
KEYS = {name: generate_key("p256") for name in ("first", "second", "other")}
VERDICT = Verdict(
    body="cert",
    component=NAME,
    version="1.0.0",
    manifest_sha256=MANIFEST,
    passed=True,
    number=3,
    at=NOW,
    expires=NOW + timedelta(days=90),
    policy=Resource("forge:gov-ma/baseline@1.0.0", "cd" * 32),
    inputs=(Resource("forge:scans/1", "ef" * 32),),
    conditions="Only with a person in the loop.",
    scope="Text of forms",
)


def delegation(*keys: PrivateKey, body: str = "cert", organisations: frozenset[str] = frozenset(),
               ) -> Delegation:  # fmt: skip
    return Delegation(
        role=role_of(body),
        keys=tuple(key.public for key in keys or (KEYS["first"],)),
        threshold=1,
        paths=tuple(paths_of(role_of(body))),
        profile=None,
        body=Body(display_name="The CERT", organisations=organisations),
    )


def signed(**changed: Any) -> bytes:
    return sign_decision(replace(VERDICT, **changed), KEYS["first"])


class TestDecisions:
    def test_what_was_signed_is_read(self) -> None:
        data = signed()
        decision = verify_decision(data, delegation(organisations=frozenset(["health"])))
        assert (decision.body, decision.number, decision.passed) == ("cert", 3, True)
        assert decision.keyid == KEYS["first"].public.keyid
        assert (decision.component, decision.version) == (NAME, "1.0.0")
        assert decision.manifest_sha256 == MANIFEST
        assert (decision.at, decision.expires) == (VERDICT.at, VERDICT.expires)
        assert decision.inputs == ("ef" * 32,)
        assert decision.organisations == {"health"}
        assert read_verdict(data, delegation()) == VERDICT

    def test_securesystemslib_verifies_it(self) -> None:
        envelope = Envelope.from_dict(json.loads(signed()))
        assert envelope.verify([KEYS["first"].public.tuf], 1)

    def test_a_consumer_of_the_standard_finds_what_it_looks_for(self) -> None:
        """SLSA v1.0, "How to verify": type, verifier, subject, resource, result, levels."""
        statement = json.loads(base64.b64decode(json.loads(signed())["payload"]))
        assert statement["predicateType"] == "https://slsa.dev/verification_summary/v1"
        assert statement["subject"][0]["digest"] == {"sha256": MANIFEST}
        predicate = statement["predicate"]
        assert predicate["verifier"]["id"] == "forge:reviews/cert"
        assert predicate["resourceUri"] == "forge:minds-lab/darija-lid@1.0.0"
        assert predicate["verificationResult"] == "PASSED"
        assert predicate["verifiedLevels"] == ["FORGE_ASSURANCE_LEVEL_3"]
        failed = json.loads(
            base64.b64decode(json.loads(signed(passed=False, reason="x"))["payload"])
        )
        assert failed["predicate"]["verifiedLevels"] == ["FAILED"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"number": 1}, {"number": 4}, {"expires": NOW}, {"expires": NOW + timedelta(days=367)},
            {"passed": False}, {"conditions": " "}, {"scope": "\x1b[31m"}, {"reason": "x" * 4001},
        ],
        ids=", ".join,
    )  # fmt: skip
    def test_nobody_signs_what_nobody_would_read(self, changed: dict[str, Any]) -> None:
        with pytest.raises(MalformedError):
            signed(**changed)

    def test_another_key(self) -> None:
        with pytest.raises(VerificationError) as error:
            verify_decision(signed(), delegation(KEYS["second"]))
        assert error.value.code == "key-unlisted"

    def test_the_word_of_another_body(self) -> None:
        with pytest.raises(VerificationError) as error:
            verify_decision(signed(), delegation(body="lab"))
        assert error.value.code == "path-not-delegated"

    def test_a_changed_byte(self) -> None:
        document = json.loads(signed())
        payload = base64.b64decode(document["payload"]).replace(b"LEVEL_3", b"LEVEL_2")
        document["payload"] = base64.b64encode(payload).decode()
        with pytest.raises(VerificationError) as error:
            verify_decision(canonical_json(document), delegation())
        assert error.value.code == "signature-invalid"

    @pytest.mark.parametrize(
        "change",
        [
            lambda p, s: p.update(verifiedLevels=["FORGE_ASSURANCE_LEVEL_1"]),
            lambda p, s: p.update(verifiedLevels=["SLSA_BUILD_LEVEL_3"]),
            lambda p, s: p.update(verifiedLevels=[]),
            lambda p, s: p.update(verificationResult="FAILED"),
            lambda p, s: p.update(resourceUri="forge:minds-lab/other@1.0.0"),
            lambda p, s: p.update(resourceUri="forge:minds-lab/darija-lid@1.0"),
            lambda p, s: p.update(resourceUri="forge:minds-lab/darija-lid"),
            lambda p, s: p.update(timeVerified="2026-3-01T12:00:00Z"),
            lambda p, s: p.update(slsaVersion="1.1"),
            lambda p, s: p.update(more=1),
            lambda p, s: p.pop("policy"),
            lambda p, s: p["forge"].update(level=3),
            lambda p, s: p["forge"].update(expires="2027-03-03T12:00:00Z"),
            lambda p, s: p["verifier"].update(id="https://other.example"),
            lambda p, s: s.update({"minds-lab/other@1.0.0": "00" * 32}),
            lambda p, s: s.clear(),
        ],
        ids=range(16),
    )
    def test_another_form(self, change: Callable[[Any, Any], object]) -> None:
        predicate = json.loads(canonical_json(VERDICT.predicate()))
        subjects = {"minds-lab/darija-lid@1.0.0": MANIFEST}
        change(predicate, subjects)
        kind = "https://slsa.dev/verification_summary/v1"
        data = sign_statement(subjects, kind, predicate, [KEYS["first"]])
        with pytest.raises(MalformedError):
            verify_decision(data, delegation())

    def test_another_type_or_number_of_signatures(self) -> None:
        keys = [KEYS["first"].public, KEYS["second"].public]
        both = sign_statement({"x": MANIFEST}, "t", {}, [KEYS["first"], KEYS["second"]])
        assert len(verify_statement(both, "t", keys, "w", signatures=2).signers) == 2
        twice = sign_statement({"x": MANIFEST}, "t", {}, [KEYS["first"], KEYS["first"]])
        for data, kind, number in ((both, "t", 1), (both, "u", 2), (twice, "t", 2)):
            with pytest.raises(SigningError):
                verify_statement(data, kind, keys, "w", signatures=number)
        other = json.loads(both) | {"payloadType": "application/json"}
        with pytest.raises(MalformedError):
            verify_statement(canonical_json(other), "t", keys, "w", signatures=2)


class TestRoles:
    def test_paths_and_level(self) -> None:
        assert level_of("reviews-cert") == "reviews"
        assert paths_of("reviews-cert") == ["reviews/cert/*/*/*"]
        path = target_path("cert", NAME, "1.0.0", "vsa")
        assert path == "reviews/cert/minds-lab/darija-lid/1.0.0.vsa.json"
        assert parse_target_path(path, "cert") == (NAME, "1.0.0", "vsa")

    @pytest.mark.parametrize(
        "path",
        [
            "reviews/lab/minds-lab/darija-lid/1.0.0.vsa.json",
            "minds-lab/darija-lid/1.0.0/manifest.json",
            "reviews/cert/minds-lab/darija-lid/x/1.0.0.vsa.json",
            "reviews/cert/minds-lab/darija-lid/1.0.0.json",
            "reviews/cert/minds-lab/darija-lid/1.0.vsa.txt",
            "reviews/cert/minds-lab/darija-lid/01.0.0.vsa.json",
            "reviews/cert/minds-lab/darija-lid/../1.0.0.vsa.json",
            "reviews/cert/minds-lab/DARIJA/1.0.0.vsa.json",
            "reviews/cert/minds-lab/darija-lid/lower-1.advisory.json",
        ],
    )
    def test_paths_that_are_refused(self, path: str) -> None:
        with pytest.raises(SigningError):
            parse_target_path(path, "cert")

    def test_ids(self) -> None:
        assert parse_id("LAB-2026-0001") == "LAB-2026-0001"
        for text in ("", "lab-1", "A--B", "A/B", "A" * 41):
            with pytest.raises(MalformedError):
                parse_id(text)

    def test_a_statement_is_listed_replaced_and_withdrawn(self) -> None:
        path = target_path("cert", NAME, "1.0.0", "vsa")
        role = edit_reviews(None, "reviews-cert", add={path: b"one"}, keys=[KEYS["first"]], now=NOW)
        again = edit_reviews(
            role, "reviews-cert", add={path: b"three"}, keys=[KEYS["first"]], now=NOW
        )
        parsed = parse_targets(again, "reviews-cert").signed
        assert (parsed.version, parsed.targets[path].length) == (2, 5)
        check_next("reviews-cert", parsed, role, NOW)
        gone = edit_reviews(again, "reviews-cert", drop=[path], keys=[KEYS["first"]], now=NOW)
        signed_ = parse_targets(gone, "reviews-cert").signed
        assert not signed_.targets
        check_next("reviews-cert", signed_, again, NOW)
        with pytest.raises(ConflictError):
            edit_reviews(gone, "reviews-cert", drop=[path], keys=[KEYS["first"]], now=NOW)

    def test_what_a_role_may_not_list(self) -> None:
        role = edit_reviews(None, "reviews-cert", keys=[KEYS["first"]], now=NOW)
        for path, length, more in (
            ("reviews/lab/a/b/1.0.0.vsa.json", 3, {}),
            (target_path("cert", NAME, "1.0.0", "vsa"), 0, {}),
            (target_path("cert", NAME, "1.0.0", "vsa"), 10**7, {}),
            (target_path("cert", NAME, "1.0.0", "vsa"), 3, {"custom": {}}),
        ):
            document = json.loads(role)
            document["signed"]["targets"][path] = {
                "length": length, "hashes": {"sha256": MANIFEST}, **more
            }  # fmt: skip
            with pytest.raises(SigningError):
                check_shape(
                    "reviews-cert", parse_targets(canonical_json(document), "reviews-cert").signed
                )


class TestAssessment:
    SUBJECT = Subject(
        component=NAME, version="1.0.0", manifest_sha256=MANIFEST, risk_class="limited",
        keyids=frozenset(["publisher"]),
    )  # fmt: skip

    def one(self, body: str = "cert", **changed: Any) -> Decision:
        made = Decision(
            body=body, organisations=frozenset(), keyid=f"key of {body}", component=NAME,
            version="1.0.0", manifest_sha256=MANIFEST, passed=True, number=2, at=NOW,
            expires=NOW + timedelta(days=30), sha256="00" * 32, policy_sha256="00" * 32,
        )  # fmt: skip
        return replace(made, **changed)

    def asked(self, *decisions: Decision, now: datetime = NOW, **options: Any) -> Assessment:
        return assess(options.pop("subject", self.SUBJECT), decisions, now, **options)

    def test_levels(self) -> None:
        assert self.asked().level == COMMUNITY
        assert self.asked(self.one()).level == REVIEWED
        assert self.asked(self.one(number=3)).level == REVIEWED  # one body alone approves nothing
        assert self.asked(self.one(), self.one("lab")).level == REVIEWED
        both = self.asked(self.one(), self.one("lab", number=3))
        assert both.level == APPROVED
        assert both.reaches(REVIEWED)
        assert not self.asked(self.one()).reaches(APPROVED)

    def test_one_key_is_not_two_bodies(self) -> None:
        same = self.one("lab", number=3, keyid="key of cert")
        assert self.asked(self.one(), same).level == REVIEWED

    @pytest.mark.parametrize(
        ("first", "second", "level"),
        [
            (["ministry"], ["ministry", "court"], REVIEWED),
            (["lab"], [], REVIEWED),
            ([], ["cert"], REVIEWED),
            (["ministry"], ["court"], APPROVED),
        ],
    )
    def test_two_bodies_of_one_organisation_are_one_voice(
        self, first: list[str], second: list[str], level: str
    ) -> None:
        one = self.one(organisations=frozenset(first), number=3)
        other = self.one("lab", organisations=frozenset(second), number=3)
        assert self.asked(one, other).level == level

    def test_it_falls_by_itself(self) -> None:
        first = self.one(expires=NOW + timedelta(days=10))
        second = self.one("lab", number=3)
        at = self.asked(first, second)
        assert at.until == first.expires
        later = self.asked(first, second, now=first.expires)
        assert (later.level, later.until) == (REVIEWED, second.expires)
        assert [(lapse.body, lapse.code) for lapse in later.lapsed] == [("cert", "review-expired")]
        end = self.asked(first, second, now=second.expires)
        assert (end.level, end.until) == (COMMUNITY, None)

    def test_a_rejection_speaks_louder(self) -> None:
        found = self.asked(self.one(), self.one("lab", passed=False, reason="x"))
        assert (found.level, found.rejected_by) == (COMMUNITY, ("lab",))

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"manifest_sha256": "00" * 32}, "other-release"),
            ({"version": "1.0.1"}, "other-release"),
            ({"component": ComponentName.parse("minds-lab/other")}, "other-release"),
            ({"body": "minds-lab"}, "own-release"),
            ({"organisations": frozenset(["minds-lab"])}, "own-release"),
            ({"keyid": "publisher"}, "own-release"),
            ({"at": NOW + timedelta(minutes=6)}, "not-yet"),
            ({"expires": NOW + MAX_LIFE + timedelta(seconds=1)}, "too-long"),
            ({"expires": NOW}, "review-expired"),
        ],
    )
    def test_what_does_not_count(self, changed: dict[str, Any], code: str) -> None:
        found = self.asked(self.one(**changed))
        assert found.level == COMMUNITY
        assert [lapse.code for lapse in found.lapsed] == [code]

    def test_high_risk_is_reviewed_more_often(self) -> None:
        high = replace(self.SUBJECT, risk_class="high")
        fits = self.one(expires=NOW + MAX_LIFE_HIGH_RISK)
        assert self.asked(fits, subject=high).level == REVIEWED
        longer = self.one(expires=NOW + MAX_LIFE_HIGH_RISK + timedelta(seconds=1))
        assert self.asked(longer, subject=high).lapsed[0].code == "too-long"
        assert self.asked(longer).level == REVIEWED

    def test_a_critical_finding_ends_what_was_decided_before_it(self) -> None:
        found = replace(self.SUBJECT, critical_since=NOW + timedelta(days=1))
        now = NOW + timedelta(days=2)
        assert self.asked(self.one(), subject=found, now=now).lapsed[0].code == "critical-finding"
        after = self.one(at=NOW + timedelta(days=2))
        assert self.asked(after, subject=found, now=now).level == REVIEWED
        rejected = self.one(passed=False, reason="x")
        assert self.asked(rejected, subject=found, now=now).rejected_by == ("cert",)

    def test_only_the_bodies_that_the_asker_takes(self) -> None:
        found = self.asked(self.one(), self.one("lab", passed=False, reason="x"), bodies={"cert"})
        assert (found.level, found.rejected_by) == (REVIEWED, ())
        assert found.lapsed[0].code == "reviewer-not-accepted"

    def test_what_could_not_be_read_is_shown(self) -> None:
        lapse = Lapse(body="lab", code="key-unlisted", why="x")
        assert self.asked(self.one(), unread=[lapse]).lapsed == (lapse,)
