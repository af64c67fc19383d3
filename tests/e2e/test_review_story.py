"""One story of review and recall, from publish to the last acknowledgement, with real commands.

Four people on machines of their own: a publisher, reviewers of two bodies, and an agency that holds
itself to a policy.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from live_registry import LiveRegistry
from programs import run_program

NAME = "minds-lab/my-model"
RELEASE = f"{NAME}==1.0.0"
POLICY = """schema = 1
title = "What our hospitals may use"

[rules]
review-level = "approved"
reviewers = ["gov-cert", "institute"]
max-severity = "low"
"""


class Person:
    """Somebody with an account, a key and a machine of their own."""

    def __init__(self, live: LiveRegistry, name: str) -> None:
        self.live, self.name = live, name
        self.home = live.place / f"home-{name}"
        self.environment = {**live.environment, "FORGE_HOME": str(self.home)}
        token = live.forge_server("user", "add", str(live.data), name)
        (live.place / f"{name}.token").write_text(token)
        self.must("login", live.url, "--fingerprint", live.fingerprint, "--token-file",
                  f"{name}.token")  # fmt: skip
        self.must("key", "new", "--insecure-unencrypted")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.live.forge_with(self.environment, *arguments)

    def must(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"{self.name}: forge {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.must(*arguments, "--json"))

    def organisation(self, name: str, kind: str) -> None:
        self.must("org", "create", name, "--kind", kind, "--display-name", name.title())
        self.live.forge("authority", "approve", name, "--authority", str(self.live.authority))

    def public_key(self, key: str = "default") -> str:
        path = f"{self.name}-{key}.pub"
        (self.live.place / path).write_text(self.must("key", "show", key, "--pem"))
        return path


def reviewers(live: LiveRegistry, body: str, *options: str) -> None:
    """The authority changes a body, as it changes anything."""
    number = len(list(live.place.glob("metadata-*")))
    folder, plan = f"metadata-{number}", f"plan-{number}.json"
    live.forge("authority", "fetch", folder)
    live.forge("authority", "reviewers", "add", body, *options, "--from", folder, "--dev",
               "-o", plan)  # fmt: skip
    key = str(live.authority / "targets.pem")
    live.forge("authority", "sign", plan, "--key", key, "--fingerprint", live.fingerprint, "--dev")
    live.forge("authority", "submit", plan)


def scan(live: LiveRegistry) -> None:
    """The worker does it within a minute; the operator at once."""
    done = run_program(
        "forge-server", ["scan", live.data, RELEASE], environment=live.environment,
        folder=live.place,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def live(tmp_path: Path) -> Any:
    with LiveRegistry(tmp_path) as registry:
        registry.register("minds-lab")
        yield registry


def test_from_publish_to_the_last_acknowledgement(live: LiveRegistry) -> None:
    # Published, with something in it that a scanner does not like.
    folder = live.new_component("minds-lab", "my-model")
    (folder / "notes.txt").write_text("mirror: AKIAIOSFODNN7EXAMPLE\n")
    live.forge("publish", "my-model")
    scan(live)
    found = json.loads(live.forge("finding", "list", RELEASE, "--json"))
    (finding,) = [one for one in found["findings"] if one["severity"] == "high"]
    assert (finding["path"], finding["open"]) == ("notes.txt", True)

    # Two bodies, neither of which belongs to the publisher.
    cert, institute = Person(live, "amina"), Person(live, "idir")
    cert.organisation("gov-cert", "government")
    institute.organisation("institute", "academic")
    reviewers(live, "gov-cert", "--key", cert.public_key(), "--display-name", "National CERT")
    reviewers(live, "institute", "--key", institute.public_key(), "--display-name", "Institute")

    # The publisher answers, a reviewer verifies, and the finding is settled.
    live.forge("finding", "answer", RELEASE, finding["id"], "--type", "false-positive",
               "--text", "It is the example key of the documentation")  # fmt: skip
    (answered,) = [
        one
        for one in cert.json("finding", "list", RELEASE)["findings"]
        if one["id"] == finding["id"]
    ]
    assert answered["open"] is True  # an answer settles nothing by itself
    cert.must("finding", "verify", RELEASE, finding["id"], "--body", "gov-cert", "--answer",
              str(answered["answer"]["number"]), "--reason", "Looked it up")  # fmt: skip
    assert cert.json("finding", "list", RELEASE, "--open")["findings"] == []

    # An agency that holds itself to a policy may not use it before two bodies said so.
    agency = Person(live, "hajar")
    agency.organisation("health-ministry", "government")
    policy = live.place / "baseline"
    agency.must("init", str(policy), "--org", "health-ministry", "--name", "baseline", "--kind",
                "policy")  # fmt: skip
    (policy / "policy.toml").write_text(POLICY)
    agency.must("publish", str(policy))
    agency.must("policy", "use", "health-ministry/baseline", "--machine")
    refused = agency.run("install", NAME, "--into", "hospital")
    assert (refused.returncode, "review-level" in refused.stderr) == (7, True), refused.stderr

    # Looked at, by both.
    cert.must("review", "claim", RELEASE, "--as", "gov-cert")
    cert.must("review", "approve", RELEASE, "--scope", "Text of forms")
    assert agency.run("install", NAME, "--into", "hospital").returncode == 7
    institute.must("review", "approve", RELEASE, "--level", "approved", "--conditions",
                   "With a person in the loop")  # fmt: skip
    assert institute.json("review", "show", RELEASE)["level"] == "approved"
    agency.must("inventory", "on", "--organisation", "health-ministry", "--label", "ward-7")
    agency.must("install", NAME, "--into", "hospital")
    agency.must("audit", "hospital")

    # A reviewer's key is revoked: what it signed stops counting, without anybody acting.
    old = cert.json("key", "show")["keyid"]
    cert.must("key", "new", "fresh", "--insecure-unencrypted")
    reviewers(live, "gov-cert", "--key", cert.public_key("fresh"), "--remove", old)
    refused = agency.run("install", NAME, "--into", "other", "--upgrade")
    assert (refused.returncode, "review-level" in refused.stderr) == (7, True), refused.stderr
    assert "gov-cert" in refused.stderr  # the reason names whose word does not count any more
    assert agency.run("audit", "hospital").returncode == 7

    # Decided anew with the new key.
    cert.must("review", "approve", RELEASE, "--as", "gov-cert", "--key", "fresh")
    agency.must("install", NAME, "--into", "other", "--upgrade")
    assert agency.run("audit", "hospital").returncode == 0

    # Recalled: who has it is reached, and counted until the last has acted.
    live.forge("recall", "start", RELEASE, "--reason", "It names people")
    assert json.loads(live.forge("recall", "show", RELEASE, "--json"))["notified"] == 0
    told = agency.run("audit", "hospital")
    assert "recalled" in told.stdout, told.stdout
    assert "It names people" in told.stdout
    notices = agency.json("recall", "list", "--organisation", "health-ministry")
    assert RELEASE in json.dumps(notices)
    agency.must("recall", "ack", RELEASE, "--organisation", "health-ministry")
    agency.must("recall", "remedied", RELEASE, "--organisation", "health-ministry")
    counted = json.loads(live.forge("recall", "show", RELEASE, "--json"))
    assert (counted["hosts"], counted["agencies"]) == (1, 1)
    assert (counted["notified"], counted["acknowledged"], counted["remedied"]) == (1, 1, 1)
