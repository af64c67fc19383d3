"""The status role at the server: what it takes, what it refuses, and what everybody sees of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from log_builders import NamedKey
from server_fixtures import ORG, Client, World, copy_world, new_database, while_needed
from status_hosts import Host

from forge_server.app import create_app
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from signing.digests import sha256_hex
from signing.keys import generate_key
from signing.names import parse_version
from signing.role_edits import next_version, sign_role
from signing.status import SnapshotSeen, Status, status_of
from signing.status_edits import sign_status
from signing.tlog.entries import parse_entry

RELEASE = f"{ORG}/my-model==1.0.0"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _with_status(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A registry with a status host and a release, closed."""
    root = tmp_path_factory.mktemp("status") / "reg"
    database = new_database(request, request.param)
    initialise(root, dev=True, with_status=True, database=database)
    world = World(root)
    token = world.user("sara")
    world.organisation(token)
    Client(create_app(world.registry).test_client(), token).publish(world.release())
    world.close()
    return world


@pytest.fixture
def world(_with_status: World, tmp_path: Path) -> Iterator[World]:
    yield from while_needed(copy_world(_with_status, tmp_path))


@pytest.fixture
def host(world: World) -> Host:
    """A registry with a release, and its status host, which has not spoken yet."""
    return Host(world, Client(create_app(world.registry).test_client()))


def test_it_is_taken_announced_logged_and_audited(host: Host) -> None:
    before = json.loads(host.world.registry.roles.current("snapshot"))["signed"]["version"]
    assert host.say() == {"accepted": {"status": 1}, "snapshot": before + 1}
    assert host.client.get("/tuf/1.status.json", expect=200)
    snapshot = host.client.get(f"/tuf/{before + 1}.snapshot.json", expect=200)
    assert snapshot["signed"]["meta"]["status.json"]["version"] == 1
    host.say(host.withheld())
    host.say(host.withheld("revoked"))
    acts = ["release.quarantine", "release.revoke"]
    events = [e for e in host.world.registry.audit.newest(50) if e.action in acts]
    assert [(e.action, e.subject) for e in events] == [(act, RELEASE) for act in acts]
    with host.world.registry.database.read() as session:
        from forge_server.db.models import LogEntry

        leaves = [parse_entry(row.entry) for row in session.query(LogEntry)]
    assert [e.subject for e in leaves if e.act in acts] == [RELEASE, RELEASE]
    assert [e.version for e in leaves if e.subject == "status"] == [1, 2, 3]
    assert check_registry(host.world.registry, deep=True).problems == ()


def test_lifting_is_an_act_too(host: Host) -> None:
    host.say(host.withheld())
    host.say()
    (event,) = host.world.registry.audit.newest(50, "release.unquarantine")
    assert event.subject == RELEASE


def longer_log(status: Status) -> Status:
    assert status.log is not None
    return replace(status, log=replace(status.log, size=status.log.size + 1))


def another_root(status: Status) -> Status:
    assert status.log is not None
    return replace(status, log=replace(status.log, size=3))


def another_log(status: Status) -> Status:
    assert status.log is not None
    return replace(status, log=replace(status.log, key=NamedKey("other.example/log").as_log))


def a_stolen_key(status: Status) -> Status:
    assert status.log is not None
    return replace(status, log=replace(status.log, key=NamedKey(status.log.origin).as_log))


def seen_in(version: int, sha256: str | None = None) -> Callable[[Status], Status]:
    def change(status: Status) -> Status:
        digest = sha256 or status.snapshot.sha256
        return replace(status, snapshot=SnapshotSeen(version=version, sha256=digest))

    return change


REFUSED: dict[str, tuple[Callable[[Status], Status], str]] = {
    "a longer log than ours": (longer_log, "status-contradicts"),
    "another history": (another_root, "status-contradicts"),
    "another log": (another_log, "status-contradicts"),
    "a log key that is not ours": (a_stolen_key, "status-contradicts"),
    "no log": (lambda status: replace(status, log=None), "status-contradicts"),
    "another snapshot": (seen_in(1), "status-contradicts"),
    "a snapshot from the far future": (seen_in(2**31 - 1), "status-contradicts"),
    "too long": (lambda status: replace(status, at=status.at + timedelta(hours=3)), "expired"),
    "too old": (lambda status: replace(status, at=status.at - timedelta(hours=49)), "expired"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_the_registry_is_refused(host: Host, case: str) -> None:
    change, check = REFUSED[case]
    answer = host.send(host.sign(change(host.status())), expect=422)
    assert answer["check"] == check, answer
    assert host.world.current("status") is None


def test_an_old_snapshot_is_known_also_when_the_database_forgot_it(host: Host) -> None:
    old = host.status()
    for _ in range(25):
        with host.world.registry.database.write() as session:
            host.world.registry.publication.announce(session)
    host.world.registry.publication.materialise()
    host.send(host.sign(old), expect=200)


def test_versions_signatures_and_revocations(host: Host) -> None:
    host.send(host.sign(host.status(), version=2), expect=409, code="role-version")
    stranger = sign_status(host.status(), 1, [generate_key("ed25519")])
    assert host.send(stranger, expect=422)["check"] == "threshold-not-met"
    host.say(host.withheld("revoked"))
    for weaker in ((), (host.withheld(),)):
        answer = host.send(host.sign(host.status(*weaker)), expect=422)
        assert answer["check"] == "revocation-lifted"


def test_where_nobody_named_a_host_nobody_is_one(
    host: Host, world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("other") / "reg"
    initialise(root, dev=True)
    other = World(root)
    client = Client(create_app(other.registry).test_client())
    data = host.sign(host.status()).decode()
    answer = client.post("/api/v1/roles", {"roles": {"status": data}}, expect=422)
    assert (answer["check"], answer["hint"]) == (
        "chain-broken", "the authority names no status host",
    )  # fmt: skip
    assert client.get("/api/v1/health")["status_role"] is None
    other.close()


def test_a_targets_role_does_not_leave_the_host_behind(host: Host) -> None:
    """Whoever replaces the host's key brings its word along: no client is without one."""
    host.say()
    key = generate_key("ed25519")
    current = host.world.registry.roles.current("targets")
    signed = next_version(current, "targets", host.world.clock())
    assert signed.delegations is not None
    signed.revoke_key(host.world.authority_key("status").public.keyid, "status")
    signed.add_key(key.public.tuf, "status")
    targets = sign_role(signed, [host.world.authority_key("targets")]).decode()
    answer = host.client.post("/api/v1/roles", {"roles": {"targets": targets}}, expect=422)
    assert answer["check"] == "left-behind"
    status = sign_status(host.status(), 2, [key]).decode()
    both = {"targets": targets, "status": status}
    accepted = host.client.post("/api/v1/roles", {"roles": both}, expect=200)["accepted"]
    assert accepted == {"targets": 2, "status": 2}


def test_before_its_first_word_the_authority_may_still_move(host: Host) -> None:
    current = host.world.registry.roles.current("targets")
    signed = next_version(current, "targets", host.world.clock())
    targets = sign_role(signed, [host.world.authority_key("targets")]).decode()
    host.client.post("/api/v1/roles", {"roles": {"targets": targets}}, expect=200)


def test_the_servers_own_key_is_no_hosts(host: Host) -> None:
    host.say()
    current = host.world.registry.roles.current("targets")
    signed = next_version(current, "targets", host.world.clock())
    online = host.world.registry.publication.keys.files("timestamp")
    signed.add_key(next(iter(online.values())).public.tuf, "status")
    targets = sign_role(signed, [host.world.authority_key("targets")]).decode()
    answer = host.client.post("/api/v1/roles", {"roles": {"targets": targets}}, expect=422)
    assert answer["check"] == "root-form"


class TestWhatIsShown:
    def test_components(self, host: Host, world: World) -> None:
        held = host.withheld()
        host.say(held)
        shown = host.client.get(f"/api/v1/components/{ORG}/my-model")["versions"][0]
        assert shown["withheld"]["state"] == "quarantined"
        assert shown["withheld"]["reason"] == "odd <b>"
        item = host.client.get("/api/v1/components")["items"][0]
        assert item["withheld"]["state"] == "quarantined"
        page = host.client.text(f"/en/{ORG}/my-model").decode()
        assert "Do not use this version: the security desk stopped it" in page
        assert "odd &lt;b&gt;" in page
        assert "The security desk stopped it on" in page
        assert "forge install" not in page
        world.registry.index.refresh()
        assert ">Stopped</span>" in host.client.text("/en/search").decode()

    def test_a_version_that_may_be_used_is_the_one_to_install(self, host: Host) -> None:
        sara = Client(host.client.flask, host.world.token("sara"))
        sara.publish(host.world.release(version="2.0.0"))
        held = host.withheld()
        newest = host.client.get(f"/api/v1/components/{ORG}/my-model")["versions"][0]
        host.say(
            replace(
                held,
                version=parse_version("2.0.0"),
                manifest_sha256=newest["manifest_sha256"],
            )
        )
        details = host.client.get(f"/api/v1/components/{ORG}/my-model")
        assert details["latest"] == "1.0.0"
        page = host.client.text(f"/en/{ORG}/my-model").decode()
        assert "my-model==1.0.0" in page

    @pytest.mark.parametrize(
        ("hours", "status", "words"),
        [
            (0, "ok", "Nothing is quarantined or revoked"),
            (35, "ok", "Nothing is quarantined"),
            (37, "warning", "Nothing is quarantined"),
            (49, "problem", "That is over: clients refuse the registry"),
        ],
    )
    def test_health(self, host: Host, hours: int, status: str, words: str) -> None:
        host.say()
        host.world.clock.ahead += timedelta(hours=hours)
        host.world.registry.publication.refresh()
        health = host.client.get("/api/v1/health")
        assert health["status"] == status
        assert health["status_role"]["version"] == 1
        data = host.world.current("status")
        assert data is not None
        assert health["status_role"]["at"] == f"{status_of(data).at:%Y-%m-%dT%H:%M:%SZ}"
        page = host.client.flask.get("/health", headers={"Accept": "text/html"}).text
        assert words in page
        notes = check_registry(host.world.registry, deep=False).notes
        assert any("role status" in note for note in notes) is (hours == 49)

    def test_a_host_that_has_not_spoken(self, host: Host) -> None:
        health = host.client.get("/api/v1/health")
        assert (health["status"], health["status_role"]["at"]) == ("problem", None)
        page = host.client.flask.get("/health", headers={"Accept": "text/html"}).text
        assert "has not signed anything yet" in page


def test_the_bytes_stop_with_the_signed_word(host: Host) -> None:
    """At the file itself, until the quarantine is lifted, or nobody is named to say so."""
    digest = sha256_hex(b"w" * 1000)
    host.say(host.withheld())
    refused = host.client.get(f"/blobs/{digest}", expect=451, code="withheld")
    assert (refused["state"], refused["reason"]) == ("quarantined", "odd <b>")
    assert digest in host.client.get("/api/v1/withheld")["blobs"]
    host.say()
    host.client.get(f"/blobs/{digest}", expect=200)
    assert host.client.get("/api/v1/withheld")["withheld"] == []
    host.say(host.withheld("revoked"))
    assert host.client.get(f"/blobs/{digest}", expect=451)["state"] == "revoked"
    current = host.world.registry.roles.current("targets")
    signed = next_version(current, "targets", host.world.clock())
    assert signed.delegations is not None
    assert signed.delegations.roles is not None
    del signed.delegations.roles["status"]
    targets = sign_role(signed, [host.world.authority_key("targets")]).decode()
    host.client.post("/api/v1/roles", {"roles": {"targets": targets}}, expect=200)
    host.client.get(f"/blobs/{digest}", expect=200)
    assert check_registry(host.world.registry, deep=False).problems == ()
