"""Webhooks of a registry: what is told to whom, once or until somebody heard, and whatever dies."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from reviewing import Bodies
from server_fixtures import (
    ORG,
    Client,
    World,
    drop_database,
    new_database,
    set_settings,
    start_server,
)
from sqlalchemy import select, update
from waiting import PAUSE_SECONDS
from webhook_receiver import Receiver, receiving

from forge_server.app import create_app
from forge_server.db.hook_models import WebhookDelivery
from forge_server.db.models import Component, Release
from forge_server.errors import RegistryError
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR, Caller
from forge_server.services.deliveries import CLAIM, GIVES_UP, KEPT
from forge_server.services.posting import Answer, Networks, Poster
from forge_server.settings import parse_settings
from forge_server.wiring import Registry, open_registry
from signing.names import ComponentName
from signing.role_edits import set_yanked

OTHER = "other-lab"
SETTINGS = 'webhook_networks = ["127.0.0.0/8"]\nscan = false\n'


@dataclass
class Place:
    """A registry with two organisations of sara's, and a receiver."""

    world: World
    sara: Client
    receiver: Receiver
    hooks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def registry(self) -> Registry:
        return self.world.registry

    def add(self, org: str = ORG, **body: Any) -> str:
        body.setdefault("url", self.receiver.url)
        made = self.sara.post(f"/api/v1/organisations/{org}/webhooks", body, expect=201)
        self.hooks.append((org, made["id"]))
        return str(made["id"])

    def test(self, hook: str, org: str = ORG) -> str:
        path = f"/api/v1/organisations/{org}/webhooks/{hook}/test"
        return str(self.sara.post(path, {}, expect=202)["delivery"])

    def deliver(self) -> int:
        """Sends until nothing is due; how many were sent."""
        sent = 0
        while jobs := self.registry.deliveries.claim():
            for job in jobs:
                self.registry.deliveries.send(job)
            sent += len(jobs)
        return sent

    def deliveries(self, hook: str, org: str = ORG) -> list[dict[str, Any]]:
        path = f"/api/v1/organisations/{org}/webhooks/{hook}/deliveries?limit=200"
        found: list[dict[str, Any]] = self.sara.get(path, expect=200)["deliveries"]
        return found

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.receiver.got]

    def shown(self, hook: str, org: str = ORG) -> dict[str, Any]:
        found = self.sara.get(f"/api/v1/organisations/{org}/webhooks", expect=200)["webhooks"]
        return next(one for one in found if one["id"] == hook)

    def pass_time(self, **more: float) -> None:
        self.world.clock.ahead += timedelta(**more)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Client]]:
    root = tmp_path_factory.mktemp("hooks") / "reg"
    initialise(root, dev=True, database=new_database(request, request.param))
    set_settings(root, SETTINGS)
    world = World(root)
    world.user("sara")
    token = world.token("sara", days=300)
    for org in (ORG, OTHER):
        world.organisation(token, org)
    world.user("amal")
    sara = Client(create_app(world.registry).test_client(), token)
    sara.call("PUT", f"/api/v1/organisations/{ORG}/members/amal", {"role": "publisher"}, expect=200)
    yield world, sara
    world.close()
    drop_database(world.root)


@pytest.fixture
def place(registry: tuple[World, Client]) -> Iterator[Place]:
    world, sara = registry
    with receiving() as receiver:
        made = Place(world, sara, receiver)
        yield made
        for org, hook in made.hooks:
            world.registry.webhooks.remove(OPERATOR, org, hook)
    world.clock.go_on()


class TestWhatIsTold:
    def test_each_change_of_a_release_once(self, place: Place) -> None:
        place.add()
        name = ComponentName.parse(f"{ORG}/told")
        built = place.world.release("told")
        place.sara.publish(built)
        for reason in ("It is wrong", None):
            role = set_yanked(
                place.registry.roles.current(name.role), name, "1.0.0", reason,
                [place.world.key(ORG)], place.world.clock(),
            )  # fmt: skip
            place.sara.post("/api/v1/roles", {"roles": {name.role: role.decode()}}, expect=200)
        place.registry.quarantine.begin(OPERATOR, name, "1.0.0", "Looking into it")
        place.registry.quarantine.end(OPERATOR, name, "1.0.0", "All is well")
        assert place.deliver() == 5
        assert place.deliver() == 0
        told = place.told()
        assert [one["type"] for one in told] == [
            "release.published", "release.yanked", "release.unyanked", "release.quarantined",
            "release.released",
        ]  # fmt: skip
        assert told[0]["data"] == {
            "organisation": ORG, "component": str(name), "version": "1.0.0",
            "manifest_sha256": built.manifest.digest, "files": 2,
            "bytes": built.manifest.total_size,
        }  # fmt: skip
        assert told[1]["data"]["reason"] == "It is wrong"
        assert (told[3]["data"]["by"], told[3]["data"]["reason"]) == (
            "registry", "Looking into it",
        )  # fmt: skip
        # Who did it, and from where, is nobody's business.
        assert "sara" not in json.dumps(told)

    def test_reviews(self, place: Place) -> None:
        place.add(events=["review"])
        place.sara.publish(place.world.release("reviewed"))
        bodies = Bodies(place.world)
        bodies.name("cert", "National CERT")
        digest = bodies.decide("cert", f"{ORG}/reviewed", "1.0.0")
        bodies.withdraw("cert", f"{ORG}/reviewed", "1.0.0")
        assert place.deliver() == 2
        added, revoked = place.told()
        for told in (added, revoked):
            assert told["data"]["component"] == f"{ORG}/reviewed"
            assert (told["data"]["version"], told["data"]["body"]) == ("1.0.0", "cert")
            assert (told["data"]["kind"], told["data"]["sha256"]) == ("decision", digest)
        assert (added["type"], added["data"]["passed"]) == ("review.added", True)
        assert revoked["type"] == "review.revoked"

    def test_to_whom(self, place: Place) -> None:
        """An organisation hears of its own; of others, or of one component, where it says so."""
        hooks = {
            about: place.add(OTHER, about=about)
            for about in ("", ORG, f"{ORG}/heard", f"{ORG}/else", OTHER)
        }
        mine = place.add()
        place.sara.publish(place.world.release("heard"))
        place.deliver()
        heard = {about for about, hook in hooks.items() if place.deliveries(hook, OTHER)}
        assert heard == {"", ORG, f"{ORG}/heard"}
        assert len(place.deliveries(mine)) == 1
        # A test is for the one that is tested.
        assert place.test(mine) == place.test(mine)  # one that nobody has sent yet is enough
        assert len(place.deliveries(mine)) == 2
        assert all(len(place.deliveries(hook, OTHER)) < 2 for hook in hooks.values())

    def test_nothing_of_what_did_not_happen(self, place: Place) -> None:
        hook = place.add()
        with suppress(RuntimeError), place.registry.database.write() as session:
            place.registry.audit.record(session, Caller(), "release.yank", f"{ORG}/x==1")
            raise RuntimeError  # before the commit
        assert place.deliveries(hook) == []
        with pytest.raises(RegistryError):
            place.registry.quarantine.begin(
                OPERATOR, ComponentName.parse(f"{ORG}/none"), "1.0.0", "x"
            )
        assert place.deliveries(hook) == []

    def test_a_publish_when_it_can_be_fetched(self, place: Place) -> None:
        hook = place.add(events=["release"])
        place.sara.publish(place.world.release("later"))
        with place.registry.database.write() as session:
            session.execute(_set_stored("later", None))
        assert place.deliver() == 0
        with place.registry.database.write() as session:
            session.execute(_set_stored("later", place.world.clock()))
        assert place.deliver() == 1
        assert place.deliveries(hook)[0]["state"] == "delivered"

    def test_signed_with_both_secrets_for_a_day(self, place: Place) -> None:
        hook = place.add()
        path = f"/api/v1/organisations/{ORG}/webhooks/{hook}/secret"
        place.sara.post(path, {}, expect=200)
        place.test(hook)
        place.deliver()
        place.pass_time(hours=25)
        place.test(hook)
        place.deliver()
        signatures = [headers["webhook-signature"] for _, headers, _ in place.receiver.got]
        assert [len(each.split(" ")) for each in signatures] == [2, 1]


class TestUntilSomebodyHears:
    @pytest.fixture(autouse=True)
    def _stopped(self, place: Place) -> None:
        place.world.clock.stop()

    def test_again_and_again_with_the_same_message(self, place: Place) -> None:
        hook = place.add()
        place.receiver.answers = [500, "hang up", 200]
        place.receiver.body = b"out of order"
        message = place.test(hook)
        assert place.deliver() == 1
        (row,) = place.deliveries(hook)
        assert (row["state"], row["tries"], row["status"]) == ("waiting", 1, 500)
        assert row["answer"] == "out of order"
        assert place.shown(hook)["state"] == "failing"
        assert place.deliver() == 0
        place.pass_time(seconds=7)
        assert place.deliver() == 1
        (row,) = place.deliveries(hook)
        assert (row["status"], row["tries"]) == (None, 2)
        assert "without an answer" in row["problem"]
        place.pass_time(seconds=80)
        assert place.deliver() == 1
        (row,) = place.deliveries(hook)
        assert (row["id"], row["state"], row["status"]) == (message, "delivered", 200)
        assert row["next_at"] is None
        assert place.shown(hook)["state"] == "active"
        ids = {headers["webhook-id"] for _, headers, _ in place.receiver.got}
        bodies = {body for _, _, body in place.receiver.got}
        times = {headers["webhook-timestamp"] for _, headers, _ in place.receiver.got}
        assert (ids, len(bodies), len(times)) == ({message}, 1, 3)

    def test_as_late_as_it_asks(self, place: Place) -> None:
        hook = place.add()
        place.receiver.answers = [503, 200]
        place.receiver.headers = {"Retry-After": "3000"}
        place.test(hook)
        place.deliver()
        place.registry.webhooks.test(OPERATOR, ORG, hook)  # goes at once all the same
        assert place.deliver() == 1
        place.pass_time(seconds=2990)
        assert place.deliver() == 0
        place.pass_time(seconds=11)
        assert place.deliver() == 1

    def test_others_wait_while_it_rests(self, place: Place) -> None:
        """A receiver that is down is asked by one message at a time, not by each."""
        place.add(events=["recall"])
        hook = place.add(events=["release"])
        place.receiver.answers = [500, 200]
        for number in range(3):
            _tell(place, f"release{number}")
        assert place.deliver() == 1
        place.pass_time(seconds=7)
        assert place.deliver() == 3
        assert {row["state"] for row in place.deliveries(hook)} == {"delivered"}

    def test_gone_is_gone(self, place: Place) -> None:
        hook = place.add()
        place.receiver.answers = [410]
        _tell(place, "one")
        _tell(place, "two")
        assert place.deliver() == 1
        assert [row["state"] for row in place.deliveries(hook)] in (
            ["dropped", "failed"], ["failed", "dropped"],
        )  # fmt: skip
        shown = place.shown(hook)
        assert (shown["state"], shown["waiting"]) == ("ended", 0)
        assert "410" in shown["ended_why"]
        _tell(place, "three")
        path = f"/api/v1/organisations/{ORG}/webhooks/{hook}"
        place.sara.post(f"{path}/test", {}, code="webhook-ended")
        assert len(place.deliveries(hook)) == 2
        place.sara.post(f"{path}/enable", {}, expect=200)
        place.receiver.answers = [204]
        place.test(hook)
        assert place.deliver() == 1

    def test_it_ends_after_days_of_failure_and_others_are_told(self, place: Place) -> None:
        hook = place.add()
        other = place.add(url=place.receiver.url.replace("hook", "other"), events=["webhook"])
        foreign = place.add(OTHER, about=ORG, events=["webhook"])
        place.receiver.answers = [500]

        def fail() -> None:
            _tell(place, "one")
            for _ in range(8):
                place.deliver()
                place.pass_time(hours=15)

        fail()
        assert place.shown(hook)["state"] == "failing"
        (given_up,) = place.deliveries(hook)
        assert (given_up["state"], given_up["tries"]) == ("failed", 8)
        fail()
        assert timedelta(hours=15 * 16) > GIVES_UP
        shown = place.shown(hook)
        assert (shown["state"], shown["ended_why"]) == (
            "ended", "nothing was delivered for more than 5 days",
        )  # fmt: skip
        place.receiver.answers = [200]
        place.deliver()
        (path, _, body) = place.receiver.got[-1]
        told = json.loads(body)
        assert (path, told["type"], told["data"]["webhook"]) == ("/other", "webhook.disabled", hook)
        assert [row["event"] for row in place.deliveries(other)] == ["webhook.disabled"]
        assert place.deliveries(foreign, OTHER) == []
        (event,) = place.registry.audit.newest(1, "webhook.disable")
        assert event.detail["webhook"] == hook

    def test_history_is_forgotten_after_a_month(self, place: Place) -> None:
        hook = place.add()
        place.test(hook)
        place.deliver()
        place.pass_time(days=KEPT.days - 1)
        _tell(place, "waits")
        assert place.registry.deliveries.prune() == 0
        place.pass_time(days=2)
        assert place.registry.deliveries.prune() == 1
        assert [row["state"] for row in place.deliveries(hook)] == ["waiting"]


class TestWhateverDies:
    def test_two_replicas_send_it_once(self, place: Place) -> None:
        hooks = [place.add(), place.add(OTHER)]
        for hook, org in zip(hooks, (ORG, OTHER), strict=True):
            place.test(hook, org)
        second = open_registry(place.registry.folder, clock=place.world.clock)
        try:
            both = [place.registry.deliveries, second.deliveries]
            claimed = [(each, each.claim(1)) for each in both]
            assert [len(jobs) for _, jobs in claimed] == [1, 1]
            assert [each.claim() for each in both] == [[], []]
            for deliveries, jobs in claimed:
                deliveries.send(jobs[0])
            assert [each.claim() for each in both] == [[], []]
        finally:
            second.database.dispose()
        assert len(place.receiver.got) == 2
        assert len({headers["webhook-id"] for _, headers, _ in place.receiver.got}) == 2

    def test_the_claim_of_the_dead_ends(self, place: Place) -> None:
        hook = place.add()
        place.test(hook)
        place.world.clock.stop()
        (lost,) = place.registry.deliveries.claim()
        place.pass_time(seconds=CLAIM.total_seconds() - 5)
        assert place.registry.deliveries.claim() == []
        place.pass_time(seconds=10)
        (again,) = place.registry.deliveries.claim()
        assert again.message == lost.message
        # The one that was taken for dead comes back: what it says does not count any more.
        place.receiver.answers = [500, 200]
        place.registry.deliveries.send(lost)
        assert place.deliveries(hook)[0]["tries"] == 0
        place.registry.deliveries.send(again)
        assert place.deliveries(hook)[0]["state"] == "delivered"

    def test_a_clock_that_goes_back(self, place: Place) -> None:
        hook = place.add()
        place.pass_time(days=40)
        place.receiver.answers = [500, 200]
        place.test(hook)
        place.deliver()
        _tell(place, "x")
        place.registry.deliveries.claim()
        place.pass_time(days=-40)
        assert place.deliver() == 2
        assert {row["state"] for row in place.deliveries(hook)} == {"delivered"}

    def test_one_owner_never_holds_up_another(self, place: Place) -> None:
        place.add()
        hook = place.add(OTHER)
        for number in range(5):
            _tell(place, f"many{number}")
        place.pass_time(seconds=1)
        place.test(hook, OTHER)
        jobs = place.registry.deliveries.claim(2)
        assert len({job.url for job in jobs}) == 1
        bodies = [json.loads(job.body)["data"]["organisation"] for job in jobs]
        assert bodies == [ORG, OTHER]
        assert place.registry.deliveries.claim(2) == []

    def test_while_a_receiver_thinks_everybody_may_write(self, place: Place) -> None:
        """There is one writing transaction at a time, and no receiver is ever waited for in it."""
        place.test(place.add())
        database = place.registry.database
        writing = []

        class Thinking(Poster):
            def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
                writing.append(database._queue.locked())
                return Answer(status=200, text="", retry_after=None)

        deliveries = replace(place.registry.deliveries, poster=Thinking(Networks()))
        (job,) = deliveries.claim()
        assert deliveries.send(job).succeeded
        assert writing == [False]

    def test_a_removed_webhook_takes_its_messages_along(self, place: Place) -> None:
        hook = place.add()
        place.test(hook)
        (job,) = place.registry.deliveries.claim()
        place.sara.call("DELETE", f"/api/v1/organisations/{ORG}/webhooks/{hook}", expect=200)
        place.hooks.clear()
        place.registry.deliveries.send(job)
        with place.registry.database.read() as session:
            left = session.scalars(select(WebhookDelivery.id)).all()
        assert left == []

    def test_a_server_that_is_killed_loses_none(self, place: Place) -> None:
        """Killed between the change and the delivery, which this one would never have begun."""
        hook = place.add(events=["release"])
        set_settings(place.world.root, f"{SETTINGS}embedded_worker = false\n")
        server = start_server(place.world.root)
        try:
            built = place.world.release("killed")
            place.sara.put_blobs(built)
            answer = urllib3.request(
                "POST", f"{server.url}/api/v1/releases", json=built.body(),
                headers={"Authorization": f"Bearer {place.sara.token}"},
            )  # fmt: skip
            assert answer.status == 201
        finally:
            server.kill()
            set_settings(place.world.root, SETTINGS)
        assert place.deliver() == 1
        (row,) = place.deliveries(hook)
        assert (row["subject"], row["state"]) == (f"{ORG}/killed==1.0.0", "delivered")

    def test_the_worker_sends(self, place: Place) -> None:
        """As a server does: without being asked, several owners beside each other."""
        hooks = [(place.add(), ORG), (place.add(OTHER), OTHER)]
        for hook, org in hooks:
            place.test(hook, org)
        _tell(place, "told")
        stop = threading.Event()
        thread = threading.Thread(target=place.registry.deliveries.run, args=(stop, 0.05))
        thread.start()
        try:
            while any(
                row["state"] != "delivered" for hook, org in hooks
                for row in place.deliveries(hook, org)
            ):  # fmt: skip
                assert thread.is_alive()
                time.sleep(PAUSE_SECONDS)
        finally:
            stop.set()
            thread.join()
        assert len(place.receiver.got) == 3


class TestWhoMay:
    def test_owners_alone(self, place: Place) -> None:
        hook = place.add()
        path = f"/api/v1/organisations/{ORG}/webhooks"
        amal = Client(place.sara.flask, place.world.token("amal"))
        narrow = Client(place.sara.flask, place.world.token("sara", ("publish", "read")))
        stranger = Client(place.sara.flask)
        for who, code in (
            (amal, "role-too-low"), (narrow, "scope-missing"), (stranger, "not-authenticated"),
        ):  # fmt: skip
            who.get(path, code=code)
            who.post(path, {"url": "https://hooks.example/"}, code=code)
            who.get(f"{path}/{hook}/deliveries", code=code)
            for act in ("test", "secret", "enable"):
                who.post(f"{path}/{hook}/{act}", {}, code=code)
            who.call("DELETE", f"{path}/{hook}", code=code)
        # Another organisation's webhook is none of theirs.
        place.sara.get(
            f"/api/v1/organisations/{OTHER}/webhooks/{hook}/deliveries", code="webhook-not-found"
        )
        place.sara.get("/api/v1/organisations/nobody-here/webhooks", code="organisation-not-found")

    def test_the_secret_is_told_once(self, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        path = f"/api/v1/organisations/{ORG}/webhooks"
        body = {"url": f"{place.receiver.url}?key=hidden-word"}
        with caplog.at_level(logging.DEBUG):
            made = place.sara.post(path, body, expect=201)
            place.hooks.append((ORG, made["id"]))
            secret = made["secret"]
            place.receiver.answers = [500]
            place.test(made["id"])
            place.deliver()
            place.pass_time(days=1)
            place.receiver.answers = [410]
            place.deliver()
        assert secret.startswith("whsec_")
        shown = json.dumps(place.sara.get(path)) + json.dumps(place.deliveries(made["id"]))
        events = json.dumps([dict(one.detail) for one in place.registry.audit.newest(50)])
        for where in (shown, events, caplog.text):
            assert secret not in where
            assert secret.removeprefix("whsec_") not in where
        assert "hidden-word" in shown  # it is their own address
        assert "hidden-word" not in events + caplog.text

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"url": "http://10.0.0.1/"}, "webhook-refused"),
            ({"url": "https://[fe80::1]/"}, "webhook-refused"),
            ({"url": "ftp://hooks.example/"}, "malformed"),
            ({"url": "https://u:p@hooks.example/"}, "malformed"),
            ({"url": "https://hooks.example/", "events": ["release.publish"]}, "malformed"),
            ({"url": "https://hooks.example/", "about": "A/b/c"}, "malformed"),
            ({"url": "https://hooks.example/", "secret": "mine"}, "malformed"),
            ({}, "malformed"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, place: Place, body: dict[str, Any], code: str) -> None:
        place.sara.post(f"/api/v1/organisations/{ORG}/webhooks", body, code=code)

    def test_not_too_many(self, place: Place) -> None:
        for _ in range(10):
            place.add()
        place.sara.post(
            f"/api/v1/organisations/{ORG}/webhooks", {"url": place.receiver.url},
            code="webhook-refused",
        )  # fmt: skip


def test_networks_are_networks(tmp_path: Path) -> None:
    for wrong in ("10.0.0.1/8", "localhost", "*"):
        with pytest.raises(RegistryError, match="webhook_networks"):
            parse_settings({"webhook_networks": [wrong]}, tmp_path)
    assert parse_settings({"webhook_networks": ["10.0.0.0/8", "fd00::/8"]}, tmp_path)


def _tell(place: Place, name: str) -> None:
    """As if a release of ORG had been yanked."""
    with place.registry.database.write() as session:
        place.registry.audit.record(session, Caller(), "release.yank", f"{ORG}/{name}==1.0.0")


def _set_stored(name: str, at: Any) -> Any:
    ids = select(Component.id).where(Component.organisation == ORG, Component.name == name)
    return update(Release).where(Release.component_id.in_(ids)).values(stored_at=at)
