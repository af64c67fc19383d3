"""Waivers: what two reviewers of a body sign, and what it covers until when."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from signing.bodies import Body, role_of
from signing.digests import sha256_hex
from signing.encoding import canonical_json
from signing.errors import MalformedError, VerificationError
from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName
from signing.roles import Delegation, paths_of
from signing.statement import sign_statement
from signing.waivers import (
    PREDICATE_TYPE,
    Waiver,
    approve_waiver,
    begin_waiver,
    in_force,
    read_begun,
    settling,
    verify_waiver,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAME = ComponentName.parse("minds-lab/darija-lid")
MANIFEST = "ab" * 32
FINDING = "picklescan:global:0123456789ab"
AUTHOR, APPROVER, OTHER = (generate_key("p256") for _ in range(3))
WAIVER = Waiver(
    body="cert",
    id="CERT-2026-7",
    component=NAME,
    versions=">=1,<2",
    findings=(FINDING,),
    formats=("pickle",),
    severity="high",
    reason="Read by hand; the next version is safetensors.",
    author=AUTHOR.public.keyid,
    at=NOW,
    expires=NOW + timedelta(days=60),
)


def delegation(
    *keys: PrivateKey, body: str = "cert", organisations: frozenset[str] = frozenset()
) -> Delegation:
    return Delegation(
        role=role_of(body),
        keys=tuple(key.public for key in keys or (AUTHOR, APPROVER)),
        threshold=1,
        paths=tuple(paths_of(role_of(body))),
        profile=None,
        body=Body(display_name="The CERT", organisations=organisations),
    )


def signed(**changed: Any) -> bytes:
    return approve_waiver(begin_waiver(replace(WAIVER, **changed), AUTHOR), APPROVER)


class TestSigning:
    def test_what_two_signed_is_read(self) -> None:
        data = signed()
        read = verify_waiver(data, delegation(organisations=frozenset(["health"])))
        assert read == replace(
            WAIVER,
            approver=APPROVER.public.keyid,
            organisations=frozenset(["health"]),
            sha256=sha256_hex(data),
        )
        one = signed(versions=None, manifest_sha256=MANIFEST)
        assert verify_waiver(one, delegation()).manifest_sha256 == MANIFEST
        statement = json.loads(base64.b64decode(json.loads(one)["payload"]))
        assert statement["predicateType"] == "forge:waiver/v1"
        assert statement["subject"] == [{"name": str(NAME), "digest": {"sha256": MANIFEST}}]

    def test_one_signature_is_not_enough(self) -> None:
        begun = begin_waiver(WAIVER, AUTHOR)
        assert read_begun(begun, delegation()) == WAIVER
        with pytest.raises(MalformedError) as error:
            verify_waiver(begun, delegation())
        assert "2 signature" in error.value.message

    def test_one_key_twice(self) -> None:
        begun = begin_waiver(WAIVER, AUTHOR)
        with pytest.raises(MalformedError):
            approve_waiver(begun, AUTHOR)
        document = json.loads(begun)
        document["signatures"] *= 2
        with pytest.raises(VerificationError) as error:
            verify_waiver(canonical_json(document), delegation())
        assert error.value.code == "key-unlisted"

    def test_the_author_must_be_one_of_the_two(self) -> None:
        begun = begin_waiver(WAIVER, AUTHOR)
        document = json.loads(approve_waiver(begun, APPROVER))
        first, second = document["signatures"]
        third = json.loads(approve_waiver(begun, OTHER))["signatures"][1]
        keys = delegation(AUTHOR, APPROVER, OTHER)
        document["signatures"] = [second, third]
        with pytest.raises(VerificationError) as error:
            verify_waiver(canonical_json(document), keys)
        assert error.value.code == "key-unlisted"
        document["signatures"] = [second, first]  # the order says nothing
        assert verify_waiver(canonical_json(document), keys).approver == APPROVER.public.keyid

    def test_a_key_that_the_body_has_not(self) -> None:
        with pytest.raises(VerificationError) as error:
            verify_waiver(signed(), delegation(AUTHOR, OTHER))
        assert error.value.code == "key-unlisted"

    def test_the_word_of_another_body(self) -> None:
        with pytest.raises(VerificationError) as error:
            verify_waiver(signed(), delegation(body="lab"))
        assert error.value.code == "path-not-delegated"

    def test_a_changed_byte(self) -> None:
        document = json.loads(signed())
        payload = base64.b64decode(document["payload"]).replace(b"<2", b"<9")
        document["payload"] = base64.b64encode(payload).decode()
        with pytest.raises(VerificationError) as error:
            verify_waiver(canonical_json(document), delegation())
        assert error.value.code == "signature-invalid"

    @pytest.mark.parametrize(
        "changed",
        [
            {"id": "x y"},
            {"versions": None},
            {"manifest_sha256": MANIFEST},
            {"versions": ""},
            {"versions": "==="},
            {"versions": None, "manifest_sha256": "ab"},
            {"findings": (), "formats": ()},
            {"findings": (FINDING, FINDING)},
            {"findings": ("\x1b[31m",)},
            {"findings": tuple(map(str, range(101)))},
            {"formats": ("safetensors",)},
            {"severity": "grave"},
            {"severity": "medium"},
            {"reason": " "},
            {"expires": NOW},
            {"expires": NOW + timedelta(days=90, seconds=1)},
            {"severity": "critical", "expires": NOW + timedelta(days=91)},
            {"severity": "low", "formats": (), "expires": NOW + timedelta(days=181)},
        ],
        ids=", ".join,
    )
    def test_nobody_signs_what_nobody_would_read(self, changed: dict[str, Any]) -> None:
        with pytest.raises(MalformedError):
            signed(**changed)

    def test_what_is_less_grave_may_last_longer(self) -> None:
        end = NOW + timedelta(days=180)
        data = signed(severity="medium", formats=(), expires=end)
        assert verify_waiver(data, delegation()).expires == end

    @pytest.mark.parametrize(
        "change",
        [
            lambda p: p.update(more=1),
            lambda p: p.pop("reason"),
            lambda p: p.update(scope={}),
            lambda p: p.update(scope={"versions": ">=1", "manifest": {"sha256": MANIFEST}}),
            lambda p: p.update(scope={"versions": ">=1", "until": "2"}),
            lambda p: p.update(component="minds-lab/other"),
            lambda p: p.update(expires="2026-12-01T00:00:00Z"),
            lambda p: p.update(expires="soon"),
            lambda p: p.update(severity="low"),
            lambda p: p.update(findings=[1]),
            lambda p: p.update(formats="pickle"),
        ],
        ids=lambda _: "x",
    )
    def test_another_form(self, change: Callable[[dict[str, Any]], None]) -> None:
        predicate = WAIVER.predicate()
        change(predicate)
        subject = {str(NAME): sha256_hex(f"forge:{NAME}".encode())}
        data = sign_statement(subject, PREDICATE_TYPE, predicate, [AUTHOR, APPROVER])
        with pytest.raises(MalformedError):
            verify_waiver(data, delegation())

    def test_another_subject(self) -> None:
        for subject in ({str(NAME): MANIFEST}, {"minds-lab/other": MANIFEST}):
            data = sign_statement(subject, PREDICATE_TYPE, WAIVER.predicate(), [AUTHOR, APPROVER])
            with pytest.raises(MalformedError):
                verify_waiver(data, delegation())


class TestWhatItCovers:
    @pytest.mark.parametrize(
        ("version", "covered"),
        [("0.9", False), ("1.0.0", True), ("1.5rc1", True), ("2.0", False), ("2.0rc1", False)],
    )
    def test_a_range(self, version: str, covered: bool) -> None:
        assert WAIVER.covers(version, MANIFEST) is covered
        assert WAIVER.covers(version, None) is covered

    def test_one_release(self) -> None:
        one = replace(WAIVER, versions=None, manifest_sha256=MANIFEST)
        assert one.covers("9.0", MANIFEST)
        assert not one.covers("1.0.0", "cd" * 32)
        assert not one.covers("1.0.0", None)

    @pytest.mark.parametrize(
        ("finding", "severity", "settled"),
        [(FINDING, "high", True), (FINDING, "low", True), (FINDING, "critical", False),
         (FINDING, "?", False), ("other", "low", False)],
    )  # fmt: skip
    def test_findings(self, finding: str, severity: str, settled: bool) -> None:
        assert (settling([WAIVER], finding, severity) is not None) is settled

    def test_when_it_holds(self) -> None:
        def holds(at: datetime) -> bool:
            return in_force([WAIVER], "1.0.0", MANIFEST, (), at) == [WAIVER]

        assert holds(NOW)
        assert not holds(NOW - timedelta(hours=1))
        assert holds(WAIVER.expires - timedelta(seconds=1))
        assert not holds(WAIVER.expires)
        assert in_force([WAIVER], "2.0", MANIFEST, (), NOW) == []

    def test_nobody_waives_their_own(self) -> None:
        def holds(waiver: Waiver, *keyids: str) -> bool:
            return bool(in_force([waiver], "1.0.0", MANIFEST, keyids, NOW))

        approved = verify_waiver(signed(), delegation())
        assert holds(approved, OTHER.public.keyid)
        assert not holds(replace(approved, organisations=frozenset(["minds-lab"])))
        assert not holds(replace(approved, body="minds-lab"))
        assert not holds(approved, AUTHOR.public.keyid)
        assert not holds(approved, APPROVER.public.keyid)
