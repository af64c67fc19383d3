"""How much an organisation may publish: exact at the edge, told early, and told well."""

from __future__ import annotations

import threading
from base64 import b64encode
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from live_registry import LiveRegistry
from operators import run
from server_fixtures import (
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    set_settings,
    world,
)
from sqlalchemy import delete, text, update

from forge_server.app import create_app
from forge_server.db.migrations.versions.v0005_upkeep import COUNT
from forge_server.db.models import Quota
from forge_server.domain.amounts import parse_bytes, show_bytes
from forge_server.services.callers import OPERATOR
from signing.errors import MalformedError

__all__ = ["_fresh_registry", "client", "sara", "world"]


def size_of(built: Any) -> int:
    return int(built.manifest.total_size)


class TestEdge:
    def test_exactly_what_fits(self, world: World, sara: Client) -> None:
        one = world.release()
        world.registry.quotas.set(OPERATOR, ORG, size_of(one) * 2, None)
        sara.publish(one)
        two = world.release(version="1.1.0")
        sara.publish(two)
        refused = sara.post(
            "/api/v1/releases", world.release(version="1.2.0").body(), expect=403,
            code="quota-exceeded",
        )  # fmt: skip
        assert refused["used_bytes"] == size_of(one) * 2
        assert refused["limit_bytes"] == size_of(one) * 2
        assert refused["asked_bytes"] == size_of(one)
        assert "forge-server quota DIR minds-lab --max-bytes" in refused["hint"]

    def test_files_that_come_along_need_room(self, world: World, sara: Client) -> None:
        built = world.release()
        world.registry.quotas.set(OPERATOR, ORG, size_of(built) + 10, None)
        sent = f"/api/v1/blobs/{sha256(b'x' * 99).hexdigest()}?component={ORG}/my-model"
        sara.call("PUT", sent, data=b"x" * 99, expect=201)
        before = set(world.registry.blobs.iter_digests())
        files = {name: b64encode(data).decode() for name, data in built.blobs().items()}
        body = {**built.body(), "files": files}
        sara.post("/api/v1/releases", body, expect=403, code="quota-exceeded")
        assert set(world.registry.blobs.iter_digests()) == before

    def test_the_same_offer_again_costs_nothing(self, world: World, sara: Client) -> None:
        built = world.release()
        world.registry.quotas.set(OPERATOR, ORG, size_of(built), 1)
        sara.publish(built)
        sara.post("/api/v1/releases", built.body(), expect=200)
        assert world.registry.quotas.of(ORG).used_bytes == size_of(built)

    def test_releases_are_counted(self, world: World, sara: Client) -> None:
        world.registry.quotas.set(OPERATOR, ORG, None, 1)
        sara.publish(world.release())
        refused = sara.post(
            "/api/v1/releases", world.release(version="2.0.0").body(), expect=403,
            code="quota-exceeded",
        )  # fmt: skip
        assert (refused["used_releases"], refused["limit_releases"]) == (1, 1)

    @pytest.mark.parametrize("fit", [1, 3])
    def test_many_at_once(self, world: World, sara: Client, fit: int) -> None:
        """Eight components are published at once and ``fit`` have room: so many succeed. All of
        them were told beforehand that they have."""
        for number in range(8):  # so that the organisation's role does not change any more
            sara.publish(world.release(f"model-{number}"))
        offers = [world.release(f"model-{number}", "1.1.0") for number in range(8)]
        for built in offers:
            sara.put_blobs(built)
        state = world.registry.quotas.of(ORG)
        world.registry.quotas.set(OPERATOR, ORG, state.used_bytes + fit * size_of(offers[0]), None)
        apps = [create_app(World(world.root, clock=world.clock).registry) for _ in offers]
        gate, codes = threading.Barrier(8), []
        everybody_asked = threading.Barrier(8)

        def publish(app: Any, built: Any) -> None:
            quotas = app.extensions["forge"].quotas
            ask = type(quotas).require_room_for_release

            def asked(state: Any, size: int) -> None:
                ask(quotas, state, size)
                everybody_asked.wait(60)

            incoming = app.extensions["forge"].incoming
            object.__setattr__(incoming, "quotas", _Asked(quotas, asked))
            gate.wait(60)
            answer = Client(app.test_client(), sara.token).post("/api/v1/releases", built.body())
            codes.append("published" if "receipt" in answer else answer["code"])

        threads = [
            threading.Thread(target=publish, args=pair) for pair in zip(apps, offers, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for app in apps:
            app.extensions["forge"].database.dispose()
        assert sorted(codes) == ["published"] * fit + ["quota-exceeded"] * (8 - fit)
        after = world.registry.quotas.of(ORG)
        assert after.used_bytes == after.max_bytes

    def test_the_sum_is_made_where_it_is_missing(self, world: World, sara: Client) -> None:
        built = world.release()
        sara.publish(built)
        with world.registry.database.write() as session:
            session.execute(delete(Quota))
        assert world.registry.quotas.of(ORG).used_bytes == size_of(built)
        sara.publish(world.release(version="1.1.0"))
        assert world.registry.quotas.of(ORG).used_bytes == 2 * size_of(built)

    def test_a_default_for_everybody(self, world: World, sara: Client) -> None:
        set_settings(world.root, "max_organisation_releases = 1\n")
        world.reopen()
        again = Client(create_app(world.registry).test_client(), sara.token)
        again.publish(world.release())
        again.publish(world.release(version="2.0.0"), expect=403)
        world.registry.quotas.set(OPERATOR, ORG, None, 0)
        again.publish(world.release(version="2.0.0"))


class _Asked:
    """Quotas whose early question is another."""

    def __init__(self, quotas: Any, asked: Any) -> None:
        self._quotas, self.require_room_for_release = quotas, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._quotas, name)


class TestEarly:
    def test_an_upload_that_has_no_room_is_not_read(self, world: World, sara: Client) -> None:
        world.registry.quotas.set(OPERATOR, ORG, 500, None)
        built = world.release(files={"weights.bin": b"w" * 1000})
        digest = next(each for each, data in built.blobs().items() if len(data) == 1000)
        path = f"/api/v1/blobs/{digest}?component={built.manifest.component}"
        sara.call("PUT", path, data=b"w" * 1000, expect=403, code="quota-exceeded")
        assert world.registry.blobs.missing([digest])

    def test_what_was_sent_and_not_published_counts(self, world: World, sara: Client) -> None:
        world.registry.quotas.set(OPERATOR, ORG, 1500, None)
        path = "/api/v1/blobs/{}?component=minds-lab/my-model"
        one = world.release(files={"weights.bin": b"1" * 1000})
        two = world.release(files={"weights.bin": b"2" * 1000})
        digests = [
            next(each for each, data in built.blobs().items() if len(data) == 1000)
            for built in (one, two)
        ]
        sara.call("PUT", path.format(digests[0]), data=b"1" * 1000, expect=201)
        refused = sara.call(
            "PUT", path.format(digests[1]), data=b"2" * 1000, expect=403, code="quota-exceeded"
        )
        assert refused["pending_bytes"] == 1000
        assert "and 1.0 kB were sent and not published" in refused["detail"]
        world.clock.ahead = timedelta(hours=49)
        run("gc", world.root)  # the clock of the command is the real one
        world.registry.collection.collect(OPERATOR)
        sara.call("PUT", path.format(digests[1]), data=b"2" * 1000, expect=201)


class TestPublisher:
    """What `forge publish` says of a quota and of the read-only switch."""

    def test_it_says_what_is_wrong(self, tmp_path: Path) -> None:
        with LiveRegistry(tmp_path) as live:
            live.register(ORG)
            folder = live.new_component(ORG, "my-model")
            (folder / "weights.bin").write_bytes(b"w" * 5000)
            live.forge_server("quota", str(live.data), ORG, "--max-bytes", "4k")
            told = self.publish(live, folder, 7)
            assert "error: minds-lab: no room for 6.1 kB: 0 B of 4.0 kB are used" in told
            assert "hint: publish less, or ask the registry's operator for more" in told
            assert not [path for path in (live.data / "blobs").rglob("*") if path.is_file()]
            live.forge_server("quota", str(live.data), ORG, "--max-bytes", "0")
            live.forge_server("read-only", str(live.data), "on", "--reason", "new disks")
            told = self.publish(live, folder, 8)
            assert "error: the operator takes no changes: new disks" in told
            live.forge_server("read-only", str(live.data), "off")
            self.publish(live, folder, 0)

    def publish(self, live: LiveRegistry, folder: Path, code: int) -> str:
        done = live.forge_with(live.environment, "publish", str(folder))
        assert done.returncode == code, done.stderr
        return done.stderr


class TestCommand:
    def test_show_and_change(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        assert "of no limit" in run("quota", world.root, ORG).stdout
        out = run("quota", world.root, ORG, "--max-bytes", "1.5G", "--max-releases", "7").stdout
        assert out.splitlines() == ["bytes     1.1 kB of 1.5 GB", "releases  1 of 7"]
        assert world.registry.quotas.of(ORG).max_bytes == 1_500_000_000
        assert "of no limit" in run("quota", world.root, ORG, "--reset").stdout
        events = world.registry.audit.newest(10, "quota.set")
        assert [dict(event.detail) for event in events] == [
            {"max_bytes": 1_500_000_000, "max_releases": 7},
            {"max_bytes": None, "max_releases": None},
        ]

    def test_mistakes(self, world: World, tmp_path: Path) -> None:
        assert "nobody" in run("quota", world.root, "nobody", code=1).stderr
        run("quota", world.root, ORG, "--max-bytes", "many", code=2)
        run("quota", world.root, ORG, "--reset", "--max-releases", "1", code=2)


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("500", 500), ("20M", 20_000_000), ("1.5tb", 1_500_000_000_000), ("1k", 1000)],
)
def test_reading_amounts(text: str, count: int) -> None:
    assert parse_bytes(text, "size") == count


@pytest.mark.parametrize("text", ["", "-1", "1e9", "5 apples", "1.2345M", "M", "٣"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_bytes(text, "size")


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999 B"), (1000, "1.0 kB"), (999_999, "1.0 MB"), (5 * 10**15, "5.0 PB"),
     (10**19, "10000.0 PB")],
)  # fmt: skip
def test_showing_amounts(count: int, text: str) -> None:
    assert show_bytes(count) == text


def test_check_compares_the_sum(world: World, sara: Client) -> None:
    built = world.release()
    sara.publish(built)
    run("check", world.root)
    with world.registry.database.write() as session:
        session.execute(update(Quota).values(used_bytes=1))
    assert run("check", world.root, code=1).stdout == (
        f"quota of {ORG}: expected {size_of(built)} bytes in 1 releases, found 1 in 1\n"
    )


def test_the_migration_counts_what_is_there(world: World, sara: Client) -> None:
    built = world.release()
    sara.publish(built)
    with world.registry.database.write() as session:
        session.execute(delete(Quota))
        session.execute(text(COUNT))
    state = world.registry.quotas.of(ORG)
    assert (state.used_bytes, state.used_releases) == (size_of(built), 1)
    run("check", world.root)
