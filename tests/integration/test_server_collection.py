"""`forge-server gc`: what nobody refers to goes, and nothing else, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from operators import run
from server_fixtures import (
    ORG,
    Built,
    Client,
    World,
    _fresh_registry,
    client,
    database_url,
    sara,
    world,
)
from sqlalchemy import delete, event, func, select, update
from thorough import steps

from forge_server.app import create_app
from forge_server.db.engine import Database
from forge_server.db.models import BlobDamage, BlobLease, Release
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR
from forge_server.services.collection import last_collection
from forge_server.services.leases import BlobsGoneError, doom
from forge_server.services.locks import DatabaseLock, FolderLock
from forge_server.wiring import Registry
from signing.oms import sign_bundle

__all__ = ["_fresh_registry", "client", "sara", "world"]
NONE = timedelta(0)


def stray(registry: Registry, data: bytes = b"nobody's") -> str:
    """A blob in the store of which the database knows nothing."""
    digest = hashlib.sha256(data).hexdigest()
    registry.blobs.put(digest, io.BytesIO(data), len(data))
    return digest


def leases(registry: Registry) -> int:
    with registry.database.read() as session:
        return session.scalar(select(func.count()).select_from(BlobLease)) or 0


class TestWhatGoes:
    def test_what_a_release_refers_to_stays(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        done = world.registry.collection.collect(OPERATOR, NONE)
        assert (done.looked, done.unreferenced, done.deleted) == (4, 0, 0)
        assert leases(world.registry) == 0
        assert check_registry(world.registry, deep=True).problems == ()

    def test_an_upload_has_its_grace_period(self, world: World, sara: Client) -> None:
        built = world.release()
        sara.put_blobs(built)
        assert world.registry.collection.collect(OPERATOR).deleted == 0
        world.clock.ahead = timedelta(hours=47)
        assert world.registry.collection.collect(OPERATOR).waiting == 2
        sara.publish(built)
        world.clock.ahead = timedelta(days=365)
        assert world.registry.collection.collect(OPERATOR).unreferenced == 0

    def test_sent_again_is_young_again(self, world: World, sara: Client) -> None:
        built = world.release()
        sara.put_blobs(built)
        world.clock.ahead = timedelta(hours=47)
        sara.put_blobs(built)
        world.clock.ahead = timedelta(hours=94)
        assert world.registry.collection.collect(OPERATOR).deleted == 0
        world.clock.ahead = timedelta(hours=96)
        done = world.registry.collection.collect(OPERATOR)
        assert (done.deleted, done.waiting) == (2, 0)
        assert done.deleted_bytes == sum(map(len, built.blobs().values()))
        assert list(world.registry.blobs.iter_digests()) == []
        assert leases(world.registry) == 0

    def test_what_is_unknown_is_found_first(self, world: World) -> None:
        digest = stray(world.registry)
        first = world.registry.collection.collect(OPERATOR)
        assert (first.unreferenced, first.waiting, first.deleted) == (1, 1, 0)
        world.clock.ahead = timedelta(hours=49)
        assert world.registry.collection.collect(OPERATOR).deleted == 1
        assert world.registry.blobs.missing([digest])

    def test_a_bundle_that_was_replaced(self, world: World, sara: Client) -> None:
        built = world.release()
        sara.publish(built)
        with world.registry.database.write() as session:
            session.execute(update(Release).values(bundle_sha256="0" * 64))
        world.registry.collection.collect(OPERATOR, NONE)
        world.clock.ahead = timedelta(seconds=1)
        assert world.registry.collection.collect(OPERATOR, NONE).deleted == 1
        assert world.registry.blobs.missing([hashlib.sha256(built.bundle).hexdigest()])

    def test_leases_of_what_is_gone_end(self, world: World, sara: Client) -> None:
        built = world.release()
        sara.put_blobs(built)
        for digest in built.blobs():
            world.registry.blobs.delete(digest)
        world.registry.collection.collect(OPERATOR)
        assert leases(world.registry) == 2
        world.clock.ahead = timedelta(hours=49)
        world.registry.collection.collect(OPERATOR)
        assert leases(world.registry) == 0

    def test_dry_run(self, world: World, sara: Client) -> None:
        sara.put_blobs(world.release())
        stray(world.registry)
        world.clock.ahead = timedelta(hours=49)
        done = world.registry.collection.collect(OPERATOR, dry_run=True)
        assert (done.unreferenced, done.waiting, done.deleted) == (3, 1, 0)
        assert len(list(world.registry.blobs.iter_digests())) == 3
        assert leases(world.registry) == 2
        with world.registry.database.read() as session:
            assert last_collection(session) is None

    def test_command(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        stray(world.registry)
        assert run("gc", world.root, "--dry-run").stdout.splitlines() == [
            "looked at 5 blobs: 1 (8 B) belong to no release",
            "1 of them came or were found less than 48 hours ago: kept",
            "0 would be deleted",
            "superseded published files: 0 would be deleted",
        ]
        run("gc", world.root)
        assert run("gc", world.root, "--grace", "0").stdout.splitlines() == [
            "looked at 5 blobs: 1 (8 B) belong to no release",
            "1 deleted, 8 B freed",
            "superseded published files: 0 deleted",
        ]
        assert [event.action for event in world.registry.audit.newest(2)] == ["blobs.collect"] * 2
        run("check", world.root, "--deep")


class Between:
    """Runs ``act`` in a thread of its own just before step ``at`` of a walk, and lets the walk go
    on when that is done or waits for the collector's lock. ``store`` is the class of the blob
    store, whose calls are steps."""

    def __init__(self, at: int, act: Callable[[], None], store: type) -> None:
        self.at, self.count, self.store = at, 0, store
        self.can_go_on = threading.Event()
        self.errors: list[BaseException] = []
        self.walker = threading.current_thread()
        self.thread = threading.Thread(target=self._act, args=(act,))

    def _act(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:  # told by the test
            self.errors.append(error)
        finally:
            self.can_go_on.set()

    def step(self) -> None:
        if threading.current_thread() is not self.walker:
            return
        self.count += 1
        if self.count == self.at:
            self.thread.start()
            self.can_go_on.wait()

    def waits(self) -> None:
        if threading.current_thread() is self.thread:
            self.can_go_on.set()

    def arm(self, patch: pytest.MonkeyPatch) -> None:
        self._wrap(patch, Database, "write", self.step)
        for kind in (FolderLock, DatabaseLock):
            self._wrap(patch, kind, "held", self.waits)
        delete_blob = self.store.delete  # type: ignore[attr-defined]

        def deleting(store: object, digest: str) -> None:
            self.step()
            delete_blob(store, digest)
            self.step()

        patch.setattr(self.store, "delete", deleting)

    def arm_publishing(self, patch: pytest.MonkeyPatch) -> None:
        """The steps are those of an offer; the other thread needs no lock of ours."""
        self._wrap(patch, Database, "write", self.step)
        for name in ("missing", "put"):
            original = getattr(self.store, name)

            def stepping(*arguments: Any, original: Any = original) -> Any:
                value = original(*arguments)
                self.step()
                return value

            patch.setattr(self.store, name, stepping)

    def _wrap(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, before: Callable[[], None]
    ) -> None:
        original = getattr(owner, name)

        @contextmanager
        def wrapped(this: Any) -> Iterator[Any]:
            before()
            with original(this) as value:
                yield value

        patch.setattr(owner, name, wrapped)


@pytest.mark.parametrize("sent_before", [True, False], ids=["offer", "upload and offer"])
def test_publishing_at_every_step(world: World, sara: Client, sent_before: bool) -> None:
    publish_at_every_step(world, sara, sent_before=sent_before)


def publish_at_every_step(world: World, sara: Client, *, sent_before: bool, every: int = 1) -> None:
    """The walk takes everything that is not published, at once. Whoever publishes meanwhile
    publishes, or hears what is missing; never is something published whose bytes are not here."""
    sara.publish(world.release(version="0.1"))
    other = Client(create_app(World(world.root, clock=world.clock).registry).test_client(),
                   sara.token)  # fmt: skip
    outcomes = []
    for at in steps(100, every=every):
        built = world.release(version=f"1.{at}", files={"weights.bin": b"%d" % at * 1000})
        if sent_before:
            sara.put_blobs(built)
        stray(world.registry, b"stray %d" % at)
        world.registry.collection.collect(OPERATOR)  # finds the stray one, takes nothing
        world.clock.ahead += timedelta(seconds=10)
        answers: list[Any] = []

        def act(built: Built = built, answers: list[Any] = answers) -> None:
            if not sent_before:
                other.put_blobs(built)
            answers.append(other.post("/api/v1/releases", built.body()))

        between = Between(at, act, type(world.registry.blobs))
        with pytest.MonkeyPatch.context() as patch:
            between.arm(patch)
            world.registry.collection.collect(OPERATOR, NONE)
        if between.thread.ident is None:
            break
        between.thread.join()
        assert between.errors == []
        state = answers[0].get("state", answers[0].get("code"))
        outcomes.append(state)
        assert state in ("published", "missing"), answers
        assert check_registry(world.registry, deep=True).problems == (), at
        if state == "missing":
            other.publish(built)
    assert len(outcomes) > 6 // every, "hardly any step: the test looks at nothing"
    assert "published" in outcomes
    assert check_registry(world.registry, deep=True).problems == ()
    if sent_before:
        assert "missing" in outcomes
    other.flask.application.extensions["forge"].database.dispose()


def test_a_walk_at_every_step_of_publishing(world: World, sara: Client) -> None:
    walk_at_every_step(world, sara)


def walk_at_every_step(world: World, sara: Client, *, every: int = 1) -> None:
    """The other way round: between any two steps of an offer a walk takes everything that is not
    published, from beginning to end. The offer hears it in time."""
    sara.publish(world.release(version="0.1"))
    other = World(world.root, clock=world.clock)
    outcomes = []
    for at in steps(100, every=every):
        built = world.release(version=f"1.{at}", files={"weights.bin": b"%d" % at * 1000})
        sara.put_blobs(built)
        world.clock.ahead += timedelta(seconds=10)

        def walk() -> None:
            world.clock.ahead += timedelta(seconds=10)
            other.registry.collection.collect(OPERATOR, NONE)

        between = Between(at, walk, type(world.registry.blobs))
        with pytest.MonkeyPatch.context() as patch:
            between.arm_publishing(patch)
            answer = sara.post("/api/v1/releases", built.body())
        if between.thread.ident is None:
            break
        between.thread.join()
        assert between.errors == []
        state = answer.get("state", answer.get("code"))
        outcomes.append(state)
        assert state in ("published", "missing"), answer
        assert check_registry(world.registry, deep=True).problems == (), at
        if state == "missing":
            sara.publish(built)
    assert len(outcomes) > 6 // every, "hardly any step: the test looks at nothing"
    assert set(outcomes) == {"published", "missing"}
    other.close()


class TestLeases:
    def test_one_that_went_and_came_back_is_another(self, world: World) -> None:
        registry = world.registry
        digest = stray(registry)
        held = registry.incoming.leases.hold({digest: 8}, ORG)
        with registry.database.write() as session:
            session.execute(delete(BlobLease))
        registry.incoming.leases.hold({digest: 8}, ORG)
        with pytest.raises(BlobsGoneError), registry.database.write() as session:
            registry.incoming.leases.settle(session, [digest], held)

    def test_a_doomed_one_is_not_relied_on(self, world: World) -> None:
        registry = world.registry
        digest = stray(registry)
        held = registry.incoming.leases.hold({digest: 8}, ORG)
        with registry.database.write() as session:
            session.execute(update(BlobLease).values(doomed_at=world.clock()))
        assert registry.incoming.leases.seen([digest]) == {}
        with pytest.raises(BlobsGoneError), registry.database.write() as session:
            registry.incoming.leases.settle(session, [digest], held)

    def test_what_a_release_refers_to_is_not_doomed(self, world: World, sara: Client) -> None:
        """Also when somebody took a lease of it at the very moment in which it was published."""
        built = world.release()
        sara.publish(built)
        registry, digests = world.registry, list(built.blobs())
        registry.incoming.leases.hold(dict.fromkeys(digests, 1), ORG)
        late = world.clock() + timedelta(days=1)
        with registry.database.write() as session:
            assert doom(session, digests, late, world.clock()) == []
        stray_one = stray(registry)
        registry.incoming.leases.hold({stray_one: 8}, ORG)
        with registry.database.write() as session:
            assert doom(session, [*digests, stray_one], late, world.clock()) == [stray_one]

    def test_what_the_dead_left_doomed_is_deleted_by_whoever_needs_it(
        self, world: World, sara: Client
    ) -> None:
        built = world.release()
        sara.put_blobs(built)
        with world.registry.database.write() as session:
            session.execute(update(BlobLease).values(doomed_at=world.clock()))
        answer = sara.post("/api/v1/releases", built.body(), expect=200)
        assert {row["sha256"] for row in answer["missing"]} == set(built.blobs())
        sara.publish(built)
        assert check_registry(world.registry, deep=True).problems == ()

    def test_what_is_doomed_is_found_without_a_look_at_every_lease(self, world: World) -> None:
        """Else a walk that deletes takes a time that grows with the square of what it finds."""
        said: list[tuple[str, Any]] = []
        engine = world.registry.database.reading.kw["bind"]

        def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
            if "FROM blob_leases" in statement:
                said.append((statement, values))

        event.listen(engine, "before_cursor_execute", note)
        world.registry.incoming.leases.finish()
        event.remove(engine, "before_cursor_execute", note)
        assert said
        if database_url(world.root) is not None:
            return  # PostgreSQL chooses by what it counted, and nothing is here
        with world.registry.database.read() as session:
            for statement, values in said:
                plan = session.connection().exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}", values
                )
                assert "USING INDEX" in plan.one()[3], statement

    def test_a_lost_lock_is_noticed(self, world: World, sara: Client) -> None:
        """The collector deleted what was published since: it must not be silent about it."""
        built = world.release()
        sara.publish(built)
        digest = next(iter(built.blobs()))
        lost = world.registry.incoming.leases.forget_doomed({digest: "0" * 16})
        assert lost == [digest]
        with world.registry.database.read() as session:
            assert session.scalars(select(BlobDamage.sha256)).all() == [digest]

    def test_blobs_from_before_there_were_leases(self, world: World, sara: Client) -> None:
        built = world.release()
        for digest, data in built.blobs().items():
            world.registry.blobs.put(digest, io.BytesIO(data), len(data))
        sara.post("/api/v1/releases", built.body(), expect=201)
        assert leases(world.registry) == 0

    def test_new_signatures_are_not_collected(self, world: World, sara: Client) -> None:
        """A bundle is stored before the transaction that refers to it."""
        built = world.release()
        sara.publish(built)
        again = sign_bundle(built.manifest.files, str(built.manifest), world.key(ORG))
        held = world.registry.incoming.store_small(ORG, [again])
        world.clock.ahead = timedelta(hours=49)
        world.registry.collection.collect(OPERATOR)
        with pytest.raises(BlobsGoneError), world.registry.database.write() as session:
            world.registry.incoming.leases.settle(session, held, held)
