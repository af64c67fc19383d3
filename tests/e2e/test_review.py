"""Reviewer bodies with a real registry: named, deciding, withdrawn, their keys taken away.

What one chapter does the next builds upon, so each test here is a story; commands are run as their
users run them, in processes of their own (`programs`).
"""

from __future__ import annotations

import json
import pickle
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_registry import LiveRegistry, copied

NAME = "minds-lab/my-model"
RELEASE = f"{NAME}==1.0.0"


@pytest.fixture(scope="module")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two reviewer bodies, and one release; nobody serves it."""
    with LiveRegistry(tmp_path_factory.mktemp("prepared")) as registry:
        registry.register("minds-lab")
        registry.new_component("minds-lab", "my-model")
        registry.forge("publish", "my-model")
        for body in ("cert", "institute"):
            registry.forge("key", "new", body, "--insecure-unencrypted")
            public(registry, body)
            reviewers(registry, body, "--key", f"{body}.pub", "--display-name", body.title())
        registry.stop()  # in order, for the copies
    return registry.place


@pytest.fixture
def live(_prepared: Path, tmp_path: Path) -> Iterator[LiveRegistry]:
    """A copy of that, and its server."""
    with copied(_prepared, tmp_path) as registry:
        yield registry


def reviewers(live: LiveRegistry, body: str, *options: str, verb: str = "add") -> None:
    """The authority changes a body, as it changes anything."""
    number = len(list(live.place.glob("metadata-*")))
    folder, plan = f"metadata-{number}", f"plan-{number}.json"
    live.forge("authority", "fetch", folder)
    live.forge("authority", "reviewers", verb, body, *options, "--from", folder, "--dev",
               "-o", plan)  # fmt: skip
    key = str(live.authority / "targets.pem")
    live.forge("authority", "sign", plan, "--key", key, "--fingerprint", live.fingerprint, "--dev")
    live.forge("authority", "submit", plan)


def public(live: LiveRegistry, name: str) -> None:
    (live.place / f"{name}.pub").write_text(live.forge("key", "show", name, "--pem"))


def run(live: LiveRegistry, *arguments: str) -> subprocess.CompletedProcess[str]:
    return live.forge_with(live.environment, *arguments)


def shown(live: LiveRegistry) -> dict[str, Any]:
    """What a client makes of the release, and the registry the same."""
    found: dict[str, Any] = json.loads(live.forge("review", "show", RELEASE, "--json"))
    with urllib.request.urlopen(f"{live.url}/api/v1/components/{NAME}/1.0.0/reviews") as answer:
        theirs = json.load(answer)
    assert theirs["level"] == found["level"]
    assert [one["code"] for one in theirs["lapsed"]] == [one["code"] for one in found["lapsed"]]
    return found


def test_two_bodies_approve_a_release(live: LiveRegistry) -> None:
    assert shown(live)["level"] == "community"
    queue = json.loads(live.forge("review", "queue", "--json"))
    assert [one["component"] for one in queue["queue"]] == [NAME]
    first = live.forge("review", "approve", RELEASE, "--as", "cert", "--key", "cert",
                       "--scope", "Text", "--json")  # fmt: skip
    assert json.loads(first)["sent"] is True
    assert shown(live)["level"] == "reviewed"
    assert json.loads(live.forge("review", "queue", "--json"))["queue"] == []
    live.forge("review", "approve", RELEASE, "--key", "institute", "--level", "approved",
               "--conditions", "With a person in the loop", "--expires", "20d")  # fmt: skip
    found = shown(live)
    assert found["level"] == "approved"
    assert [one["body"] for one in found["decisions"]] == ["cert", "institute"]
    cert, institute = found["decisions"]
    assert institute["inputs"] == [cert["sha256"]]  # it rests on the other one
    assert institute["conditions"] == "With a person in the loop"
    ending = json.loads(live.forge("review", "queue", "--expiring", "--json"))["expiring"]
    assert [one["body"] for one in ending] == ["institute"]
    verified = live.forge("verify", RELEASE, "--json")
    (check,) = [one for one in json.loads(verified)["checks"] if one["title"] == "reviews"]
    assert check["status"] == "passed"
    assert check["detail"].startswith("approved by cert, institute, until ")


def test_withdrawn_and_rejected(live: LiveRegistry) -> None:
    live.forge("review", "approve", RELEASE, "--key", "cert")
    live.forge("review", "withdraw", RELEASE, "--key", "cert")
    assert shown(live)["level"] == "community"
    again = run(live, "review", "withdraw", RELEASE, "--key", "cert")
    assert (again.returncode, "cert: nothing of it is listed" in again.stderr) == (6, True), (
        again.stderr
    )
    live.forge("review", "approve", RELEASE, "--key", "cert")
    live.forge("review", "reject", RELEASE, "--key", "institute", "--reason", "It leaks names")
    found = shown(live)
    assert (found["level"], found["rejected_by"]) == ("community", ["institute"])
    assert found["decisions"][1]["reason"] == "It leaks names"


def test_a_reviewers_key_is_taken_away(live: LiveRegistry) -> None:
    live.forge("review", "approve", RELEASE, "--key", "cert")
    old = json.loads(live.forge("key", "show", "cert", "--json"))["keyid"]
    live.forge("key", "new", "fresh", "--insecure-unencrypted")
    public(live, "fresh")
    reviewers(live, "cert", "--key", old, "--replace", "fresh.pub", verb="remove")
    found = shown(live)
    assert found["level"] == "community"
    assert [one["code"] for one in found["lapsed"]] == ["threshold-not-met"]
    live.forge("verify", RELEASE)  # genuine all the same
    live.forge("install", NAME, "--into", "out")
    stranger = run(live, "review", "approve", RELEASE, "--as", "cert", "--key", "cert")
    assert (stranger.returncode, "may not review for cert" in stranger.stderr) == (4, True)
    renewed = run(live, "review", "renew", RELEASE, "--as", "cert", "--key", "fresh")
    assert (renewed.returncode, "present reviewers" in renewed.stderr) == (5, True)
    live.forge("review", "approve", RELEASE, "--as", "cert", "--key", "fresh")
    assert shown(live)["level"] == "reviewed"
    live.forge("review", "renew", RELEASE, "--key", "fresh", "--expires", "300d")
    assert shown(live)["level"] == "reviewed"


def test_nobody_reviews_their_own(live: LiveRegistry) -> None:
    reviewers(live, "cert", "--belongs-to", "minds-lab")
    own = run(live, "review", "approve", RELEASE, "--key", "cert")
    assert (own.returncode, "nobody reviews a release of their own" in own.stderr) == (4, True)
    public(live, "default")
    reviewers(live, "institute", "--key", "default.pub")
    publisher = run(live, "review", "approve", RELEASE, "--as", "institute", "--key", "default")
    assert (publisher.returncode, "signs for it" in publisher.stderr) == (4, True)
    assert shown(live)["level"] == "community"


def test_a_body_of_which_two_must_sign(live: LiveRegistry) -> None:
    live.forge("key", "new", "second", "--insecure-unencrypted")
    public(live, "second")
    reviewers(live, "cert", "--key", "second.pub", "--threshold", "2")
    first = live.forge("review", "approve", RELEASE, "--as", "cert", "--key", "cert",
                       "--out", "carry.json", "--json")  # fmt: skip
    assert json.loads(first)["sent"] is False
    assert shown(live)["level"] == "community"
    live.forge("review", "sign", "carry.json", "--as", "cert", "--key", "second")
    assert shown(live)["level"] == "reviewed"


def waive(live: LiveRegistry, *more: str) -> subprocess.CompletedProcess[str]:
    return run(live, "review", "waive", NAME, "--id", "CERT-2026-1", "--format", "pickle",
               "--versions", ">=1.1,<2", "--severity", "high", "--expires", "60d",
               "--reason", "Read opcode by opcode", "--out", "waiver.json", *more)  # fmt: skip


def test_two_reviewers_waive_a_format(live: LiveRegistry) -> None:
    alone = waive(live, "--key", "cert")
    assert (alone.returncode, "is signed by two" in alone.stderr) == (4, True), alone.stderr
    live.forge("key", "new", "second", "--insecure-unencrypted")
    public(live, "second")
    reviewers(live, "cert", "--key", "second.pub")
    edited = live.place / "my-model" / "forge.toml"
    edited.write_text(edited.read_text().replace('"1.0.0"', '"1.1.0"', 1))
    (live.place / "my-model" / "extra.pkl").write_bytes(pickle.dumps([1, 2, 3]))
    publish = ("publish", "my-model", "--waived")

    too_long = waive(live, "--key", "cert", "--expires", "91d")
    assert (too_long.returncode, "at most 90 days" in too_long.stderr) == (2, True)
    digest = json.loads(live.forge("review", "show", RELEASE, "--json"))["manifest_sha256"]
    one = ("review", "waive", NAME, "--id", "CERT-2026-2", "--finding", "scanner:rule:1",
           "--severity", "low", "--reason", "It is a word", "--expires", "180d",
           "--as", "cert", "--key", "cert")  # fmt: skip
    assert run(live, *one).returncode == 2  # of which releases?
    live.forge(*one, "--digest", f"sha256:{digest}")
    live.forge("review", "sign", "CERT-2026-2.waiver.json", "--key", "second")
    assert "cert: scanner:rule:1, " in live.forge("review", "show", RELEASE)
    begun = waive(live, "--as", "cert", "--key", "cert")
    assert (begun.returncode, "must approve it" in begun.stdout + begun.stderr) == (0, True)
    refused = run(live, *publish)
    assert "executes code" in refused.stderr, refused.stderr
    author = run(live, "review", "sign", "waiver.json", "--key", "cert")
    assert (author.returncode, "does not approve it" in author.stderr) == (4, True), author.stderr
    approved = run(live, "review", "sign", "waiver.json", "--key", "second")
    assert approved.returncode == 0, approved.stderr
    assert "waives    format pickle" in approved.stdout + approved.stderr
    live.forge(*publish)
    found = json.loads(live.forge("review", "show", f"{NAME}==1.1.0", "--json"))
    (one,) = found["waivers"]
    assert (one["id"], one["body"], one["formats"]) == ("CERT-2026-1", "cert", ["pickle"])
    assert found["lapsed"] == []
    assert "(CERT-2026-1)" in live.forge("review", "show", f"{NAME}==1.1.0")
    live.forge("verify", f"{NAME}==1.1.0")

    live.forge("review", "withdraw", NAME, "--id", "CERT-2026-1", "--as", "cert", "--key", "cert")
    assert json.loads(live.forge("review", "show", f"{NAME}==1.1.0", "--json"))["waivers"] == []
    again = run(live, "review", "withdraw", NAME, "--id", "CERT-2026-1", "--key", "cert")
    assert (again.returncode, "is listed" in again.stderr) == (6, True), again.stderr

    edited.write_text(edited.read_text().replace('"1.1.0"', '"1.2.0"', 1))
    assert "executes code" in run(live, *publish).stderr


def test_nobody_waives_their_own(live: LiveRegistry) -> None:
    live.forge("key", "new", "second", "--insecure-unencrypted")
    public(live, "second")
    reviewers(live, "cert", "--key", "second.pub", "--belongs-to", "minds-lab")
    own = waive(live, "--as", "cert", "--key", "cert")
    assert (own.returncode, "another body must look" in own.stderr) == (4, True), own.stderr


def test_an_advisory_lowers_the_level_at_once(live: LiveRegistry) -> None:
    live.forge("review", "approve", RELEASE, "--key", "cert")
    assert shown(live)["level"] == "reviewed"
    time.sleep(1.1)  # statements are dated to the second, and only a later one counts
    live.forge("review", "advise", NAME, "--id", "INST-2026-1", "--severity", "critical",
               "--versions", "1.0.0", "--title", "It runs code", "--text", "When it is loaded.",
               "--key", "institute")  # fmt: skip
    found = shown(live)
    assert (found["level"], found["advisories"][0]["id"]) == ("community", "INST-2026-1")
    assert [one["code"] for one in found["lapsed"]] == ["critical-finding"]
    assert "It runs code" in live.forge("review", "show", RELEASE)
    live.forge("review", "withdraw", NAME, "--id", "INST-2026-1", "--key", "institute")
    assert shown(live)["level"] == "reviewed"
