"""Trouble that is the server's own: no publisher is blamed for it, and nothing is lost."""

from __future__ import annotations

import errno
import json
import sqlite3

import pytest
from offers import NAME, assert_nothing_happened, offer
from server_fixtures import ON_SQLITE, Client, World, _fresh_registry, client, sara, world
from sqlalchemy.exc import OperationalError

from forge_server.app import create_app
from forge_server.services.audit import Audit
from forge_server.services.releases import Releases
from signing.keys import generate_key
from storage import BackendError
from storage.errors import backend_error

__all__ = ["_fresh_registry", "client", "sara", "world"]


class TestTheServersOwnTrouble:
    def test_read_only_when_the_keys_are_not_the_roots(self, world: World, sara: Client) -> None:
        built = world.release()
        for role in ("snapshot", "timestamp"):
            path = world.root / "keys" / f"{role}.pem"
            path.write_bytes(generate_key("ed25519").to_pem(None))
        other = Client(create_app(world.reopen()).test_client(), sara.token)
        answer = offer(other, built, expect=503, code="read-only")
        assert "online keys" in answer["detail"]
        other.post("/api/v1/roles", {"roles": world.approval("a-b")}, expect=503, code="read-only")
        other.get("/tuf/timestamp.json", expect=200)
        other.get("/api/v1/components", expect=200)
        assert b"Read-only" in other.get("/en/", expect=200)

    def test_disk_full(self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise backend_error("store it", OSError(errno.ENOSPC, "No space", "/srv/secret"))

        monkeypatch.setattr(type(world.registry.blobs), "put", full)
        path = f"/api/v1/blobs/{'a' * 64}?component={NAME}"
        answer = sara.call("PUT", path, data=b"x", expect=507, code="disk-full")
        assert "/srv" not in json.dumps(answer)

    def test_storage_down(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built = world.release()
        sara.put_blobs(built)

        def down(*_: object) -> None:
            raise BackendError("the object store is gone: s3://secret", True)

        with monkeypatch.context() as patch:
            patch.setattr(type(world.registry.blobs), "missing", down)
            answer = offer(sara, built, expect=503, code="storage-failed")
        assert "secret" not in json.dumps(answer)
        offer(sara, built, expect=201)

    @pytest.mark.parametrize(
        ("words", "code"),
        [("database or disk is full", "disk-full"), ("disk I/O error", "storage-failed"),
         ("attempt to write a readonly database", "storage-failed")],
    )  # fmt: skip
    def test_database_down(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch, words: str, code: str
    ) -> None:
        def down(*_: object, **__: object) -> None:
            raise OperationalError("SELECT secret", {}, sqlite3.OperationalError(words))

        monkeypatch.setattr(Releases, "offer", down)
        answer = offer(sara, world.release(), code=code)
        assert "secret" not in json.dumps(answer)

    @ON_SQLITE  # it holds SQLite's own lock; test_server_postgresql holds PostgreSQL's
    def test_busy(self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another process holds the write lock: reading goes on, writing says so."""
        built = world.release()
        monkeypatch.setattr("forge_server.db.sqlite.BUSY_TIMEOUT_MS", 10)
        impatient = Client(create_app(world.reopen()).test_client(), sara.token)
        impatient.put_blobs(built)
        holder = sqlite3.connect(world.root / "registry.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            impatient.get("/api/v1/components", expect=200)
            offer(impatient, built, expect=503, code="busy")
        finally:
            holder.close()
        impatient.publish(built)

    def test_a_fault_says_nothing(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fault(*_: object, **__: object) -> None:
            raise RuntimeError("/srv/secret")

        monkeypatch.setattr(Releases, "offer", fault)
        answer = offer(sara, world.release(), expect=500, code="internal")
        assert "secret" not in json.dumps(answer)
        assert answer["request_id"]

    def test_what_cannot_be_audited_does_not_happen(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built = world.release()
        sara.put_blobs(built)

        def fail(*_: object, **__: object) -> None:
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("something odd"))

        with monkeypatch.context() as patch:
            patch.setattr(Audit, "record", fail)
            offer(sara, built, expect=503, code="storage-failed")
            sara.post("/api/v1/tokens", {"name": "x"}, expect=503)
        assert len(sara.get("/api/v1/tokens")["tokens"]) == 1
        assert_nothing_happened(world)
        with monkeypatch.context() as patch:
            patch.setattr(Audit, "refused", fail)
            bad = {"Authorization": "Bearer forge_x"}
            sara.get("/api/v1/whoami", headers=bad, expect=503, code="storage-failed")
