"""What hosts tell their agency's list, and recalls: who may do what, and who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import ORG, Client, World, copied_world, new_database, set_settings

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.services import recalls
from forge_server.services.callers import OPERATOR
from signing.names import ComponentName

NAME = ComponentName.parse(f"{ORG}/my-model")
RECALL = f"/api/v1/recalls/{NAME}/1.0.0"
AGENCIES = ("agency-a", "agency-b")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recalls") / "reg"
    initialise(root, dev=True, database=new_database(request, request.param))
    world = World(root)
    flask = create_app(world.registry).test_client()
    for name, organisation in (("sara", ORG), ("amal", AGENCIES[0]), ("badr", AGENCIES[1])):
        token = world.user(name)
        world.organisation(token, organisation)
        if name == "sara":
            Client(flask, token).publish(world.release())
            Client(flask, token).publish(world.release(version="2.0.0"))
    world.user("reader")
    Client(flask, world.token("amal")).call(
        "PUT", f"/api/v1/organisations/{AGENCIES[0]}/members/reader", {"role": "reader"},
        expect=200,
    )  # fmt: skip
    world.user("cert")
    world.close()
    return root


@pytest.fixture
def world(_published: Path, tmp_path: Path) -> Iterator[World]:
    for copied in copied_world(_published, tmp_path):
        set_settings(copied.root, 'cert_accounts = ["cert"]\n')
        yield copied


class Country:
    def __init__(self, world: World) -> None:
        self.world = world
        self.flask = create_app(world.registry).test_client()
        versions = self.as_(None).get(f"/api/v1/components/{NAME}")["versions"]
        self.digests = {one["version"]: one["manifest_sha256"] for one in versions}

    def as_(self, user: str | None, *actions: str, organisation: str | None = None) -> Client:
        if user is None:
            return Client(self.flask)
        token = self.world.token(user, actions, organisation) if actions else self.world.token(user)
        return Client(self.flask, token)

    def has(self, user: str, agency: str, host: str, *versions: str, **more: Any) -> Any:
        installed = [
            {"component": str(NAME), "version": each, "manifest_sha256": self.digests[each]}
            for each in versions
        ]
        who = self.as_(user, "inventory", organisation=agency)
        return who.call(
            "PUT", f"/api/v1/inventory/{agency}/{host}", {"installed": installed}, **more
        )

    def recall(self, user: str | None, **more: Any) -> Any:
        body = {"component": str(NAME), "version": "1.0.0", "reason": "leaks what it read"}
        return self.as_(user).post("/api/v1/recalls", body, **more)

    def counts(self) -> tuple[int, ...]:
        shown = self.as_(None).get(RECALL, expect=200)
        names = ("hosts", "agencies", "notified", "acknowledged", "remedied")
        return tuple(shown[name] for name in names)

    def answer(self, user: str, state: str, agency: str, **more: Any) -> Any:
        host = more.pop("host", None)
        body = {"organisation": agency, "state": state} | ({"host": host} if host else {})
        return self.as_(user).post(f"{RECALL}/answers", body, **more)


@pytest.fixture
def country(world: World) -> Country:
    return Country(world)


def test_from_the_recall_to_the_last_host(country: Country) -> None:
    country.has("amal", "agency-a", "ward-1", "1.0.0", expect=200)
    country.has("amal", "agency-a", "ward-2", "1.0.0", "2.0.0", expect=200)
    country.has("badr", "agency-b", "desk", "1.0.0", expect=200)
    country.has("badr", "agency-b", "other", "2.0.0", expect=200)
    started = country.recall("sara", expect=201)
    assert (started["by"], started["hosts"], started["agencies"]) == (ORG, 3, 2)
    assert country.counts() == (3, 2, 0, 0, 0)
    path = "/api/v1/inventory/agency-a/recalls"
    notices = country.as_("amal").get(path, expect=200)["notices"]
    assert [(one["host"], one["release"]) for one in notices] == [
        ("ward-1", f"{NAME}==1.0.0"), ("ward-2", f"{NAME}==1.0.0"),
    ]  # fmt: skip
    assert country.counts() == (3, 2, 2, 0, 0)
    assert country.answer("amal", "acknowledged", "agency-a", expect=200)["hosts"] == 2
    assert country.answer("amal", "acknowledged", "agency-a", expect=200)["hosts"] == 0
    assert country.counts() == (3, 2, 2, 2, 0)
    # A host that tells what it has, without the release, is remedied; one says so itself.
    assert country.has("amal", "agency-a", "ward-1", "2.0.0")["recalled"] == 0
    country.answer("amal", "remedied", "agency-a", host="ward-2", expect=200)
    assert country.counts() == (3, 2, 2, 2, 2)
    # Who acknowledges has been told.
    country.answer("badr", "remedied", "agency-b", expect=200)
    assert country.counts() == (3, 2, 3, 3, 3)
    # It comes back, and a new host appears.
    assert country.has("amal", "agency-a", "ward-2", "1.0.0")["recalled"] == 1
    country.has("amal", "agency-a", "ward-9", "1.0.0")
    assert country.counts() == (4, 2, 3, 3, 2)
    acts = [e.action for e in country.world.registry.audit.newest(60)]
    assert acts.count("recall.start") == 1
    assert {"recall.acknowledge", "recall.remedy"} <= set(acts)
    page = country.as_(None).text(f"/en/{NAME}/history").decode()
    assert "Recalled" in page


def test_who_may_begin_one(country: Country) -> None:
    country.recall(None, expect=401)
    country.recall("amal", expect=403, code="not-a-member")
    country.recall("reader", expect=403, code="not-a-member")
    body = {"component": str(NAME), "version": "1.0.0", "reason": "x"}
    for actions in (("read",), ("inventory",), ("manage",)):
        who = country.as_("sara", *actions)
        who.post("/api/v1/recalls", body, expect=403, code="scope-missing")
    country.as_("sara").post("/api/v1/recalls", body | {"version": "9.0.0"}, expect=404)
    country.as_("sara").post("/api/v1/recalls", body | {"reason": "a\nb"}, expect=400)
    assert country.recall("cert", expect=201)["by"] is None
    # Once more is that one, whoever says it.
    again = country.recall("sara", expect=201)
    assert (again["by"], again["reason"]) == (None, "leaks what it read")
    operators = country.world.registry.recalls.start(OPERATOR, NAME, "2.0.0", "same")
    assert operators.by is None
    listed = country.as_(None).get("/api/v1/recalls")["recalls"]
    assert [one["release"] for one in listed] == [f"{NAME}==2.0.0", f"{NAME}==1.0.0"]


def test_an_agency_sees_its_own_hosts_and_nobody_elses(country: Country) -> None:
    country.has("amal", "agency-a", "ward-1", "1.0.0")
    country.has("badr", "agency-b", "desk", "1.0.0")
    country.recall("sara")
    mine = country.as_("amal").get("/api/v1/inventory/agency-a", expect=200)["hosts"]
    assert [(one["host"], one["installed"][0]["version"]) for one in mine] == [("ward-1", "1.0.0")]
    country.as_("reader").get("/api/v1/inventory/agency-a", expect=200)
    for user in ("badr", "sara", "cert"):
        for path in ("agency-a", "agency-a/recalls"):
            country.as_(user).get(f"/api/v1/inventory/{path}", expect=403, code="not-a-member")
    country.as_(None).get("/api/v1/inventory/agency-a", expect=401)
    country.as_("amal", "inventory").get("/api/v1/inventory/agency-a", expect=403)
    for user in ("sara", "badr", None):
        for path in ("/api/v1/recalls", RECALL):
            assert "ward-1" not in str(country.as_(user).get(path))
            assert "agency-a" not in str(country.as_(user).get(path))
    assert "ward-1" not in country.as_(None).text("/en/tombstones.json").decode()


def test_who_may_tell(country: Country) -> None:
    body: dict[str, Any] = {"installed": []}
    path = "/api/v1/inventory/agency-a/ward-1"
    country.as_(None).call("PUT", path, body, expect=401)
    for actions in (("read",), ("publish",), ("manage",)):
        who = country.as_("amal", *actions)
        who.call("PUT", path, body, expect=403, code="scope-missing")
    other = country.as_("amal", "inventory", organisation="agency-b")
    other.call("PUT", path, body, expect=403, code="scope-missing")
    country.as_("badr", "inventory").call("PUT", path, body, expect=403, code="not-a-member")
    mine = country.as_("amal", "inventory", organisation="agency-a")
    mine.call("PUT", path, body, expect=200)
    # The token on a host can do this and nothing else.
    mine.get("/api/v1/inventory/agency-a", expect=403, code="scope-missing")
    body = {"organisation": "agency-a", "state": "remedied"}
    country.recall("sara")
    mine.post(f"{RECALL}/answers", body, expect=403, code="scope-missing")
    # Who was removed tells no more.
    reader = country.as_("reader", "inventory", organisation="agency-a")
    reader.call("PUT", path, {"installed": []}, expect=200)
    amal = country.as_("amal")
    amal.call("DELETE", "/api/v1/organisations/agency-a/members/reader", expect=200)
    reader.call("PUT", path, {"installed": []}, expect=403, code="not-a-member")


def test_who_may_answer(country: Country) -> None:
    country.has("amal", "agency-a", "ward-1", "1.0.0")
    country.answer("amal", "remedied", "agency-a", expect=404)  # nothing is recalled
    country.recall("sara")
    country.answer("badr", "remedied", "agency-a", expect=403, code="not-a-member")
    country.answer("sara", "remedied", "agency-a", expect=403, code="not-a-member")
    country.answer("reader", "remedied", "agency-a", expect=403, code="role-too-low")
    country.answer("amal", "remedied", "agency-a", host="ward-7", expect=404)
    country.answer("badr", "remedied", "agency-b", expect=404)
    country.answer("amal", "well", "agency-a", expect=400)
    assert country.counts() == (1, 1, 0, 0, 0)


def test_a_host_is_taken_away_with_all_that_is_known_of_it(country: Country) -> None:
    country.has("amal", "agency-a", "ward-1", "1.0.0")
    country.recall("sara")
    path = "/api/v1/inventory/agency-a/ward-1"
    country.as_("badr").call("DELETE", path, expect=403)
    token = country.as_("amal", "inventory", organisation="agency-a")
    assert token.call("DELETE", path, expect=200)["known"] is True
    assert token.call("DELETE", path, expect=200)["known"] is False
    assert country.as_("amal").get("/api/v1/inventory/agency-a")["hosts"] == []
    assert country.counts() == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("host", ["a b", "-x", "x" * 61, "é", "a@b"])
def test_labels(country: Country, host: str) -> None:
    country.has("amal", "agency-a", host, expect=400)


def test_no_more_hosts_than_a_registry_carries(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalls, "MAX_HOSTS", 2)
    country.has("amal", "agency-a", "one", "1.0.0", expect=200)
    country.has("amal", "agency-a", "two", "1.0.0", expect=200)
    country.has("amal", "agency-a", "three", "1.0.0", expect=403, code="quota-exceeded")
    country.has("amal", "agency-a", "two", "2.0.0", expect=200)
