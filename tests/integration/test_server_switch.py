"""The operator's read-only switch: nothing changes, reading and signing again go on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from operators import run
from server_fixtures import (
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    world,
)

from forge_server.errors import RegistryError
from forge_server.operate.check import check_registry
from forge_server.operate.worker import Worker
from forge_server.services.callers import OPERATOR
from signing.tlog.entries import parse_entry

__all__ = ["_fresh_registry", "client", "sara", "world"]
REASON = "moving to another building until Monday"


def acts(world: World) -> list[tuple[str, str]]:
    """(act, subject) of the leaves of the public log that are no roles."""
    from sqlalchemy import select

    from forge_server.db.models import LogEntry

    with world.registry.database.read() as session:
        rows = session.scalars(select(LogEntry.entry).order_by(LogEntry.number)).all()
    entries = [parse_entry(row) for row in rows]
    return [(entry.act, entry.subject) for entry in entries if entry.act.startswith("registry.")]


def test_nothing_is_taken_and_everybody_reads_why(world: World, sara: Client) -> None:
    sara.publish(world.release())
    built = world.release(version="1.1.0")
    run("read-only", world.root, "on", "--reason", REASON)
    refused = sara.post("/api/v1/releases", built.body(), expect=503, code="read-only")
    assert refused["detail"] == f"the operator takes no changes: {REASON}"
    digest, data = next(iter(built.blobs().items()))
    path = f"/api/v1/blobs/{digest}?component=minds-lab/my-model"
    sara.call("PUT", path, data=data, expect=503, code="read-only")
    roles = {"roles": {"minds-lab": (world.current("minds-lab") or b"").decode()}}
    sara.post("/api/v1/roles", roles, expect=503, code="read-only")
    sara.post("/api/v1/applications", world.application("other"), expect=503, code="read-only")
    health = sara.get("/api/v1/health")
    assert (health["status"], health["read_only"]) == (
        "read-only", f"the operator takes no changes: {REASON}",
    )  # fmt: skip
    assert REASON.encode() in sara.text("/health")
    assert b"Read-only." in sara.text("/en/")
    assert b"forge_read_only 1.0" in sara.text("/metrics")
    assert REASON in run("check", world.root).stderr
    run("read-only", world.root, "off")
    sara.publish(built)
    assert sara.get("/api/v1/health")["read_only"] is None


def test_it_is_in_the_audit_trail_and_the_log(world: World, sara: Client) -> None:
    world.registry.switch.on(OPERATOR, REASON)
    world.registry.switch.on(OPERATOR, REASON)  # nothing new
    assert world.registry.switch.off(OPERATOR) is True
    assert world.registry.switch.off(OPERATOR) is False
    assert acts(world) == [("registry.readonly", REASON), ("registry.writable", "")]
    events = [event.action for event in world.registry.audit.newest(50)]
    assert events.count("registry.readonly") == 1
    world.registry.publication.materialise()
    assert check_registry(world.registry, deep=True).problems == ()


def test_signing_again_goes_on(world: World, sara: Client) -> None:
    world.registry.switch.on(OPERATOR, REASON)
    world.registry.publication.materialise()
    lines: list[str] = []
    for ahead in (timedelta(minutes=61), timedelta(hours=13)):
        world.clock.ahead = ahead
        assert Worker(world.registry, lines.append).once() is True
    assert ["signed timestamp" in line for line in lines] == [True, False]
    assert "signed snapshot" in lines[1]


def test_a_change_that_had_begun_is_not_finished(world: World, sara: Client) -> None:
    """Switched on between the first look and the transaction."""
    publication = world.registry.publication
    publication.require_writable()
    world.registry.switch.on(OPERATOR, REASON)
    with (
        pytest.raises(RegistryError, match="takes no changes"),
        world.registry.database.write() as session,
    ):
        publication.announce(session)


def test_a_new_root_is_taken_all_the_same(world: World, sara: Client) -> None:
    """It may be what ends the emergency."""
    world.registry.switch.on(OPERATOR, REASON)
    with world.registry.database.write() as session:
        world.registry.publication.announce(session, always=True)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_a_reason_is_needed(world: World, reason: str) -> None:
    done = run("read-only", world.root, "on", "--reason", reason, code=1)
    assert "reason: expected 1 to 200 characters" in done.stderr


def test_mistakes_on_the_command_line(world: World) -> None:
    run("read-only", world.root, "on", code=2)
    run("read-only", world.root, "off", "--reason", "x", code=2)
    assert "were not switched off" in run("read-only", world.root, "off").stderr


def test_a_reason_cannot_drive_a_terminal(world: World) -> None:
    run("read-only", world.root, "on", "--reason", "down\n\x1b[2Jfor \u202ework")
    assert world.registry.publication.read_only == (
        "the operator takes no changes: down \ufffd[2Jfor \ufffdwork"
    )
    assert ORG


def test_no_snapshot_is_signed_that_clients_would_refuse(
    world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sara.publish(world.release())
    before = world.current("snapshot") or b""
    monkeypatch.setattr("forge_server.services.publication.MAX_SNAPSHOT_BYTES", len(before) + 9)
    built = world.release("one-too-many")
    for digest, data in built.blobs().items():
        sara.call("PUT", f"/api/v1/blobs/{digest}?component=minds-lab/one-too-many", data=data)
    refused = sara.post("/api/v1/releases", built.body(), expect=503, code="read-only")
    assert "its operator must split the registry" in refused["detail"]
    assert world.current("snapshot") == before
    assert world.current("minds-lab.one-too-many") is None
    sara.publish(world.release(version="1.1.0"))  # of those who are there
