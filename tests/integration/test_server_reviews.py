"""Roles of reviewer bodies at the server: what is taken, what is refused, what waits and ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from reviewing import Bodies, _reviewed, world
from server_fixtures import ORG, Client, World, _fresh_registry, client, sara
from sqlalchemy import select

from forge_server.db.models import ReviewStatement
from forge_server.operate.check import check_registry
from forge_server.operate.worker import Worker
from forge_server.services import review_roles
from forge_server.services.publication import Publication
from signing.advisories import Advisory, sign_advisory
from signing.assessment import APPROVED
from signing.bodies import ADVISORY, DECISION, WAIVER, role_of, target_path
from signing.keys import generate_key
from signing.names import ComponentName
from signing.publisher_keys import FormerKeys, Revocation
from signing.review import CRITERIA, Verdict, sign_decision
from signing.review_edits import edit_reviews
from signing.role_edits import sign_role
from signing.roles import Delegation, parse_targets

__all__ = ["_fresh_registry", "_reviewed", "client", "sara", "world"]
NAME = ComponentName.parse(f"{ORG}/my-model")
PATH = target_path("cert", NAME, "1.0.0", DECISION)


@pytest.fixture
def bodies(_reviewed: Bodies, world: World) -> Bodies:
    return Bodies(world, dict(_reviewed.keys))


def verdict(world: World, **changed: Any) -> Verdict:
    now = world.clock().replace(microsecond=0)
    release = world.registry.catalogue.component(NAME).versions[0]
    made = Verdict(
        body="cert", component=NAME, version="1.0.0", manifest_sha256=release.manifest_sha256,
        passed=True, at=now, expires=now + timedelta(days=90), policy=CRITERIA,
    )  # fmt: skip
    return replace(made, **changed)


def offer(
    bodies: Bodies,
    statements: dict[str, bytes],
    listed: dict[str, bytes] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The body of a request that lists ``listed`` and brings ``statements`` along."""
    role = edit_reviews(
        bodies.world.current("reviews-cert"), "reviews-cert",
        add=statements if listed is None else listed,
        keys=[more.get("key", bodies.keys["cert"])], now=bodies.world.clock(),
    )  # fmt: skip
    return {
        "roles": {"reviews-cert": role.decode()},
        "targets": {path: data.decode() for path, data in statements.items()},
    }


def refused(who: Client, body: dict[str, Any], code: str, status: int) -> None:
    """Refused for that reason, and nothing of it is left."""
    told = who.post("/api/v1/roles", body, expect=status)
    assert code in (told["code"], told.get("check")), told
    answer = who.get(f"/api/v1/components/{NAME}/1.0.0/reviews", expect=200)
    assert (answer["level"], answer["decisions"]) == ("community", [])
    who.get("/tuf/1.reviews-cert.json", expect=404)


class TestWhatIsTaken:
    def test_a_decision_is_published_with_its_role(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        data = sign_decision(verdict(world), bodies.keys["cert"])
        done = sara.post("/api/v1/roles", offer(bodies, {PATH: data}), expect=200)
        assert done["accepted"] == {"reviews-cert": 1}
        folder, _, name = PATH.rpartition("/")
        with world.registry.database.read() as session:
            row = session.scalars(select(ReviewStatement)).one()
        assert sara.text(f"/tuf/targets/{folder}/{row.sha256}.{name}") == data
        answer = sara.get(f"/api/v1/components/{NAME}/1.0.0/reviews", expect=200)
        assert (answer["level"], answer["decisions"][0]["body"]) == ("reviewed", "cert")
        events = [event.action for event in world.registry.audit.newest(50)]
        assert "review.pass" in events
        assert check_registry(world.registry, deep=True).problems == ()

    def test_an_advisory_lowers_what_was_decided_before(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        bodies.decide("cert", str(NAME), "1.0.0")
        said = verdict(world)
        advisory = Advisory(
            body="cert", id="CERT-2026-1", component=NAME, severity="critical",
            title="It runs code", releases={"1.0.0": said.manifest_sha256}, text="When loaded.",
            at=said.at + timedelta(seconds=1),
        )  # fmt: skip
        path = target_path("cert", NAME, "CERT-2026-1", ADVISORY)
        data = sign_advisory(advisory, bodies.keys["cert"])
        sara.post("/api/v1/roles", offer(bodies, {path: data}), expect=200)
        answer = sara.get(f"/api/v1/components/{NAME}/1.0.0/reviews", expect=200)
        assert answer["level"] == "community"
        assert [one["code"] for one in answer["lapsed"]] == ["critical-finding"]
        assert answer["advisories"][0]["title"] == "It runs code"

    def test_the_word_of_a_key_that_was_taken_away_ends_at_once(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        bodies.decide("cert", str(NAME), "1.0.0")
        bodies.revoke("cert")
        answer = sara.get(f"/api/v1/components/{NAME}/1.0.0/reviews", expect=200)
        assert (answer["level"], answer["decisions"]) == ("community", [])
        assert [one["body"] for one in answer["lapsed"]] == ["cert"]

    def test_check_sees_a_file_that_is_gone(self, world: World, bodies: Bodies) -> None:
        digest = bodies.decide("cert", str(NAME), "1.0.0")
        folder, _, name = PATH.rpartition("/")
        file = f"targets/{folder}/{digest}.{name}"
        (world.root / "public" / file).unlink()
        assert check_registry(world.registry, deep=False).problems == (
            f"{file}: in the database, but not among the published files",
        )

    def test_a_crash_before_the_files_are_written_is_made_good(
        self, world: World, bodies: Bodies, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Publication, "materialise", die)
            with pytest.raises(KeyboardInterrupt):
                bodies.decide("cert", str(NAME), "1.0.0")
        world.registry.publication.materialise()
        assert check_registry(world.registry, deep=True).problems == ()
        with world.registry.database.read() as session:
            assert session.scalars(select(ReviewStatement)).one().stored_at is not None


class TestWhatIsRefused:
    def test_a_statement_that_is_not_listed(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        data = sign_decision(verdict(world), bodies.keys["cert"])
        refused(sara, offer(bodies, {PATH: data}, listed={}), "malformed", 400)

    def test_a_statement_that_is_listed_and_not_there(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        data = sign_decision(verdict(world), bodies.keys["cert"])
        refused(sara, offer(bodies, {}, listed={PATH: data}), "statement-missing", 422)

    def test_an_old_version_of_the_role(self, world: World, sara: Client, bodies: Bodies) -> None:
        first = offer(bodies, {PATH: sign_decision(verdict(world), bodies.keys["cert"])})
        sara.post("/api/v1/roles", first, expect=200)
        bodies.withdraw("cert", str(NAME), "1.0.0")
        told = sara.post("/api/v1/roles", first, expect=409)
        assert (told["code"], told["current_version"]) == ("role-version", 2)
        answer = sara.get(f"/api/v1/components/{NAME}/1.0.0/reviews", expect=200)
        assert answer["level"] == "community"

    def test_other_bytes_than_listed(self, world: World, sara: Client, bodies: Bodies) -> None:
        data = sign_decision(verdict(world), bodies.keys["cert"])
        body = offer(bodies, {PATH: data})
        body["targets"][PATH] = sign_decision(verdict(world), bodies.keys["cert"]).decode()
        refused(sara, body, "digest-mismatch", 422)

    @pytest.mark.parametrize(
        ("changed", "code", "status"),
        [
            ({"manifest_sha256": "00" * 32}, "release-not-found", 404),
            ({"version": "1.0.1"}, "name-mismatch", 422),
            ({"body": "other"}, "path-not-delegated", 422),
        ],
        ids=["other digest", "other version", "other body"],
    )
    def test_about_something_else(
        self, world: World, sara: Client, bodies: Bodies, changed: dict[str, Any], code: str,
        status: int,
    ) -> None:  # fmt: skip
        data = sign_decision(verdict(world, **changed), bodies.keys["cert"])
        refused(sara, offer(bodies, {PATH: data}), code, status)

    def test_signed_by_another(self, world: World, sara: Client, bodies: Bodies) -> None:
        stranger = generate_key("p256")
        data = sign_decision(verdict(world), stranger)
        refused(sara, offer(bodies, {PATH: data}), "key-unlisted", 422)
        good = sign_decision(verdict(world), bodies.keys["cert"])
        refused(sara, offer(bodies, {PATH: good}, key=stranger), "threshold-not-met", 422)

    def test_by_the_keys_of_the_server(self, world: World, sara: Client, bodies: Bodies) -> None:
        data = sign_decision(verdict(world), bodies.keys["cert"])
        keys = world.registry.publication.keys
        with world.registry.database.read() as session:
            online = keys.choose(world.current("root")).snapshot
            assert session is not None
        refused(sara, offer(bodies, {PATH: data}, key=online), "threshold-not-met", 422)

    def test_their_own_release(self, world: World, sara: Client, bodies: Bodies) -> None:
        bodies.belongs("cert", "National CERT", [ORG])
        data = sign_decision(verdict(world), bodies.keys["cert"])
        refused(sara, offer(bodies, {PATH: data}), "own-release", 403)

    def test_an_old_decision(self, world: World, sara: Client, bodies: Bodies) -> None:
        old = verdict(world).at - timedelta(days=100)
        data = sign_decision(verdict(world, at=old, expires=old + timedelta(days=99)),
                             bodies.keys["cert"])  # fmt: skip
        refused(sara, offer(bodies, {PATH: data}), "review-lapsed", 422)

    def test_a_decision_in_the_place_of_a_waiver(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        data = sign_decision(verdict(world), bodies.keys["cert"])
        path = target_path("cert", NAME, "X-1", WAIVER)
        refused(sara, offer(bodies, {path: data}), "malformed", 400)

    def test_under_the_path_of_another_body(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        data = sign_decision(verdict(world), bodies.keys["cert"])
        body = offer(bodies, {PATH: data})
        signed = parse_targets(body["roles"]["reviews-cert"].encode(), "x").signed
        other = target_path("lab", NAME, "1.0.0", DECISION)
        signed.targets = {other: signed.targets[PATH]}
        body["roles"]["reviews-cert"] = sign_role(signed, [bodies.keys["cert"]]).decode()
        body["targets"] = {other: data.decode()}
        refused(sara, body, "path-not-delegated", 422)

    def test_a_body_that_nobody_named(self, world: World, sara: Client, bodies: Bodies) -> None:
        role = edit_reviews(None, role_of("lab"), keys=[generate_key("p256")], now=world.clock())
        body = {"roles": {"reviews-lab": role.decode()}}
        refused(sara, body, "chain-broken", 422)

    def test_statements_of_several_bodies_at_once(self, sara: Client, bodies: Bodies) -> None:
        body = {**offer(bodies, {}), "targets": {PATH: "{}"}}
        body["roles"]["reviews-lab"] = body["roles"]["reviews-cert"]
        refused(sara, body, "malformed", 400)


class TestTheDesk:
    def test_what_waits(self, world: World, sara: Client, bodies: Bodies) -> None:
        def queue() -> list[Any]:
            waiting: list[Any] = sara.get("/api/v1/reviews/queue", expect=200)["queue"]
            return waiting

        assert [one["component"] for one in queue()] == [str(NAME)]
        bodies.decide("cert", str(NAME), "1.0.0")
        assert queue() == []
        sara.publish(world.release("another"))
        sara.publish(world.release(version="1.1.0"))
        assert [(one["component"], one["version"]) for one in queue()] == [
            (str(NAME), "1.1.0"), (f"{ORG}/another", "1.0.0"),
        ]  # fmt: skip
        assert queue()[0]["why"] == "a new version of a component that was reviewed"

    def test_who_is_at_it(self, world: World, sara: Client, bodies: Bodies) -> None:
        claim = {"component": str(NAME), "version": "1.0.0", "body": "cert", "hours": 24}
        path = "/api/v1/reviews/claims"
        sara.post(path, claim, expect=403, code="not-a-member")
        bodies.belongs("cert", "National CERT", [ORG])
        assert sara.post(path, claim, expect=200)["claimed_until"]
        (waiting,) = sara.get("/api/v1/reviews/queue", expect=200)["queue"]
        assert waiting["claimed_by"] == "cert"
        bodies.name("lab", "Lab", [ORG])
        sara.post(path, {**claim, "body": "lab"}, expect=409, code="claimed")
        sara.post(path, {**claim, "hours": 0}, expect=200)
        sara.post(path, {**claim, "body": "lab"}, expect=200)
        sara.post(path, {**claim, "body": "none"}, expect=404, code="body-not-found")
        sara.post(path, {**claim, "version": "9.0.0"}, expect=404, code="component-not-found")
        sara.post(path, {**claim, "hours": 169}, expect=400, code="malformed")
        Client(sara.flask).post(path, claim, expect=401, code="not-authenticated")

    def test_each_end_is_told_three_times(self, world: World, bodies: Bodies) -> None:
        bodies.decide("cert", str(NAME), "1.0.0", days=40)
        told: list[str] = []
        worker = Worker(world.registry, told.append)

        def notices() -> list[str]:
            told.clear()
            for _ in range(2):
                world.registry.expiry.notices()
            worker.once()
            return [line for line in told if "the decision of cert ends" in line]

        assert notices() == []
        for days, left in ((11, 30), (23, 7), (5, 1)):
            world.clock.ahead += timedelta(days=days)
            lines = world.registry.expiry.notices()
            (line,) = (line for line in lines if "decision" in line)
            assert f"ends within {left} day" in line
            assert notices() == []

    def test_figures_follow(self, world: World, sara: Client, bodies: Bodies) -> None:
        def counted() -> int:
            return sum(world.registry.registry_pages.figures().decisions.values())

        assert counted() == 0
        assert "No signed review" in sara.text("/en/statistics").decode()
        bodies.decide("cert", str(NAME), "1.0.0")
        assert counted() == 1
        assert "No signed review" not in sara.text("/en/statistics").decode()
        bodies.withdraw("cert", str(NAME), "1.0.0")
        assert counted() == 0

    def test_bodies(self, sara: Client, bodies: Bodies) -> None:
        (one,) = sara.get("/api/v1/reviews/bodies", expect=200)["bodies"]
        assert (one["body"], one["display_name"], one["has_signed"]) == (
            "cert", "National CERT", False,
        )  # fmt: skip
        bodies.decide("cert", str(NAME), "1.0.0")
        (one,) = sara.get("/api/v1/reviews/bodies", expect=200)["bodies"]
        assert one["has_signed"] is True

    def test_two_bodies(self, sara: Client, bodies: Bodies) -> None:
        bodies.name("lab", "Lab")
        bodies.decide("cert", str(NAME), "1.0.0")
        bodies.decide("lab", str(NAME), "1.0.0", number=3)
        assert sara.get(f"/api/v1/components/{NAME}/1.0.0/reviews", expect=200)["level"] == APPROVED
        sara.get(f"/api/v1/components/{NAME}/9.0.0/reviews", expect=404)


def test_who_signed_for_it_once_reviews_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own, retired, revoked = (generate_key("p256").public for _ in range(3))
    taken_back = Revocation(key=revoked, at=datetime(2026, 1, 1, tzinfo=UTC), reason="lost")
    publishers = Delegation(
        role="lab.name", keys=(own,), threshold=1, paths=(), profile=None,
        former=FormerKeys(retired=(retired,), revoked=(taken_back,)),
    )  # fmt: skip
    monkeypatch.setattr(review_roles, "signers_of", lambda *_: [publishers])
    nowhere: Any = None
    found = review_roles.keyids_of(nowhere, ComponentName.parse("lab/name"))
    assert found == {own.keyid, retired.keyid, revoked.keyid}
