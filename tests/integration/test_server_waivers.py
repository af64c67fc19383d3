"""Waivers at the server: what two reviewers let pass, for whom it does not, and that it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hostile_models import torch_zip
from reviewing import Bodies, _reviewed, world
from server_fixtures import ORG, Client, World, _fresh_registry, client, sara, schema_engine
from sqlalchemy import select, update

from forge_server.db.migrations.versions import v0016_webhooks
from forge_server.db.models import Finding, ReviewStatement, Role
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR
from forge_server.services.components import find_release
from forge_server.services.rolebook import add_role, expiries, require_role
from signing.bodies import WAIVER, role_of, target_path
from signing.errors import MalformedError
from signing.keys import PrivateKey
from signing.names import ComponentName
from signing.review_edits import edit_reviews
from signing.waivers import Waiver, approve_waiver, begin_waiver

__all__ = ["_fresh_registry", "_reviewed", "client", "sara", "world"]
NAME = f"{ORG}/my-model"
ID = "picklescan:global:0123456789ab"


@pytest.fixture
def bodies(_reviewed: Bodies, world: World) -> Bodies:
    """With a critical finding that is newer than what a body says now."""
    with world.registry.database.write() as session:
        session.add(
            Finding(
                manifest_sha256=manifest(world), id=ID, scanner="picklescan", severity="critical",
                path="weights.bin", location="", title="os.system", gone_at=None,
                first_seen_at=world.clock() + timedelta(minutes=1), last_seen_at=world.clock(),
            )
        )  # fmt: skip
    return Bodies(world, dict(_reviewed.keys))


@pytest.fixture
def approver(bodies: Bodies) -> PrivateKey:
    return bodies.second("cert")


def manifest(world: World) -> str:
    name = ComponentName.parse(NAME)
    return world.registry.catalogue.component(name).versions[0].manifest_sha256


def is_open(who: Client) -> bool:
    """Whether the finding counts, by everything that shows it."""
    found = who.get(f"/api/v1/components/{NAME}/1.0.0/findings", expect=200)
    (one,) = found["findings"]
    assert (one["waived"], one["waiver"] is None) == (not one["open"], one["open"])
    security = who.get(f"/en/{NAME}/security.json", expect=200)["assurance"]
    assert found["open"] == security["open_findings"] == int(one["open"])
    assert (security["findings"][0]["waiver"] is None) is one["open"]
    return bool(one["open"])


def held_against_policies(world: World) -> list[str]:
    name = ComponentName.parse(NAME)
    with world.registry.database.read() as session:
        release = find_release(session, name, "1.0.0")
        assert release is not None
        findings = world.registry.policies.facts(session, name, release).findings
    assert findings is not None
    return [one.id for one in findings]


def level(who: Client) -> str:
    found: str = who.get(f"/api/v1/components/{NAME}/1.0.0/reviews", expect=200)["level"]
    return found


def offer(bodies: Bodies, waiver: Waiver, data: bytes) -> dict[str, Any]:
    path = target_path(waiver.body, waiver.component, waiver.id, WAIVER)
    role = role_of(waiver.body)
    listed = edit_reviews(
        bodies.world.current(role), role, add={path: data}, keys=[bodies.keys[waiver.body]],
        now=bodies.world.clock(),
    )  # fmt: skip
    return {"roles": {role: listed.decode()}, "targets": {path: data.decode()}}


def test_a_waived_finding_is_not_open_until_it_ends(
    world: World, sara: Client, bodies: Bodies, approver: PrivateKey
) -> None:
    bodies.decide("cert", NAME, "1.0.0")
    assert is_open(sara)
    assert level(sara) == "community"  # something critical became known since
    waiver = bodies.waiver("cert", NAME, findings=(ID,))
    bodies.waive(waiver, approver)
    assert not is_open(sara)
    assert held_against_policies(world) == []
    assert level(sara) == "reviewed"
    world.registry.index.refresh()
    assert searched(sara) == "reviewed"
    (shown,) = sara.get(f"/api/v1/components/{NAME}/1.0.0/reviews")["waivers"]
    assert (shown["id"], shown["approver"]) == ("W-1", approver.public.keyid)
    assert "Waived by" in sara.text(f"/en/{NAME}/security").decode()
    assert "review.waive" in [event.action for event in world.registry.audit.newest(50)]
    assert check_registry(world.registry, deep=True).problems == ()
    world.clock.ahead += timedelta(days=15)  # nobody acts
    assert is_open(sara)
    assert held_against_policies(world) == [ID]
    assert level(sara) == "community"
    world.registry.index.refresh()
    assert searched(sara) == "community"


def searched(who: Client) -> str:
    (hit,) = who.get("/en/search.json?q=my-model", expect=200)["hits"]
    return str(hit["review"])


def test_it_is_withdrawn(bodies: Bodies, sara: Client, approver: PrivateKey) -> None:
    bodies.waive(bodies.waiver("cert", NAME, findings=(ID,)), approver)
    assert not is_open(sara)
    bodies.withdraw("cert", NAME, "W-1", WAIVER)
    assert is_open(sara)


@pytest.mark.parametrize(
    "changed",
    [
        {"findings": ("another",)}, {"versions": ">1.0"}, {"severity": "high"},
        {"versions": None, "manifest_sha256": "00" * 32},
    ],
    ids=", ".join,
)  # fmt: skip
def test_what_it_does_not_cover(
    bodies: Bodies, sara: Client, approver: PrivateKey, changed: dict[str, Any]
) -> None:
    bodies.waive(bodies.waiver("cert", NAME, **{"findings": (ID,), **changed}), approver)
    assert is_open(sara)


def test_whose_key_is_taken_away_waives_nothing(
    bodies: Bodies, sara: Client, approver: PrivateKey
) -> None:
    bodies.waive(bodies.waiver("cert", NAME, findings=(ID,)), approver)
    assert not is_open(sara)
    bodies.revoke("cert")
    assert is_open(sara)


def test_a_pickle_is_published_with_a_waiver_alone(
    world: World, sara: Client, bodies: Bodies, approver: PrivateKey
) -> None:
    built = world.release(version="1.1.0", files={"model.pt": torch_zip()})
    sara.put_blobs(built)
    sara.post("/api/v1/releases", built.body(), expect=422, code="unsafe-format")
    bodies.waive(bodies.waiver("cert", NAME, findings=("pickle",)), approver)
    sara.post("/api/v1/releases", built.body(), expect=422, code="unsafe-format")
    digest = built.manifest.digest
    bodies.waive(
        bodies.waiver("cert", NAME, id="W-2", formats=("pickle",), versions=None,
                      manifest_sha256=digest),
        approver,
    )  # fmt: skip
    other = world.release(version="1.2.0", files={"model.pt": torch_zip(b"other")})
    sara.put_blobs(other)
    sara.post("/api/v1/releases", other.body(), expect=422, code="unsafe-format")
    world.clock.ahead += timedelta(days=15)
    sara.post("/api/v1/releases", built.body(), expect=422, code="unsafe-format")
    world.clock.ahead -= timedelta(days=15)
    sara.publish(built)


def test_of_a_component_that_is_not_there_yet(
    world: World, sara: Client, bodies: Bodies, approver: PrivateKey
) -> None:
    built = world.release("another", files={"model.pt": torch_zip()})
    sara.put_blobs(built)
    bodies.waive(bodies.waiver("cert", f"{ORG}/another", formats=("pickle",)), approver)
    sara.publish(built)


class TestItsEndIsTold:
    def test_before_and_when_it_came(
        self, world: World, sara: Client, bodies: Bodies, approver: PrivateKey
    ) -> None:
        """Once each, to the operator's log and to webhooks: nobody has to act for it to end."""
        hook, _ = world.registry.webhooks.add(OPERATOR, None, "https://hooks.example/", ["expiry"])
        bodies.waive(bodies.waiver("cert", NAME, findings=(ID,)), approver)
        soon = sara.get("/api/v1/reviews/expiring")
        assert soon["expiring"] == []  # those are decisions
        assert [(one["component"], one["id"], one["body"]) for one in soon["waivers"]] == [
            (NAME, "W-1", "cert")
        ]
        assert soon["roles"] == [], "it is signed for 30 days, and listed in the last ten"
        told = []
        for days in (0, 9, 5.5, 1.5):
            world.clock.ahead += timedelta(days=days)
            told += [line for _ in range(2) for line in world.registry.expiry.notices()]
        assert [
            line.rpartition(", on")[0] or line.rpartition(" on ")[0]
            for line in told
            if "waiver" in line
        ] == [
            f"{NAME}: the waiver W-1 of cert {said}"
            for said in ("ends within 30 days", "ends within 7 days", "ends within 1 day", "ended")
        ]
        rows = world.registry.webhooks.deliveries(OPERATOR, None, hook.id, 9)
        about = [row.event for row in rows if row.subject == NAME]
        assert sorted(about) == ["expiry.ended", *["expiry.soon"] * 3]

    def test_that_of_roles_too_until_they_are_signed_anew(
        self, world: World, sara: Client, bodies: Bodies
    ) -> None:
        with world.registry.database.read() as session:
            ends = expiries(session, [ORG, f"{ORG}.my-model"])
        world.clock.ahead = min(ends.values()) - world.clock() - timedelta(days=3)
        told = world.registry.expiry.notices()
        assert world.registry.expiry.notices() == []
        for name in ends:
            assert sum(line.startswith(f"role {name} ends within 7 days") for line in told) == 1
        assert not any("timestamp" in line or "snapshot" in line for line in told)
        with world.registry.database.write() as session:
            row = session.get_one(Role, f"{ORG}.my-model")
            assert row.noticed_days == 7
            data = require_role(session, row.name)
            add_role(session, row.name, row.version + 1, data, world.clock())
            session.refresh(row)
            assert row.noticed_days is None
        (line,) = world.registry.expiry.notices()
        assert line.startswith(f"role {ORG}.my-model ends within 7 days")

    def test_after_an_upgrade(self, world: World, bodies: Bodies, approver: PrivateKey) -> None:
        """Its end is read out of what was signed; what had ended is no news."""
        waiver = bodies.waiver("cert", NAME, findings=(ID,))
        bodies.waive(waiver, approver)
        with schema_engine(world.root) as engine, engine.begin() as connection:
            connection.execute(update(ReviewStatement).values(expires_at=None))
            old = world.clock() - timedelta(days=1)
            connection.execute(update(Role).where(Role.name == ORG).values(expires_at=old))
            with Operations.context(MigrationContext.configure(connection)):
                v0016_webhooks._waivers_end()
                v0016_webhooks._what_ended_is_old_news()
            ends = connection.scalars(select(ReviewStatement.expires_at)).all()
        assert ends == [waiver.expires]
        assert [line for line in world.registry.expiry.notices() if ORG in line] == [
            f"{NAME}: the waiver W-1 of cert ends within 30 days, on {waiver.expires:%Y-%m-%d}"
        ]


class TestWhatIsRefused:
    def test_their_own(
        self, world: World, sara: Client, bodies: Bodies, approver: PrivateKey
    ) -> None:
        waiver = bodies.waiver("cert", NAME, findings=(ID,))
        data = approve_waiver(begin_waiver(waiver, bodies.keys["cert"]), approver)
        bodies.belongs("cert", "National CERT", [ORG])
        sara.post("/api/v1/roles", offer(bodies, waiver, data), expect=403, code="own-release")
        assert is_open(sara)
        bodies.belongs("cert", "National CERT", [])
        bodies.waive(waiver, approver)
        assert not is_open(sara)
        bodies.belongs("cert", "National CERT", [ORG])  # and whoever comes to belong to it
        assert is_open(sara)

    def test_one_signature(self, sara: Client, bodies: Bodies, approver: PrivateKey) -> None:
        waiver = bodies.waiver("cert", NAME, findings=(ID,))
        data = begin_waiver(waiver, bodies.keys["cert"])
        sara.post("/api/v1/roles", offer(bodies, waiver, data), expect=400, code="malformed")
        with pytest.raises(MalformedError):
            bodies.waive(waiver, bodies.keys["cert"])
        assert is_open(sara)

    def test_an_old_one(
        self, world: World, sara: Client, bodies: Bodies, approver: PrivateKey
    ) -> None:
        waiver = bodies.waiver("cert", NAME, findings=(ID,))
        data = approve_waiver(begin_waiver(waiver, bodies.keys["cert"]), approver)
        world.clock.ahead += timedelta(days=15)
        sara.post("/api/v1/roles", offer(bodies, waiver, data), expect=422, code="review-lapsed")

    def test_under_another_id(self, sara: Client, bodies: Bodies, approver: PrivateKey) -> None:
        waiver = bodies.waiver("cert", NAME, findings=(ID,))
        data = approve_waiver(begin_waiver(waiver, bodies.keys["cert"]), approver)
        other = bodies.waiver("cert", NAME, id="W-9", findings=(ID,))
        answer = sara.post("/api/v1/roles", offer(bodies, other, data), expect=422)
        assert "name-mismatch" in (answer["code"], answer.get("check"))
