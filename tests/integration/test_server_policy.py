"""Policies on the server: what may be published as one, and an organisation's own view."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from server_fixtures import Client, World, _fresh_registry, client, forge_toml, sara, world

from signing.facts import OpenFinding, Scan
from signing.names import ComponentName

__all__ = ["_fresh_registry", "client", "sara", "world"]
RULES = b'schema = 1\ntitle = "Baseline"\n[rules]\nlicences = ["Apache-2.0"]\n'


def policy_files(rules: bytes = RULES) -> dict[str, bytes]:
    return {"policy.toml": rules}


def toml(name: str = "baseline", version: str = "1.0.0") -> bytes:
    return forge_toml(name, version, kind="policy")


def test_a_policy_is_published_like_any_component(world: World, sara: Client) -> None:
    sara.publish(world.release(toml=toml(), files=policy_files()))
    assert sara.get("/api/v1/components/minds-lab/baseline")["kind"] == "policy"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"weights.bin": b"w"}, "a policy.toml among its files"),
        (policy_files(b"# none\n"), "an empty policy allows nothing"),
        (policy_files(RULES.replace(b"licences", b"licenses")), "did you mean 'licences'?"),
        (policy_files(b"#" * 300_000), "at most 262144 bytes"),
    ],
    ids=["none", "empty", "misspelt", "too large"],
)
def test_a_policy_that_nobody_can_read_is_not_published(
    world: World, sara: Client, files: dict[str, bytes], words: str
) -> None:
    built = world.release(toml=toml(), files=files)
    sara.put_blobs(built)
    answer = sara.post("/api/v1/releases", built.body(), expect=400, code="malformed")
    assert words in f"{answer['detail']} {answer.get('hint')}"
    sara.get("/api/v1/components/minds-lab/baseline", expect=404)


# --- an organisation's own view ------------------------------------------------------------------

POLICIES = "/api/v1/organisations/minds-lab/policies"
VIEW = "/api/v1/components/minds-lab/my-model/1.0.0/policy"
PINNED = {"policy": "minds-lab/baseline", "version": "1.0.0"}
NAME = ComponentName.parse("minds-lab/my-model")


def pin(world: World, sara: Client, rules: bytes = RULES) -> None:
    sara.publish(world.release(toml=toml(), files=policy_files(rules)))
    sara.publish(world.release())
    sara.call("PUT", POLICIES, PINNED, expect=200)


def rule_of(view: dict[str, object], name: str) -> dict[str, object]:
    (policy,) = view["policies"]  # type: ignore[misc]
    (rule,) = [each for each in policy["rules"] if each["rule"] == name]
    return rule  # type: ignore[no-any-return]


def test_an_organisation_sees_what_its_policy_permits(
    world: World, sara: Client, client: Client
) -> None:
    pin(world, sara)
    (shown,) = client.get(POLICIES)["policies"]
    assert shown["policy"] == "minds-lab/baseline"
    assert shown["rules"] == {"licences": "Apache-2.0"}
    assert shown["unusable"] is None
    view = client.get(f"{VIEW}?organisation=minds-lab", expect=200)
    assert view["permits"] is True
    assert rule_of(view, "licences")["found"] == "Apache-2.0"


def test_a_rule_that_is_broken_says_what_a_client_would_say(
    world: World, sara: Client, client: Client
) -> None:
    rules = RULES + b'cooldown-days = 7\nmax-severity = "low"\nreview-level = "reviewed"\n'
    pin(world, sara, rules)
    view = client.get(f"{VIEW}?organisation=minds-lab")
    assert view["permits"] is False
    cooldown = rule_of(view, "cooldown-days")
    assert cooldown["holds"] is False
    assert cooldown["unsigned"] is True
    assert "waiting until" in str(cooldown["satisfy"])
    assert rule_of(view, "review-level")["holds"] is False


def test_what_scanners_found_is_held_against_it(world: World, sara: Client) -> None:
    pin(world, sara, RULES + b'max-severity = "low"\n')
    policies = world.registry.policies
    known = replace(
        policies.sources,
        findings=lambda *_: [OpenFinding(id="a:b:c", severity="high")],
        scans=lambda *_: [Scan(scanner="a", state="findings", at=world.clock())],
    )
    clean = replace(known, findings=lambda *_: ())
    nobody = replace(clean, scans=lambda *_: ())
    for sources, permits in ((known, False), (clean, True), (nobody, False)):
        view = replace(policies, sources=sources).view("minds-lab", NAME, "1.0.0")
        assert view.permits is permits


def test_without_a_policy_nothing_is_said(world: World, sara: Client, client: Client) -> None:
    sara.publish(world.release())
    view = client.get(f"{VIEW}?organisation=minds-lab", expect=200)
    assert view["permits"] is None
    assert view["policies"] == []
    client.get(VIEW, expect=400, code="malformed")
    client.get(f"{VIEW}?organisation=nobody", expect=404, code="organisation-not-found")
    other = VIEW.replace("1.0.0", "9.9.9")
    client.get(f"{other}?organisation=minds-lab", expect=404, code="component-not-found")


def test_only_owners_pin_and_drop(world: World, sara: Client, client: Client) -> None:
    sara.publish(world.release(toml=toml(), files=policy_files()))
    client.call("PUT", POLICIES, PINNED, expect=401, code="not-authenticated")
    world.user("omar")
    omar = Client(client.flask, world.token("omar"))
    omar.call("PUT", POLICIES, PINNED, expect=403, code="not-a-member")
    for role in ("reader", "publisher"):
        path = "/api/v1/organisations/minds-lab/members/omar"
        sara.call("PUT", path, {"role": role}, expect=200)
        omar.call("PUT", POLICIES, PINNED, expect=403, code="role-too-low")
    sara.call("PUT", POLICIES, PINNED, expect=200)
    omar.call("DELETE", f"{POLICIES}/minds-lab/baseline", expect=403, code="role-too-low")
    sara.call("DELETE", f"{POLICIES}/minds-lab/baseline", expect=200)
    sara.call("DELETE", f"{POLICIES}/minds-lab/baseline", expect=404, code="policy-not-pinned")
    assert client.get(POLICIES)["policies"] == []


def test_what_is_no_policy_cannot_be_pinned(world: World, sara: Client) -> None:
    sara.publish(world.release())
    body = {"policy": "minds-lab/my-model", "version": "1.0.0"}
    answer = sara.call("PUT", POLICIES, body, expect=409, code="policy-unusable")
    assert "expected a component of kind policy, found a model" in answer["detail"]
    body = {"policy": "minds-lab/nothing", "version": "1.0.0"}
    sara.call("PUT", POLICIES, body, expect=404, code="component-not-found")


def test_another_version_takes_the_place_of_the_first(world: World, sara: Client) -> None:
    pin(world, sara)
    newer = RULES.replace(b"Apache-2.0", b"EUPL-1.2")
    sara.publish(world.release(toml=toml(version="1.1.0"), files=policy_files(newer)))
    view = sara.get(f"{VIEW}?organisation=minds-lab")
    assert view["permits"] is True  # nobody said that the newer one binds
    sara.call("PUT", POLICIES, {**PINNED, "version": "1.1.0"}, expect=200)
    assert [each["version"] for each in sara.get(POLICIES)["policies"]] == ["1.1.0"]
    assert sara.get(f"{VIEW}?organisation=minds-lab")["permits"] is False


def test_a_policy_whose_rules_are_gone_permits_nothing(world: World, sara: Client) -> None:
    pin(world, sara)
    world.registry.blobs.delete(hashlib.sha256(RULES).hexdigest())
    (shown,) = sara.get(POLICIES)["policies"]
    assert shown["unusable"] == "its rules cannot be read now"
    assert sara.get(f"{VIEW}?organisation=minds-lab")["permits"] is False
