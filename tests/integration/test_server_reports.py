"""Reports by anybody, and when they hold a release back by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import ORG, Client, World, copied_world, new_database, set_settings

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from forge_server.services.reports import BY_STRANGERS, PER_ADDRESS
from signing.names import ComponentName

NAME = ComponentName.parse(f"{ORG}/my-model")
PEOPLE = {"amal": "lab-one", "badr": "lab-two", "chama": "lab-one", "own": ORG}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reports") / "reg"
    initialise(root, dev=True, database=new_database(request, request.param))
    world = World(root)
    sara = Client(create_app(world.registry).test_client(), world.user("sara"))
    assert sara.token is not None
    for organisation in (ORG, "lab-one", "lab-two"):
        world.organisation(sara.token, organisation)
    for name, organisation in PEOPLE.items():
        world.user(name)
        sara.call(
            "PUT", f"/api/v1/organisations/{organisation}/members/{name}", {"role": "reader"},
            expect=200,
        )  # fmt: skip
    for organisation in ("lab-one", "lab-two"):  # from here on sara speaks for ORG alone
        other = Client(sara.flask, world.user(f"owner-of-{organisation}"))
        sara.call(
            "PUT", f"/api/v1/organisations/{organisation}/members/owner-of-{organisation}",
            {"role": "owner"}, expect=200,
        )  # fmt: skip
        other.call("DELETE", f"/api/v1/organisations/{organisation}/members/sara", expect=200)
    world.user("cert")
    world.user("alone")
    sara.publish(world.release())
    world.close()
    return root


@pytest.fixture
def world(_published: Path, tmp_path: Path) -> Iterator[World]:
    for copied in copied_world(_published, tmp_path):
        set_settings(copied.root, 'cert_accounts = ["cert"]\n')
        yield copied


class Desk:
    def __init__(self, world: World) -> None:
        self.world = world
        self.flask = create_app(world.registry).test_client()

    def client(self, user: str | None) -> Client:
        return Client(self.flask, None if user is None else self.world.token(user))

    def report(self, user: str | None, kind: str = "malware", text: str = "x", **more: Any) -> Any:
        body = {"component": str(NAME), "version": "1.0.0", "kind": kind, "text": text}
        return self.client(user).post("/api/v1/reports", body, **more)

    @property
    def held(self) -> bool:
        shown = self.client(None).get(f"/api/v1/components/{NAME}")["versions"][0]["withheld"]
        return shown is not None and shown["state"] == "held"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


class TestHolding:
    def test_members_of_two_other_organisations(self, desk: Desk) -> None:
        assert desk.report("amal", expect=201)["held"] is False
        assert not desk.held
        assert desk.report("badr", kind="privacy", expect=201)["held"] is True
        assert desk.held
        (event,) = desk.world.registry.audit.newest(20, "release.hold")
        # The public is told that there were reports, and not by whom or what they say.
        assert (event.actor, event.detail["reason"]) == (
            None, "credible reports by several organisations",
        )  # fmt: skip
        page = desk.client(None).text(f"/en/{NAME}").decode()
        assert "amal" not in page

    def test_a_member_and_the_cert(self, desk: Desk) -> None:
        desk.report("cert", expect=201)
        assert not desk.held
        assert desk.report("amal", expect=201)["held"] is True

    @pytest.mark.parametrize(
        "reporters",
        [
            (None, None, None),
            ("amal", None),
            ("amal", "amal"),
            ("amal", "chama"),
            ("amal", "alone"),
            ("amal", "own"),
            ("own", "sara"),
            ("cert", "cert"),
        ],
        ids=lambda names: " and ".join(name or "a stranger" for name in names),
    )
    def test_who_does_not_suffice(self, desk: Desk, reporters: tuple[str | None, ...]) -> None:
        for number, user in enumerate(reporters):
            desk.report(user, text=f"text {number}")
        assert not desk.held

    @pytest.mark.parametrize("kind", ["broken", "other"])
    def test_what_does_not_suffice(self, desk: Desk, kind: str) -> None:
        desk.report("amal", kind=kind)
        desk.report("badr", kind=kind)
        assert not desk.held

    def test_a_member_of_both_organisations_is_one_voice(self, desk: Desk) -> None:
        owner = desk.client("owner-of-lab-two")
        path = "/api/v1/organisations/lab-two/members/amal"
        owner.call("PUT", path, {"role": "reader"}, expect=200)
        desk.report("amal")
        desk.report("badr")
        assert not desk.held

    @pytest.mark.parametrize("how", ["removed", "disabled"])
    def test_who_left_since_counts_no_more(self, desk: Desk, how: str) -> None:
        desk.report("amal")
        if how == "removed":
            owner = desk.client("owner-of-lab-one")
            owner.call("DELETE", "/api/v1/organisations/lab-one/members/amal", expect=200)
        else:
            desk.world.registry.accounts.disable_user(OPERATOR, "amal")
        desk.report("badr")
        assert not desk.held

    def test_who_said_that_it_is_broken_may_find_that_it_harms(self, desk: Desk) -> None:
        desk.report("amal", kind="broken", expect=201)
        assert desk.report("amal", kind="broken", text="still", expect=200)["created"] is False
        desk.report("badr", expect=201)
        assert desk.report("amal", text="it phones home", expect=201)["held"] is True

    def test_one_harm_after_the_other_is_one_report(self, desk: Desk) -> None:
        desk.report("amal", kind="malware")
        desk.report("badr")
        desk.world.registry.quarantine.end(OPERATOR, NAME, "1.0.0", "looked into: nothing")
        for user in ("amal", "badr"):
            assert desk.report(user, kind="licence", expect=200)["closed"] is True
        assert not desk.held

    def test_after_a_release_the_same_reports_do_not_hold_it_again(self, desk: Desk) -> None:
        desk.report("amal")
        desk.report("badr")
        desk.world.registry.quarantine.end(OPERATOR, NAME, "1.0.0", "looked into: nothing")
        assert not desk.held
        for user in ("amal", "badr"):
            again = desk.report(user, text="once more", expect=200)
            assert (again["created"], again["closed"]) == (False, True)
        assert not desk.held
        # Nor do they support the next one: that needs another beside it.
        assert desk.report("cert", expect=201)["held"] is False


class TestLimits:
    def test_strangers_are_few_an_hour_from_one_address(self, desk: Desk) -> None:
        for number in range(PER_ADDRESS):
            desk.report(None, text=f"text {number}", expect=201)
        refused = desk.report(None, text="more", expect=429, code="too-many-requests")
        assert 0 < refused["retry_after_seconds"] <= 3601
        desk.report("amal", text="a member is not a stranger", expect=201)
        # Rows count, not a process: after a restart it is no more.
        desk.world.reopen()
        again = Desk(desk.world)
        again.report(None, text="more", expect=429)
        desk.world.clock.ahead += timedelta(hours=1, minutes=1)
        again.report(None, text="later", expect=201)

    def test_a_network_of_ipv6_is_one_address(self, desk: Desk) -> None:
        for number in range(PER_ADDRESS):
            self.make(desk, f"2001:db8:0:7::{number}")
        with pytest.raises(Exception, match="expected at most 5"):
            self.make(desk, "2001:db8:0:7:ffff::1")
        self.make(desk, "2001:db8:0:8::1")

    def test_an_account_may_not_report_without_end(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("forge_server.services.reports.PER_USER", 2)
        desk.report("amal", expect=201)
        desk.report("amal", kind="broken", expect=201)
        desk.report("amal", kind="other", expect=429, code="too-many-requests")
        desk.report("badr", kind="other", expect=201)

    def test_all_strangers_together(self, desk: Desk) -> None:
        for number in range(BY_STRANGERS):
            self.make(desk, f"192.0.2.{number}")
        with pytest.raises(Exception, match="expected at most 200"):
            self.make(desk, "198.51.100.1")

    def make(self, desk: Desk, address: str) -> None:
        from forge_server.services.callers import Caller

        desk.world.registry.reports.make(
            Caller(address=address), NAME, "1.0.0", "other", "from " + address
        )

    def test_the_same_again_is_no_other(self, desk: Desk) -> None:
        first = desk.report(None, expect=201)
        assert desk.report(None, expect=200)["number"] == first["number"]
        mine = desk.report("amal", expect=201)
        assert desk.report("amal", text="reworded", expect=200)["number"] == mine["number"]

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"kind": "rumour"}, 400),
            ({"text": " "}, 400),
            ({"text": "a\x1b[2Jb"}, 400),
            ({"text": "x" * 5000}, 400),
            ({"version": "9.0.0"}, 404),
            ({"component": "lab-one/nothing"}, 404),
            ({"more": "x"}, 400),
        ],
    )
    def test_what_is_no_report(self, desk: Desk, body: dict[str, str], status: int) -> None:
        whole = {"component": str(NAME), "version": "1.0.0", "kind": "other", "text": "x"}
        desk.client(None).post("/api/v1/reports", whole | body, expect=status)

    def test_a_token_that_is_wrong_is_no_stranger(self, desk: Desk) -> None:
        body = {"component": str(NAME), "version": "1.0.0", "kind": "other", "text": "x"}
        Client(desk.flask, "forge_" + "a" * 50).post("/api/v1/reports", body, expect=401)
        for actions in (("publish",), ("inventory",)):
            token = desk.world.token("amal", actions)
            Client(desk.flask, token).post(
                "/api/v1/reports", body, expect=403, code="scope-missing"
            )


def test_operators_see_who_and_what(desk: Desk) -> None:
    desk.report(None, text="I saw\na thing")
    desk.report("amal", kind="broken", text="fails")
    newest, oldest = desk.world.registry.reports.newest()
    assert (newest.by, newest.kind, newest.credible, newest.address) == (
        "amal", "broken", True, None,
    )  # fmt: skip
    assert (oldest.by, oldest.text, oldest.credible) == (None, "I saw\na thing", False)
    assert oldest.address is not None
    desk.world.registry.quarantine.end(OPERATOR, NAME, "1.0.0", "fine")
    assert desk.world.registry.reports.newest() == []
    assert len(desk.world.registry.reports.newest(closed=True)) == 2
