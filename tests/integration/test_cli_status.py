"""The status host's word, against a registry that holds it back, is robbed, or tells old stories.

The thief here has every key of the server: snapshot, timestamp and the log's. What nobody on the
server has is the status host's key.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import NAME, World, changed_role, role_version_of, sha256, tree
from cli_fixtures import Forge, Ran
from forge_client import forge
from log_builders import Log, TileTree
from static_server import Answer, StaticServer

from signing.ceremony_plans import Chain, KeySet, plan_next
from signing.ceremony_signing import add_signature, finish
from signing.keys import generate_key
from signing.role_edits import sign_snapshot
from signing.roles import MAX_SNAPSHOT_BYTES, role_version
from signing.status import SnapshotSeen, status_of
from signing.tlog.entries import role_entry

__all__ = ["forge"]


CURRENT = f"{NAME}==1.0.0"


def new_world(*, log: bool = True) -> World:
    """A registry of today with a log and a status host, and one release."""
    now = datetime.now(UTC).replace(microsecond=0)
    world = World(now=now, log=Log() if log else None, with_status=True)
    world.publish(tree())
    world.say_status()
    return world


def visit(
    forge: Forge, world: World, *args: str, changed: dict[str, Answer] | None = None
) -> tuple[Ran, list[str]]:
    with StaticServer({**world.files(), **(changed or {})}) as server:
        forge.trust(server, world)
        ran = forge(*(args or ("install", str(NAME), "--into", "out")))
        return ran, server.paths()


def refused(forge: Forge, ran: Ran, *words: str, code: int = 3) -> None:
    assert ran.code == code, ran.err
    for word in words:
        assert word in ran.err, ran.err
    assert "Traceback" not in ran.err
    assert forge.nothing_installed()


# --- how much is read ---------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [0, 1])
def test_of_a_snapshot_more_is_read_than_of_other_roles_but_not_all_that_is_signed(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    """The newest and the one that the host names. Behind its JSON is room that no signature covers;
    the timestamp signs the length of it all."""
    size = MAX_SNAPSHOT_BYTES + beyond
    monkeypatch.setattr("builders.sign_snapshot", lambda *of: sign_snapshot(*of).ljust(size))
    monkeypatch.setattr("signing.role_edits.MAX_SNAPSHOT_BYTES", size)  # as a thief's programs
    ran, paths = visit(forge, new_world(log=False))
    if beyond:
        refused(forge, ran, f"no more bytes than were signed, and at most {MAX_SNAPSHOT_BYTES}")
    else:
        assert ran.code == 0, ran.err
        assert sum(path.endswith(".snapshot.json") for path in paths) == 2


# --- what must go well ---------------------------------------------------------------------------


@pytest.mark.parametrize("log", [True, False], ids=["with a log", "without"])
def test_a_fresh_word_is_believed_and_shown(forge: Forge, log: bool) -> None:
    world = new_world(log=log)
    ran, _ = visit(forge, world)
    assert ran.code == 0, ran.err
    ran = forge("verify", f"out/forge_components/{NAME}")
    assert ran.code == 0, ran.err
    assert "10 ✓ status" in ran.out
    assert "what is quarantined or revoked was last heard as of" in ran.err


def test_a_word_that_was_heard_costs_no_request(forge: Forge) -> None:
    world = new_world()
    _, first = visit(forge, world, "info", str(NAME))
    assert [p for p in first if p.endswith("status.json")] == ["/tuf/2.status.json"]
    for _ in range(5):  # the status host's snapshot is not the current one any more
        world.publish_metadata()
    _, second = visit(forge, world, "info", str(NAME))
    assert not [path for path in second if "status" in path]
    (snapshot,) = [path for path in second if path.endswith("snapshot.json")]
    assert snapshot == f"/tuf/{world.snapshot_version}.snapshot.json"


def test_without_a_status_host_nothing_is_asked_of_one(forge: Forge) -> None:
    world = World(now=datetime.now(UTC))
    world.publish(tree())
    ran, paths = visit(forge, world)
    assert ran.code == 0, ran.err
    assert not [path for path in paths if "status" in path]
    assert "10 - status" in forge("verify", f"out/forge_components/{NAME}").out


# --- a host that is silent or silenced -----------------------------------------------------------


def test_a_stale_word_is_refused_and_says_since_when(forge: Forge) -> None:
    world = new_world()
    at = world.now - timedelta(hours=51)
    world.say_status(at=at)
    ran, _ = visit(forge, world)
    refused(
        forge, ran, f"has not been renewed since {at:%Y-%m-%d %H:%M} UTC", "3 hours ago",
        "forge authority status",
    )  # fmt: skip


def test_a_word_that_is_held_back_is_refused(forge: Forge) -> None:
    world = new_world()
    del world.roles["status"]
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, "role status", "found none")


@pytest.mark.parametrize("thief", ["snapshot", "timestamp", "targets", "registrar"])
def test_no_other_key_speaks_for_the_host(forge: Forge, thief: str) -> None:
    world = new_world()
    keys = {"snapshot": world.snapshot_key, "timestamp": world.timestamp_key}
    key = keys.get(thief) or getattr(world.authority, f"{thief}_key")
    world.set_role("status", world.sign_status(world.status(), key))
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, "status")


def test_a_statement_in_another_form_is_refused(forge: Forge) -> None:
    world = new_world()
    key = world.authority.status_key
    assert key is not None

    def spoil(signed: dict[str, object]) -> None:
        signed["version"] = 3
        signed["forge"]["withheld"] = "nothing"  # type: ignore[index]

    world.set_role("status", changed_role(world.roles["status"], [key], spoil))
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, "status: forge.withheld: expected a list")


def test_a_status_role_names_nobody(forge: Forge) -> None:
    """TUF would let it delegate what lies beneath its paths."""
    world = new_world()
    key = world.authority.status_key
    assert key is not None

    def delegate(signed: dict[str, object]) -> None:
        signed["version"] = 3
        signed["delegations"] = {"keys": {}, "roles": []}

    world.set_role("status", changed_role(world.roles["status"], [key], delegate))
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, "role status: expected no delegations")


# --- old states ----------------------------------------------------------------------------------


def test_an_older_word_to_a_returning_client_is_refused(forge: Forge) -> None:
    world = new_world()
    old = world.roles["status"]
    world.say_status()
    visit(forge, world, "info", str(NAME))
    world.roles["status"] = old
    world.publish_metadata()  # with the stolen snapshot and timestamp keys
    ran, _ = visit(forge, world)
    refused(forge, ran, "no older than")


def test_an_older_word_is_refused_also_after_the_snapshots_were_forgotten(forge: Forge) -> None:
    """TUF's client forgets snapshots when the root replaces its key; the word is remembered."""
    world = new_world()
    old = world.roles["status"]
    world.say_status()
    visit(forge, world, "info", str(NAME))
    rotate_online_keys(world)
    world.roles["status"] = old
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, "role status: expected at least version 3, as seen before")


def old_story(world: World) -> None:
    """What a thief of the server's keys tells those who were never here: the genuine index of
    before, in a snapshot and a log of today."""
    old = world.roles[NAME.role]
    world.publish(tree(version="1.1.0"))
    world.say_status()
    assert role_version(world.roles[NAME.role]) == 2
    world.roles[NAME.role] = old
    world.publish_metadata()


@pytest.mark.parametrize("log", [True, False], ids=["with a log", "without"])
def test_an_old_index_is_refused_also_by_a_fresh_client(forge: Forge, log: bool) -> None:
    world = new_world(log=log)
    old_story(world)
    ran, _ = visit(forge, world)
    refused(forge, ran, f"role {NAME.role}: expected at least version 2, which the status host saw")


def test_an_old_index_would_be_believed_without_the_status_host(forge: Forge) -> None:
    """What the minimum is for: the same story where nobody watches."""
    world = World(now=datetime.now(UTC), log=Log())
    world.publish(tree())
    old = world.roles[NAME.role]
    world.publish(tree(version="1.1.0"))
    world.roles[NAME.role] = old
    world.publish_metadata()
    ran, _ = visit(forge, world)
    assert ran.code == 0, ran.err


def test_an_organisation_that_vanished_is_refused(forge: Forge) -> None:
    world = new_world()
    del world.roles[NAME.role]
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, f"role {NAME.role}", "found no such role")


def test_another_snapshot_than_the_host_saw_is_refused(forge: Forge) -> None:
    """The one that the statement names is fetched; whoever serves another is caught."""
    world = new_world()
    named = status_of(world.roles["status"]).snapshot
    for _ in range(3):
        world.publish_metadata()
    path = f"/tuf/{named.version}.snapshot.json"
    other = world.history["1.snapshot.json"]
    ran, paths = visit(forge, world, changed={path: other})
    refused(forge, ran, f"snapshot version {named.version}", named.sha256)
    assert path in paths


# --- the log -------------------------------------------------------------------------------------


def log_of(world: World) -> Log:
    assert world.log is not None
    return world.log


def test_a_log_that_is_shorter_than_the_host_saw_is_refused(forge: Forge) -> None:
    world = new_world()
    log = log_of(world)
    before = log.tree.entries
    log.add(*(b"what the host saw %d" % number for number in range(50)))
    said = world.sign_status(world.status())
    log.tree = TileTree(before)  # and the thief goes on from there
    world.set_role("status", said)
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, "log forge.example/log", "as the status host saw")


def test_another_history_than_the_host_saw_is_refused(forge: Forge) -> None:
    """The log's key is stolen; a log is made for one victim, who was never here before."""
    world = new_world()
    log = log_of(world)
    log.add(b"what everybody sees")
    world.say_status()
    log.tree = TileTree(
        [b"what you see" if entry == b"what everybody sees" else entry
         for entry in log.tree.entries]
    )  # fmt: skip
    ran, _ = visit(forge, world)
    refused(forge, ran, "as the status host saw", "another history")


def test_a_log_that_grew_since_is_proved_once(forge: Forge) -> None:
    world = new_world()
    for number in range(600):
        log_of(world).add(b"%d" % number)
    world.say_status()
    for number in range(600):
        log_of(world).add(b"later %d" % number)
    world.publish_metadata()
    assert visit(forge, world, "info", str(NAME))[0].code == 0
    _, paths = visit(forge, world, "info", str(NAME))
    assert [path for path in paths if path.startswith("/log/")] == ["/log/checkpoint"]


def test_a_word_that_is_not_in_the_log_is_refused(forge: Forge) -> None:
    """Signed by the host's stolen key for one victim, while everybody else is told another."""
    world = new_world()
    log = log_of(world)
    world.roles["status"] = for_you = world.sign_status(world.status())
    world.history["3.status.json"] = for_you
    world.publish_metadata()
    leaf = role_entry("status", 3, for_you).to_bytes()
    log.tree = TileTree([b"{}" if entry == leaf else entry for entry in log.tree.entries])
    ran, _ = visit(forge, world)
    refused(forge, ran, "role status version 3 in the log")


# --- keys that were stolen and replaced ----------------------------------------------------------


def rotate_online_keys(world: World) -> None:
    chain = Chain(
        roots=(world.root,), targets=world.roles["targets"], registrar=world.roles["registrar"]
    )
    fresh = {role: generate_key("ed25519") for role in ("snapshot", "timestamp")}
    keys = {role: KeySet(keys=(key.public,), threshold=1) for role, key in fresh.items()}
    plan = plan_next(chain, world.now, keys=keys, dev=True)
    mark = world.fingerprint
    plan = add_signature(plan, world.authority.root_key, world.now, fingerprint=mark, dev=True)
    world.history["2.root.json"] = finish(plan, world.now, fingerprint=mark, dev=True)["root"]
    world.snapshot_key, world.timestamp_key = fresh["snapshot"], fresh["timestamp"]
    world.publish_metadata()


def far_future(world: World) -> None:
    """The thief shows the status host a snapshot that no honest registry will ever reach."""
    versions = {role: role_version(data) for role, data in world.roles.items()}
    snapshot = sign_snapshot(
        {**versions, NAME.role: 2**31 - 1}, 2**31 - 1, world.snapshot_key, world.now
    )
    world.history[f"{2**31 - 1}.snapshot.json"] = snapshot
    seen = SnapshotSeen(version=2**31 - 1, sha256=sha256(snapshot))
    said = world.sign_status(replace(world.status(), snapshot=seen))
    world.set_role("status", said)
    world.publish_metadata()


def test_a_minimum_from_the_far_future_ends_with_the_stolen_keys(forge: Forge) -> None:
    world = new_world()
    far_future(world)
    ran, _ = visit(forge, world)
    refused(forge, ran, f"at least version {2**31 - 1}")
    rotate_online_keys(world)
    ran, _ = visit(forge, world)
    assert ran.code == 0, ran.err


def test_a_minimum_from_a_later_root_binds_those_who_are_kept_at_an_older_one(
    forge: Forge,
) -> None:
    """The old keys are still good for whoever is not shown the root that took them away."""
    world = new_world()
    stolen = world.snapshot_key, world.timestamp_key
    old = world.roles[NAME.role]
    rotate_online_keys(world)
    world.publish(tree(version="1.1.0"))
    world.say_status()
    world.snapshot_key, world.timestamp_key = stolen
    world.roles[NAME.role] = old
    del world.history["2.root.json"]
    world.publish_metadata()
    ran, _ = visit(forge, world)
    refused(forge, ran, f"role {NAME.role}: expected at least version 2")


def test_no_other_snapshot_stands_in_for_the_named_one(forge: Forge) -> None:
    """Least of all one by keys that were taken away: such a one binds nobody, so a thief of the
    present keys would hand it out to be free of the minimum."""
    world = new_world()
    before = world.snapshot_version
    rotate_online_keys(world)
    old = world.roles[NAME.role]
    world.publish(tree(version="1.1.0"))
    world.say_status()
    named = status_of(world.roles["status"]).snapshot.version
    world.roles[NAME.role] = old
    world.publish_metadata()
    swapped = {f"/tuf/{named}.snapshot.json": world.history[f"{before}.snapshot.json"]}
    ran, paths = visit(forge, world, changed=swapped)
    assert f"/tuf/{named}.snapshot.json" in paths
    refused(forge, ran, f"snapshot version {named}: expected sha256")


# --- what is withheld ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["quarantined", "revoked"])
@pytest.mark.parametrize(
    "command",
    [
        ("install", str(NAME), "--into", "out"),
        ("install", CURRENT, "--into", "out"),
        ("lock", CURRENT, "--into", "out"),
        ("verify", str(NAME)),
        ("verify", CURRENT),
    ],
    ids=" ".join,
)
def test_what_is_withheld_is_refused(forge: Forge, state: str, command: tuple[str, ...]) -> None:
    world = new_world()
    release = next(iter(world.releases.values()))
    world.say_status(world.withheld(release, state))
    ran, paths = visit(forge, world, *command)
    assert ran.code == 7, ran.err
    said = ran.err + ran.out
    for word in (state, "looks poisoned", f"since {world.now:%Y-%m-%d %H:%M} UTC", CURRENT):
        assert word in said
    assert forge.nothing_installed()
    assert not any(path.startswith("/blobs/") for path in paths)


def test_the_refusal_is_told_to_programs(forge: Forge) -> None:
    world = new_world()
    world.say_status(world.withheld(next(iter(world.releases.values()))))
    ran, _ = visit(forge, world, "install", CURRENT, "--into", "out", "--json")
    error = ran.json["error"]
    assert error["code"] == "release-quarantined"
    assert (error["component"], error["version"]) == (str(NAME), "1.0.0")
    assert (error["state"], error["reason"]) == ("quarantined", "looks poisoned")
    assert error["since"] == f"{world.now:%Y-%m-%dT%H:%M:%SZ}"


def test_another_version_is_chosen(forge: Forge) -> None:
    world = new_world()
    bad = world.publish(tree(version="1.1.0"))
    world.say_status(world.withheld(bad))
    ran, _ = visit(forge, world)
    assert ran.code == 0, ran.err
    assert f"{NAME}==1.0.0" in ran.out
    ran, _ = visit(forge, world, "install", f"{NAME}>1.0", "--into", "other")
    assert ran.code == 7
    assert "1.1.0" in ran.err


def test_a_conflict_marks_what_is_withheld(forge: Forge) -> None:
    world = new_world()
    bad = world.publish(tree(version="1.1.0"))
    world.say_status(world.withheld(bad))
    ran, _ = visit(forge, world, "install", f"{NAME}>=1,!=1.0.0,!=1.1.0", "--into", "out")
    refused(forge, ran, "1.1.0 (quarantined), 1.0.0", code=6)


def test_a_quarantine_that_was_lifted_installs_again(forge: Forge) -> None:
    world = new_world()
    world.say_status(world.withheld(next(iter(world.releases.values()))))
    assert visit(forge, world)[0].code == 7
    world.say_status()
    ran, _ = visit(forge, world)
    assert ran.code == 0, ran.err


def test_a_revocation_cannot_be_lifted(forge: Forge) -> None:
    world = new_world()
    release = next(iter(world.releases.values()))
    world.say_status(world.withheld(release, "revoked"))
    assert visit(forge, world)[0].code == 7
    for weaker in ((), (world.withheld(release),), (world.withheld(release, "revoked", "other"),)):
        world.say_status(*weaker)
        ran, _ = visit(forge, world)
        refused(forge, ran, f"role status: {CURRENT}: expected still revoked since")


def test_info_shows_what_is_withheld(forge: Forge) -> None:
    world = new_world()
    world.say_status(world.withheld(next(iter(world.releases.values()))))
    ran, _ = visit(forge, world, "info", str(NAME))
    assert ran.code == 0, ran.err
    assert f"{NAME} 1.0.0  (quarantined)" in ran.out
    assert "looks poisoned" in ran.out
    ran, _ = visit(forge, world, "info", str(NAME), "--json")
    assert ran.json["withheld"]["state"] == "quarantined"
    assert ran.json["versions"][0]["withheld"]["reason"] == "looks poisoned"


# --- without a request ---------------------------------------------------------------------------


def installed(forge: Forge, world: World, server: StaticServer) -> None:
    forge.trust(server, world)
    forge.ok("install", str(NAME), "--into", "out")
    server.requests.clear()


def test_what_is_locked_and_cached_uses_the_last_word_and_says_how_old_it_is(
    forge: Forge,
) -> None:
    world = new_world()
    with StaticServer(world.files()) as server:
        installed(forge, world, server)
        ran = forge.ok("sync", "--into", "out")
        assert not server.requests
        assert "nothing of it was withheld as of" in ran.err
        assert "no request was made" in ran.err
        # Another component is looked at, and with it comes the status host's newest word.
        world.say_status(world.withheld(next(iter(world.releases.values()))))
        server.files.update(world.files())
        forge("info", str(NAME))
        server.requests.clear()
        for command in (
            ("sync", "--into", "out"),
            ("install", str(NAME), "--into", "out"),
            ("lock", "--into", "out"),
        ):
            ran = forge(*command)
            assert (ran.code, "looks poisoned" in ran.err) == (7, True), (command, ran.err)
            assert "this was known as of" in ran.err
        assert not server.requests
        ran = forge("verify", f"out/forge_components/{NAME}")
        assert ran.code == 7, ran.err
        assert "10 ✗ status" in ran.out
        assert "quarantined since" in forge.ok("list", "--into", "out").out


def test_an_offline_verification_says_how_old_its_view_is(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world()
    with StaticServer(world.files()) as server:
        installed(forge, world, server)
    later = datetime.now(UTC) + timedelta(days=5)
    monkeypatch.setattr("forge_cli.context.datetime", _Frozen(later))
    ran = forge("verify", f"out/forge_components/{NAME}")
    assert ran.code == 0, ran.err
    assert "5 days ago" in ran.err
    assert "longer than a word of the status host lasts" in ran.err


class _Frozen:
    """A clock that stands."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self, zone: object) -> datetime:
        return self.at


@pytest.mark.parametrize("spoilt", ["role.json", "*.snapshot.json"])
def test_what_was_kept_and_spoilt_is_heard_again(forge: Forge, spoilt: str) -> None:
    """A full disk, a curious hand: what lies in the own folder is a convenience."""
    world = new_world()
    visit(forge, world, "info", str(NAME))
    (path,) = forge.home.rglob(f"status/{spoilt}")
    path.write_bytes(b"{}")
    world.publish_metadata()
    ran, _ = visit(forge, world)
    assert ran.code == 0, ran.err
    assert path.read_bytes() != b"{}"


def test_evidence_of_a_withheld_release_does_not_verify_for_anybody(forge: Forge) -> None:
    """The record beside an installed component holds the status host's word of that day."""
    world = new_world()
    with StaticServer(world.files()) as server:
        installed(forge, world, server)
    path = forge.place / f"out/forge_components/.forge/{NAME}.json"
    evidence = json.loads(json.loads(path.read_text())["evidence"])
    assert role_version_of(evidence["status"].encode()) == 2
