"""What pinned policies rest on beside the release: the registry's word, its age, and reviews."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from builders import NAME, Release, World
from cli_fixtures import Forge
from forge_client import forge
from policed_forge import OUT, served, world
from policies import BASELINE, PICKLE, days_ago, name_body, publish_policy, review, said, withdraw

from signing.keys import PrivateKey

__all__ = ["forge", "world"]


# --- the registry's word, and how old it may be --------------------------------------------------

COOLDOWN = "cooldown-days = 7"


def test_a_cooldown_rests_on_the_registrys_word_and_says_so(forge: Forge, world: World) -> None:
    publish_policy(world, COOLDOWN, "2.0.0")
    dates = {"1.0.0": days_ago(world, 30), "1.1.0": days_ago(world, 2)}
    with served(forge, world, {**said(dates)}):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge.ok("install", str(NAME), *OUT)
        assert f"passed over {NAME}==1.1.0" in ran.err
        assert "(the registry's word, unsigned)" in ran.err


def test_when_nobody_says_when_it_was_published_it_is_refused(forge: Forge, world: World) -> None:
    publish_policy(world, COOLDOWN, "2.0.0")
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge("install", str(NAME), *OUT)
        assert ran.code == 7
        assert "found unknown" in ran.err


def test_a_warm_installation_makes_no_request(forge: Forge, world: World) -> None:
    publish_policy(world, f'{COOLDOWN}\n{PICKLE}\nmax-severity = "low"', "2.0.0")
    scans = [{"scanner": "a", "state": "clean", "finished_at": world.now.isoformat()}]
    answers = said({"1.0.0": days_ago(world, 30)}, findings=[], scans=scans)
    with served(forge, world, {**answers}) as server:
        forge.ok("policy", "use", str(BASELINE))
        forge.ok("install", f"{NAME}==1.0.0", *OUT)
        server.requests.clear()
        for args in (("install", f"{NAME}==1.0.0"), ("install", "--locked"), ("sync",)):
            ran = forge.ok(*args, *OUT)
            assert server.paths() == [], args
            assert "reviews, findings and scans as of" in ran.err
            assert "no request was made for them" in ran.err


def set_back(forge: Forge, world: World, days: float) -> None:
    """Makes what is kept look as if it had been asked for so many days ago."""
    for path in (forge.home / "trust").glob("*/facts/*.json"):
        value = json.loads(path.read_bytes())
        if value["facts"]["known_at"] is not None:
            value["facts"]["known_at"] = days_ago(world, days).isoformat()
            path.write_text(json.dumps(value))


def test_what_is_out_of_date_is_asked_for_again(forge: Forge, world: World) -> None:
    publish_policy(world, 'max-severity = "low"', "2.0.0")
    scans = [{"scanner": "a", "state": "clean", "finished_at": world.now.isoformat()}]
    dates = {"1.0.0": days_ago(world, 30)}
    with served(forge, world, {**said(dates, findings=[], scans=scans)}) as server:
        forge.ok("policy", "use", str(BASELINE))
        forge.ok("install", f"{NAME}==1.0.0", *OUT)
        found = [{"id": "a:b:c", "severity": "critical"}]
        server.files.update(said(dates, findings=found, scans=scans))
        forge.ok("sync", *OUT)
        set_back(forge, world, 1.1)
        ran = forge("sync", *OUT)
        assert ran.code == 7
        assert "critical: a:b:c" in ran.err


def test_without_a_network_old_knowledge_counts_for_a_month(forge: Forge, world: World) -> None:
    publish_policy(world, 'max-severity = "low"', "2.0.0")
    scans = [{"scanner": "a", "state": "clean", "finished_at": world.now.isoformat()}]
    with served(forge, world, {**said({"1.0.0": world.now}, findings=[], scans=scans)}):
        forge.ok("policy", "use", str(BASELINE))
        forge.ok("install", f"{NAME}==1.0.0", *OUT)
    set_back(forge, world, 20)
    ran = forge.ok("sync", *OUT)
    assert "20 days ago; the registry could not be reached for them" in ran.err
    set_back(forge, world, 31)
    ran = forge("sync", *OUT)
    assert ran.code == 7
    assert "max-severity: wants no open finding above low, found unknown" in ran.err


def test_a_registry_that_stops_to_answer_about_findings_is_not_believed(
    forge: Forge, world: World
) -> None:
    publish_policy(world, 'max-severity = "low"', "2.0.0")
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        assert forge("install", f"{NAME}==1.0.0", *OUT).code == 7


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('review-level = "reviewed"', "wants reviewed, found community"),
        ('witnesses = ["w"]', "unknown: no proof by the public log"),
        ('organisation-kinds = ["government"]', "found startup"),
        ('organisations-denied = ["minds-lab"]', "found minds-lab"),
    ],
)
def test_what_is_signed_or_missing_decides(
    forge: Forge, world: World, rules: str, words: str
) -> None:
    publish_policy(world, rules, "2.0.0")
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge("install", str(NAME), *OUT)
        assert ran.code == 7
        assert words in ran.err


def test_the_age_of_a_policy_itself_needs_no_request(forge: Forge, world: World) -> None:
    with served(forge, world) as server:
        forge.ok("policy", "use", str(BASELINE))
        server.requests.clear()
        forge.ok("policy", "show")
        assert server.paths() == []


# --- reviews -------------------------------------------------------------------------------------

REVIEWED = 'review-level = "reviewed"'


@dataclass(frozen=True)
class Reviewed:
    """A world with two bodies, of which cert-ma passed version 1.0.0."""

    world: World
    release: Release
    keys: dict[str, PrivateKey]


@pytest.fixture
def reviewed(world: World) -> Reviewed:
    keys = {body: name_body(world, body) for body in ("cert-ma", "ai-institute")}
    release = world.releases[f"{NAME}==1.0.0"]
    review(world, "cert-ma", keys["cert-ma"], release)
    return Reviewed(world, release, keys)


def bound(forge: Forge, world: World, rules: str = REVIEWED) -> None:
    """Pins ``rules`` on a server that has been started."""
    forge.ok("policy", "use", f"{BASELINE}==2.0.0")
    assert rules.partition(" ")[0] in forge.ok("policy", "show").out


def test_what_a_body_reviewed_is_chosen_before_what_is_newer(
    forge: Forge, reviewed: Reviewed
) -> None:
    publish_policy(reviewed.world, REVIEWED, "2.0.0")
    with served(forge, reviewed.world) as server:
        bound(forge, reviewed.world)
        ran = forge.ok("install", str(NAME), *OUT)
        assert f"{NAME}==1.0.0" in ran.out
        assert f"passed over {NAME}==1.1.0" in ran.err
        server.requests.clear()
        forge.ok("sync", *OUT)
        assert server.paths() == []


def test_only_the_named_bodies_count(forge: Forge, reviewed: Reviewed) -> None:
    publish_policy(reviewed.world, f'{REVIEWED}\nreviewers = ["ai-institute"]', "2.0.0")
    with served(forge, reviewed.world):
        bound(forge, reviewed.world)
        ran = forge("install", str(NAME), *OUT)
        assert ran.code == 7
        assert "wants reviewed by ai-institute, found community" in ran.err
        only = forge("install", f"{NAME}==1.0.0", *OUT)
        assert "the policy takes no review by cert-ma" in only.err


def test_a_second_body_makes_it_approved(forge: Forge, reviewed: Reviewed) -> None:
    publish_policy(reviewed.world, 'review-level = "approved"', "2.0.0")
    with served(forge, reviewed.world) as server:
        bound(forge, reviewed.world)
        assert forge("install", f"{NAME}==1.0.0", *OUT).code == 7
        second = reviewed.keys["ai-institute"]
        review(reviewed.world, "ai-institute", second, reviewed.release, number=3)
        server.files.update(reviewed.world.files())
        forge.ok("install", f"{NAME}==1.0.0", *OUT)


def hide(world: World, how: str) -> None:
    if how == "role":
        del world.roles["reviews-cert-ma"]
        world.publish_metadata()
    else:
        world.targets.clear()


@pytest.mark.parametrize(
    ("how", "words"),
    [("role", "found community"), ("envelope", "unknown: no reviews could be read")],
)
def test_a_registry_that_hides_reviews_is_refused(
    forge: Forge, reviewed: Reviewed, how: str, words: str
) -> None:
    """The downgrade: it was reviewed, and now it looks as if nobody had."""
    publish_policy(reviewed.world, REVIEWED, "2.0.0")
    hide(reviewed.world, how)
    with served(forge, reviewed.world):
        bound(forge, reviewed.world)
        ran = forge("install", f"{NAME}==1.0.0", *OUT)
        assert ran.code == 7, ran.err
        assert words in ran.err
        assert forge.nothing_installed()


def test_who_saw_a_bodys_role_before_sees_that_it_is_hidden(
    forge: Forge, reviewed: Reviewed
) -> None:
    publish_policy(reviewed.world, REVIEWED, "2.0.0")
    with served(forge, reviewed.world) as server:
        bound(forge, reviewed.world)
        hide(reviewed.world, "role")
        server.files.update(reviewed.world.files())
        ran = forge("install", f"{NAME}==1.0.0", *OUT)
        assert ran.code == 3, ran.err
        assert "reviews-cert-ma" in ran.err
        assert forge.nothing_installed()


def test_what_was_withdrawn_does_not_count_and_is_told(forge: Forge, reviewed: Reviewed) -> None:
    world = reviewed.world
    publish_policy(world, REVIEWED, "2.0.0")
    with served(forge, world) as server:
        bound(forge, world)
        forge.ok("install", str(NAME), *OUT)
        assert forge.ok("audit", "out", "--json").json["permits"] is True
        withdraw(world, "cert-ma", reviewed.keys["cert-ma"], reviewed.release)
        server.files.update(world.files())
        ran = forge("audit", "out")
        assert ran.code == 7
        assert "review-withdrawn: cert-ma took back what it decided" in ran.out
        assert "policy-refused" in ran.out
        assert forge("sync", *OUT).code == 7  # what the audit learnt is known from then on


def test_a_reviewers_key_that_is_taken_away_ends_it(forge: Forge, reviewed: Reviewed) -> None:
    world = reviewed.world
    publish_policy(world, REVIEWED, "2.0.0")
    with served(forge, world) as server:
        bound(forge, world)
        forge.ok("install", str(NAME), *OUT)
        name_body(world, "cert-ma")  # with another key
        server.files.update(world.files())
        ran = forge("audit", "out")
        assert ran.code == 7
        assert "review-lapsed: cert-ma" in ran.out
