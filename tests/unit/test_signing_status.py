"""What the status host may say, how it is read, and what binds its next word."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import NAME, NOW, World, changed_role, later, sha256, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from log_builders import Log, NamedKey

from signing.ages import ago
from signing.authority_updates import check_next_targets
from signing.errors import ConflictError, MalformedError, VerificationError, WithheldError
from signing.keys import generate_key
from signing.names import ComponentName, parse_version
from signing.role_edits import sign_snapshot
from signing.roles import EXPIRY, level_of, parse_targets, paths_of
from signing.status import (
    MAX_WITHHELD,
    LogSeen,
    SnapshotSeen,
    Status,
    Withheld,
    order,
    status_of,
)
from signing.status_edits import changes, lift, sign_status, withhold
from signing.status_rules import check_minimum, is_superseded, log_to_check
from signing.updates import check_role_update

KEY = generate_key("ed25519")
LOG = NamedKey("forge.example/log")
DIGEST = "ab" * 32


def entry(name: str = "a/b", version: str = "1.0", state: str = "quarantined", **changed: Any):  # type: ignore[no-untyped-def]
    values = {
        "component": ComponentName.parse(name),
        "version": parse_version(version),
        "manifest_sha256": sha256(f"{name}=={version}".encode()),
        "state": state,
        "reason": "odd",
        "since": NOW,
    }
    return Withheld(**{**values, **changed})


def statement(*withheld: Withheld, **changed: Any) -> Status:
    values = {
        "at": NOW,
        "snapshot": SnapshotSeen(version=7, sha256=DIGEST),
        "log": LogSeen(key=LOG.as_log, size=12, root=bytes(32)),
        "withheld": tuple(sorted(withheld, key=order)),
    }
    return Status(**{**values, **changed})


def signed(status: Status, version: int = 1) -> bytes:
    return sign_status(status, version, [KEY])


def spoilt(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A role with a genuine signature whose statement is ``change``d."""
    return changed_role(
        signed(statement(entry(), entry("a/c"))), [KEY], lambda role: change(role["forge"])
    )


# --- the form --------------------------------------------------------------------------------


def test_what_was_said_is_read_again() -> None:
    status = statement(entry(), entry("a/b", "1.1", "revoked"), entry("b/a"))
    assert status_of(signed(status)) == status
    assert status_of(signed(replace(status, log=None))).log is None


def test_the_same_statement_is_the_same_bytes() -> None:
    one, other = entry("a/b", "1.9"), entry("a/b", "1.10")
    assert signed(statement(one, other)) == signed(statement(other, one))
    assert [item.release for item in status_of(signed(statement(other, one))).withheld] == [
        "a/b==1.9",
        "a/b==1.10",
    ]


FORMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown member": (lambda s: s.update(more=1), "status: forge.more"),
    "no snapshot": (lambda s: s.pop("snapshot"), "status: forge.snapshot"),
    "no time": (lambda s: s.pop("at"), "status: forge.at"),
    "another time": (lambda s: s.update(at="yesterday"), "status: forge.at"),
    "a time after its end": (lambda s: s.update(at="2027-01-01T00:00:00Z"), "status: forge.at"),
    "valid for longer": (lambda s: s.update(at="2026-05-01T11:59:59Z"), "status: forge.at"),
    "list of nothing": (lambda s: s.update(withheld=None), "status: forge.withheld"),
    "an entry that is none": (lambda s: s["withheld"].append(1), "status: forge.withheld[2]"),
    "unknown state": (
        lambda s: s["withheld"][1].update(state="maybe"), "status: forge.withheld[1].state",
    ),
    "no reason": (
        lambda s: s["withheld"][0].update(reason=" "), "status: forge.withheld[0].reason",
    ),
    "reason of two lines": (
        lambda s: s["withheld"][0].update(reason="a\nb"), "status: forge.withheld[0].reason",
    ),
    "reason that turns": (
        lambda s: s["withheld"][0].update(reason="a\u202eb"), "status: forge.withheld[0].reason",
    ),
    "another name": (
        lambda s: s["withheld"][0].update(component="status/x"),
        "status: forge.withheld[0].component",
    ),
    "another version": (
        lambda s: s["withheld"][0].update(version="v1"), "status: forge.withheld[0].version",
    ),
    "no digest": (
        lambda s: s["withheld"][0].update(manifest_sha256="AB" * 32),
        "status: forge.withheld[0].manifest_sha256",
    ),
    "out of order": (lambda s: s["withheld"].reverse(), "status: forge.withheld[1]"),
    "twice": (
        lambda s: s["withheld"].insert(1, {**s["withheld"][0], "version": "1.0.0"}),
        "status: forge.withheld[1]",
    ),
    "one digest for two": (
        lambda s: s["withheld"][1].update(manifest_sha256=s["withheld"][0]["manifest_sha256"]),
        "status: forge.withheld",
    ),
    "too many": (
        lambda s: s.update(withheld=[{}] * (MAX_WITHHELD + 1)), "status: forge.withheld",
    ),
    "log of nothing": (lambda s: s["log"].update(size=0), "status: forge.log.size"),
    "size as text": (lambda s: s["log"].update(size="12"), "status: forge.log.size"),
    "short root": (lambda s: s["log"].update(root="00"), "status: forge.log.root"),
    "another origin": (lambda s: s["log"].update(origin="x"), "status: forge.log.origin"),
    "a witness for a log": (
        lambda s: s["log"].update(key=LOG.as_witness.vkey), "status: forge.log.key",
    ),
    "snapshot zero": (lambda s: s["snapshot"].update(version=0), "status: forge.snapshot.version"),
    "snapshot true": (
        lambda s: s["snapshot"].update(version=True), "status: forge.snapshot.version",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_another_form_is_refused_with_its_place(case: str) -> None:
    change, where = FORMS[case]
    with pytest.raises(MalformedError) as caught:
        status_of(spoilt(change))
    assert caught.value.where == where


def test_no_statement_at_all_is_refused() -> None:
    data = changed_role(signed(statement()), [KEY], lambda role: role.pop("forge"))
    with pytest.raises(MalformedError):
        status_of(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
PATHS = st.lists(
    st.sampled_from(
        ["at", "log", "snapshot", "withheld", "key", "origin", "size", "root", "version",
         "sha256", "component", "manifest_sha256", "state", "reason", "since", 0, 1]
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@settings(deadline=None)
@given(path=PATHS, value=JSON)
def test_whatever_stands_in_it_only_one_error_comes_out(path: list[Any], value: Any) -> None:
    data = json.loads(signed(statement(entry(), entry("a/c"))))
    place = data["signed"]["forge"]
    for step in path[:-1]:
        inside = isinstance(place, list) and isinstance(step, int) and step < len(place)
        if inside or (isinstance(place, dict) and step in place):
            place = place[step]
    if isinstance(place, dict):
        place[str(path[-1])] = value
    elif isinstance(place, list) and isinstance(path[-1], int) and path[-1] < len(place):
        place[path[-1]] = value
    with suppress(MalformedError):
        status_of(json.dumps(data).encode())


def test_the_role_is_one_of_a_kind_and_no_organisation() -> None:
    assert level_of("status") == "status"
    assert paths_of("status") == ["status/*"]
    assert EXPIRY["status"] == timedelta(hours=48)
    for name in ("status", "reviews", "reviews-lab"):
        with pytest.raises(MalformedError):
            ComponentName.parse(f"{name}/x")


# --- what binds the next one ---------------------------------------------------------------------


def world_with_status() -> World:
    return World(with_status=True)


def update(world: World, new: bytes) -> None:
    check_role_update("status", new, world.roles["status"], world.roles["targets"], world.now)


def test_the_next_word_may_withhold_more_and_lift_a_quarantine() -> None:
    world = world_with_status()
    release = world.publish(tree())
    world.say_status(world.withheld(release))
    update(world, world.sign_status(world.status()))
    update(world, world.sign_status(world.status(world.withheld(release, "revoked"))))


def weaker(world: World) -> dict[str, tuple[Withheld, ...]]:
    release = next(iter(world.releases.values()))
    kept = world.withheld(release, "revoked")
    return {
        "lifted": (),
        "quarantined": (world.withheld(release),),
        "another reason": (replace(kept, reason="nothing"),),
        "later": (replace(kept, since=later(hours=1)),),
        "another release": (replace(kept, manifest_sha256=DIGEST),),
    }


@pytest.mark.parametrize(
    "case", ["lifted", "quarantined", "another reason", "later", "another release"]
)
def test_what_was_revoked_stays_so_word_for_word(case: str) -> None:
    world = world_with_status()
    release = world.publish(tree())
    world.say_status(world.withheld(release, "revoked"))
    with pytest.raises(VerificationError) as caught:
        update(world, world.sign_status(world.status(*weaker(world)[case])))
    assert caught.value.code == "revocation-lifted"
    update(world, world.sign_status(world.status(world.withheld(release, "revoked"))))


def test_keys_that_the_authority_took_away_bind_nobody() -> None:
    """A thief of the host's key revoked everything for good: the authority names another key."""
    world = world_with_status()
    release = world.publish(tree())
    world.say_status(world.withheld(release, "revoked"))
    fresh = generate_key("ed25519")

    def replace_key(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        (role,) = [r for r in signed["delegations"]["roles"] if r["name"] == "status"]
        role["keyids"] = [fresh.public.keyid]
        signed["delegations"]["keys"][fresh.public.keyid] = fresh.public.tuf.to_dict()

    targets = changed_role(world.roles["targets"], [world.authority.targets_key], replace_key)
    new = world.sign_status(world.status(), fresh)
    check_role_update("status", new, world.roles["status"], targets, world.now)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda role: role.update(version=9), "role-version"),
        (lambda role: role["targets"].update({"status/x": {"length": 1, "hashes": {}}}), None),
        (
            lambda role: role.update(
                delegations={"keys": {}, "roles": []}
            ),
            "path-not-delegated",
        ),
        (lambda role: role.update(expires="2026-05-01T12:00:00Z"), None),
    ],
    ids=["skipped", "a target", "a delegation", "expired"],
)  # fmt: skip
def test_a_word_that_the_level_does_not_allow(change: Any, code: str | None) -> None:
    world = world_with_status()
    key = world.authority.status_key
    assert key is not None
    new = changed_role(world.sign_status(world.status()), [key], change)
    with pytest.raises((VerificationError, ConflictError, MalformedError)) as caught:
        update(world, new)
    assert code is None or caught.value.code == code


def test_a_statement_that_lasts_longer_is_refused() -> None:
    world = world_with_status()
    new = sign_status(world.status(at=later(hours=2)), 2, [world.authority.status_key])  # type: ignore[list-item]
    with pytest.raises(VerificationError) as caught:
        update(world, new)
    assert caught.value.code == "expired"


# --- the minimum ---------------------------------------------------------------------------------


def snapshot(**versions: int) -> bytes:
    return sign_snapshot({"targets": 1, **versions}, 7, KEY, NOW)


@pytest.mark.parametrize(
    ("current", "holds"),
    [
        ({"targets": 1, "org": 2, "x": 1}, True),
        ({"targets": 3, "org": 9, "more": 1, "x": 1}, True),
        ({"targets": 1, "org": 1, "x": 1}, False),
        ({"targets": 1, "x": 1}, False),
        ({"targets": 0, "org": 2, "x": 1}, False),
    ],
)
def test_no_role_is_older_than_the_host_saw(current: dict[str, int], holds: bool) -> None:
    named = snapshot(org=2, x=1)
    status = statement(snapshot=SnapshotSeen(version=7, sha256=sha256(named)))
    if holds:
        check_minimum(status, named, current)
        return
    with pytest.raises(VerificationError) as caught:
        check_minimum(status, named, current)
    assert caught.value.code == "rollback"


def test_another_snapshot_than_the_named_one_is_refused() -> None:
    with pytest.raises(VerificationError) as caught:
        check_minimum(statement(), snapshot(), {"targets": 1})
    assert caught.value.code == "digest-mismatch"


def test_a_snapshot_is_superseded_only_by_a_later_root() -> None:
    from ceremonies import HOLDERS, SNAPSHOT, TIMESTAMP, key_set

    from signing.ceremony_plans import Chain, plan_first, plan_next
    from signing.ceremony_signing import add_signature, finish

    plan = plan_first(
        NOW, root=key_set(3, *HOLDERS), targets=key_set(2, *HOLDERS[:3]),
        registrar=key_set(1, HOLDERS[0]), snapshot=SNAPSHOT.public, timestamp=TIMESTAMP.public,
    )  # fmt: skip
    for key in HOLDERS:
        plan = add_signature(plan, key, NOW, fingerprint=None)
    first = finish(plan, NOW, fingerprint=None)
    chain = Chain(roots=(first["root"],), targets=first["targets"], registrar=first["registrar"])
    plan = plan_next(chain, NOW, keys={"snapshot": key_set(1, KEY)})
    for key in HOLDERS:
        plan = add_signature(plan, key, NOW, fingerprint=None)
    second = finish(plan, NOW, fingerprint=None)["root"]
    by_old, by_new = (sign_snapshot({}, 7, key, NOW) for key in (SNAPSHOT, KEY))
    assert not is_superseded(by_old, [first["root"]])
    assert is_superseded(by_old, [first["root"], second])
    assert not is_superseded(by_new, [first["root"], second])
    assert not is_superseded(by_new, [first["root"]])  # of a root that we are not shown: it binds


def test_a_log_whose_key_was_taken_away_binds_nobody() -> None:
    log = Log()
    seen = LogSeen(key=log.key.as_log, size=3, root=bytes(32))
    status = statement(log=seen)
    assert log_to_check(status, log.policy) == seen
    log.key = NamedKey(log.key.name)
    assert log_to_check(status, log.policy) is None
    assert log_to_check(replace(status, log=None), log.policy) is None
    log.key = NamedKey("other.example/log")
    for policy in (log.policy, None):
        with pytest.raises(VerificationError) as caught:
            log_to_check(status, policy)
        assert caught.value.code == "status-contradicts"


# --- edits and words -----------------------------------------------------------------------------


def test_withholding_and_lifting() -> None:
    status = statement()
    held = withhold(status, entry())
    assert changes(status, held) == ["a/b==1.0  quarantined since 2026-05-01 12:00 UTC: odd"]
    assert lift(held, "a/b==1.0") == status
    assert changes(held, status)[0].startswith("a/b==1.0  no longer withheld (was quarantined")
    assert withhold(held, entry(reason="more")).withheld[0].reason == "more"
    revoked = withhold(held, entry(state="revoked"))
    assert revoked.withheld[0].state == "revoked"
    for edit, code in (
        (lambda: withhold(held, entry()), "nothing-changes"),
        (lambda: withhold(revoked, entry(state="revoked")), "nothing-changes"),
        (lambda: withhold(revoked, entry()), "revocation-lifted"),
        (lambda: lift(revoked, "a/b==1.0"), "revocation-lifted"),
        (lambda: lift(status, "a/b==1.0"), "nothing-changes"),
    ):
        with pytest.raises((ConflictError, VerificationError)) as caught:
            edit()
        assert caught.value.code == code
    with pytest.raises(MalformedError):
        withhold(status, entry(reason="\t"))


def test_the_list_has_an_end() -> None:
    full = statement(*(entry(f"a/b{number}") for number in range(MAX_WITHHELD)))
    assert len(signed(full)) < 3_000_000  # clients read 5 MB
    with pytest.raises(ConflictError) as caught:
        withhold(full, entry("b/a"))
    assert caught.value.code == "too-many-withheld"


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=90), "moments"),
        (timedelta(minutes=2), "2 minutes"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=2), "2 days"),
        (-timedelta(hours=1), "moments"),
    ],
)
def test_spans_are_said_in_one_unit(age: timedelta, words: str) -> None:
    assert ago(age) == words


# --- the release -------------------------------------------------------------------------------


def test_a_withheld_release_verifies_in_everything_else() -> None:
    world = World(log=Log(), with_status=True)
    release = world.publish(tree())
    world.say_status()
    assert world.verify(release).ok
    world.say_status(world.withheld(release))
    report = world.verify(release)
    assert report.first_failure is not None
    assert report.first_failure.title == "status"
    with pytest.raises(WithheldError) as caught:
        report.require()
    assert caught.value.code == "release-quarantined"
    assert caught.value.facts["component"] == str(NAME)


def test_a_newer_word_that_the_client_knows_counts() -> None:
    world = World(with_status=True)
    release = world.publish(tree())
    world.say_status()
    newer = world.status(world.withheld(release), at=later(hours=1))
    assert world.verify(release, status=newer, now=later(hours=2)).first_failure is not None
    older = world.status(world.withheld(release), at=later(hours=-1))
    assert world.verify(release, status=older).ok  # lifted since


SPOILT: dict[str, tuple[Callable[[World], dict[str, object]], str]] = {
    "missing": (lambda world: {"status": None}, "status-missing"),
    "by the snapshot key": (
        lambda world: {"status": world.sign_status(world.status(), world.snapshot_key)},
        "threshold-not-met",
    ),
    "stale": (
        lambda world: {"status": world.sign_status(world.status(at=later(hours=-49)))},
        "status-stale",
    ),
    "of a longer log": (
        lambda world: {
            "status": world.sign_status(
                replace(
                    world.status(),
                    log=LogSeen(key=world.log.key.as_log, size=10_000, root=bytes(32)),  # type: ignore[union-attr]
                )
            )
        },
        "rollback",
    ),
    "of another log": (
        lambda world: {
            "status": world.sign_status(
                replace(world.status(), log=LogSeen(key=LOG.as_log, size=1, root=bytes(32)))
            )
        },
        None,  # type: ignore[dict-item]  # the same name under another key: not binding
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_evidence_without_a_word_that_holds(case: str) -> None:
    world = World(log=Log(), with_status=True)
    release = world.publish(tree())
    world.say_status()
    change, code = SPOILT[case]
    report = world.verify(release, evidence=world.evidence(release, **change(world)))
    found = None if report.first_failure is None else report.first_failure.error
    assert getattr(found, "code", None) == code


def test_targets_may_name_a_registrar_and_a_status_host_and_nobody_else() -> None:
    world = World(with_status=True)
    current = world.roles["targets"]
    for name, allowed in (("status", True), ("reviews", False), ("minds-lab", False)):

        def rename(signed: dict[str, Any], name: str = name) -> None:
            signed["version"] += 1
            (role,) = [r for r in signed["delegations"]["roles"] if r["name"] == "status"]
            role["name"], role["paths"] = name, paths_of(name)

        data = changed_role(current, [world.authority.targets_key], rename)
        if allowed:
            check_next_targets(parse_targets(data, "targets").signed, current, world.now)
            continue
        with pytest.raises(VerificationError) as caught:
            check_next_targets(parse_targets(data, "targets").signed, current, world.now)
        assert caught.value.code == "path-not-delegated"
