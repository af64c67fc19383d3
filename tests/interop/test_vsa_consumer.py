"""Reviewers' decisions are accepted by a consumer of the standard that imports nothing of ours."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signing.keys import generate_key
from signing.names import ComponentName
from signing.review import CRITERIA, Verdict, sign_decision

CONSUMER = Path(__file__).parent / "judges" / "vsa_consumer.py"
KEY = generate_key("p256")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
VERDICT = Verdict(
    body="cert", component=ComponentName.parse("minds-lab/darija-lid"), version="1.0.0",
    manifest_sha256="ab" * 32, passed=True, number=2, at=NOW, expires=NOW + timedelta(days=90),
    policy=CRITERIA,
)  # fmt: skip
ASKED = {
    "verifier": "forge:reviews/cert",
    "digest": "ab" * 32,
    "resource": "forge:minds-lab/darija-lid@1.0.0",
    "level": "FORGE_ASSURANCE_LEVEL_2",
}


def consume(place: Path, envelope: bytes, **asked: str) -> subprocess.CompletedProcess[str]:
    (place / "vsa.json").write_bytes(envelope)
    (place / "key.pem").write_bytes(KEY.public.pem)
    return subprocess.run(
        [sys.executable, "-I", str(CONSUMER), str(place / "vsa.json"), str(place / "key.pem"),
         *{**ASKED, **asked}.values()],
        capture_output=True, text=True, check=False, cwd=place,
    )  # fmt: skip


def test_what_passed_is_accepted(tmp_path: Path) -> None:
    done = consume(tmp_path, sign_decision(VERDICT, KEY))
    assert (done.returncode, done.stdout) == (0, "accepted\n"), done.stderr


def test_the_consumer_looks_at_what_it_says(tmp_path: Path) -> None:
    data = sign_decision(VERDICT, KEY)
    for name, other in (
        ("verifier", "forge:reviews/lab"),
        ("digest", "00" * 32),
        ("resource", "forge:minds-lab/darija-lid@2.0.0"),
        ("level", "FORGE_ASSURANCE_LEVEL_3"),
    ):
        assert "refused" in consume(tmp_path, data, **{name: other}).stderr, name


@pytest.mark.parametrize("spoilt", ["result", "signature"])
def test_what_did_not_pass_is_refused(tmp_path: Path, spoilt: str) -> None:
    if spoilt == "result":
        rejected = Verdict(**{**fields(VERDICT), "passed": False, "reason": "It names people"})
        data = sign_decision(rejected, KEY)
    else:
        data = sign_decision(VERDICT, generate_key("p256"))
    assert consume(tmp_path, data).returncode != 0


def fields(verdict: Verdict) -> dict[str, object]:
    return {name: getattr(verdict, name) for name in verdict.__dataclass_fields__}
