"""`forge-server check`: what is wrong is found, and a large registry takes no more memory."""

from __future__ import annotations

import shutil
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import pytest
from operators import _own_logging, run
from server_fixtures import (
    ON_SQLITE,
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    now,
    sara,
    schema_engine,
    world,
)
from sqlalchemy import delete, event, func, select, text, update
from sqlalchemy.orm import Session

from forge_server.db.models import (
    Base,
    LogCheckpoint,
    LogEntry,
    LogHash,
    MetadataVersion,
    Release,
    Role,
)
from forge_server.operate import check, check_log, restore
from forge_server.operate.check import check_registry
from forge_server.services.log import append_act, log_size

__all__ = ["_fresh_registry", "_own_logging", "client", "sara", "world"]

T = TypeVar("T")


class Held:
    """How many rows of each of ``kinds`` are in memory at the same time, while it is entered."""

    def __init__(self, *kinds: type[Base]) -> None:
        self.most = dict.fromkeys(kinds, 0)
        self._alive: dict[type[Base], weakref.WeakSet[Base]] = {
            kind: weakref.WeakSet() for kind in kinds
        }

    def _loaded(self, row: Base, _: object) -> None:
        self._alive[type(row)].add(row)

    def __enter__(self) -> None:
        for kind in self.most:
            event.listen(kind, "load", self._loaded)

    def __exit__(self, *_: object) -> None:
        for kind in self.most:
            event.remove(kind, "load", self._loaded)

    def during(self, found: Iterable[T]) -> Iterator[T]:
        for each in found:
            for kind, alive in self._alive.items():
                self.most[kind] = max(self.most[kind], len(alive))
            yield each


class TestCheck:
    def test_clean(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        assert "1 releases" in run("check", world.root, "--deep").stderr

    @pytest.fixture
    def published(self, world: World, sara: Client) -> World:
        sara.publish(world.release())
        sara.flask.application.logger.handlers.clear()
        return world

    def problems(self, world: World, *options: str) -> str:
        return run("check", world.root, *options, code=1).stdout

    def test_a_blob_is_gone_or_damaged(self, published: World) -> None:
        blob = next(
            path for path in (published.root / "blobs").glob("*/*") if path.stat().st_size == 1000
        )
        blob.chmod(0o644)
        blob.write_bytes(b"X" * 1000)
        run("check", published.root)
        assert "damaged" in self.problems(published, "--deep")
        blob.write_bytes(b"X")
        assert "expected 1000 bytes, found 1" in self.problems(published)
        blob.unlink()
        assert "not in the store" in self.problems(published)

    @pytest.mark.parametrize(
        "name", ["timestamp.json", "3.snapshot.json", f"1.{ORG}.my-model.json", "1.root.json"]
    )
    def test_a_published_file_is_gone_or_differs(self, published: World, name: str) -> None:
        path = published.root / "public" / name
        path.chmod(0o644)
        path.write_bytes(b"{}")
        assert f"{name}: the published file differs" in self.problems(published)
        path.unlink()
        assert f"{name}: in the database, but not" in self.problems(published)

    def test_a_target_file_is_gone(self, published: World) -> None:
        next((published.root / "public" / "targets").rglob("*manifest.json")).unlink()
        assert "missing among the published files" in self.problems(published)

    def test_of_many_releases_it_holds_a_few_and_misses_none(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So does a restore, which walks through them to publish them again."""
        for number in range(7):
            sara.publish(world.release(version=f"1.{number}.0"))
        files = list((world.root / "public" / "targets").rglob("*.json"))
        paths = {path.relative_to(world.root / "public").as_posix() for path in files}
        blobs = list((world.root / "blobs").glob("*/*"))
        rows = Held(Release, MetadataVersion)
        for module in (check, restore):
            monkeypatch.setattr(module, "_SOME", {"yield_per": 2})
        with world.registry.database.read() as session, rows:
            again = restore._files(session, world.registry.blobs)
            assert {path for path, _ in rows.during(again)} >= paths
            for path in [*files, *blobs]:
                path.unlink()
            missing = set(rows.during(check._check_releases(world.registry, session)))
            assert missing == {f"{path}: missing among the published files" for path in paths}
            lost = list(rows.during(check._check_blobs(world.registry, session, deep=False)))
            assert len(lost) == len(blobs)
        # Two that are looked at, and two that come.
        assert max(rows.most.values()) <= 4, rows.most

    @ON_SQLITE
    def test_an_index_that_lacks_rows_is_found_by_the_deep_check(self, published: World) -> None:
        """Which looks for each row in each index, and takes hours where there are many."""
        with schema_engine(published.root) as engine, engine.begin() as connection:
            connection.execute(text("PRAGMA writable_schema = ON"))
            connection.execute(
                text(
                    "UPDATE sqlite_master SET sql = 'CREATE INDEX ix_releases_stored_at ON releases"
                    " (total_bytes)' WHERE name = 'ix_releases_stored_at'"
                )
            )
        run("check", published.root)
        assert "missing from index ix_releases_stored_at" in self.problems(published, "--deep")

    def test_of_many_problems_it_keeps_some_and_counts_all(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where a disk is gone each of millions of files would be one."""
        for number in range(3):
            sara.publish(world.release(version=f"1.{number}.0"))
        sara.flask.application.logger.handlers.clear()
        shutil.rmtree(world.root / "public" / "targets")
        monkeypatch.setattr(check, "_MOST", 2)
        report = check_registry(world.registry, deep=False)
        assert (len(report.problems), report.more) == (2, 4)
        said = run("check", world.root, code=1)
        assert said.stdout.splitlines()[2:] == ["and 4 more"]
        assert "6 problems" in said.stderr

    def test_of_many_roles_that_end_soon_it_tells_some(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sara.publish(world.release())
        monkeypatch.setattr(check, "_MOST", 1)
        with world.registry.database.write() as session:
            session.execute(update(Role).values(expires_at=now()))
            count = session.scalar(
                select(func.count()).where(Role.name.not_in(("snapshot", "timestamp")))
            )
        notes = check_registry(world.registry, deep=False).notes
        assert sum("must sign it again" in note for note in notes) == 1
        assert f"{count - 1} more roles end within 30 days" in notes

    def test_projects_are_compared_some_at_a_time_and_none_is_missed(
        self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [f"model-{number}" for number in range(5)]
        for name in names:
            sara.publish(world.release(name=name))
        monkeypatch.setattr(check, "_PROJECTS_AT_ONCE", 2)
        with world.registry.database.write() as session:
            session.execute(update(Release).values(yanked="by the thief"))
        asked: list[str] = []

        def note(*arguments: Any) -> None:
            if arguments[2] != "BEGIN":
                asked.append(arguments[2])

        engine = world.registry.database.reading.kw["bind"]
        event.listen(engine, "before_cursor_execute", note)
        try:
            with world.registry.database.read() as session:
                found = list(check._check_index(session))
        finally:
            event.remove(engine, "before_cursor_execute", note)
        assert found == [
            f"{ORG}/{name}==1.0.0: the catalogue differs from the signed role" for name in names
        ]
        assert len(asked) <= 7, asked  # two for two projects, and one that finds no more

    def test_a_long_log_is_walked_through_and_not_held(self, world: World) -> None:
        def peak() -> int:
            tracemalloc.start()
            try:
                with world.registry.database.read() as session:
                    assert list(check_log._check_tree(world.registry, session)) == []
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        def grow(leaves: int) -> None:
            with world.registry.database.write() as session:
                for number in range(leaves):
                    append_act(session, "release.publish", f"{number}", None, now())

        grow(2000)
        peak()  # what is made once is not counted
        few = peak()
        grow(18_000)
        # All leaves with their hashes would be ten times as much.
        assert peak() < 2 * few

    def test_the_catalogue_differs_from_what_is_signed(self, published: World) -> None:
        with published.registry.database.write() as session:
            session.execute(update(Release).values(yanked="by the thief"))
        assert "differs from the signed role" in self.problems(published)

    def test_finish(self, published: World) -> None:
        with published.registry.database.write() as session:
            session.execute(update(MetadataVersion).values(published_at=None))
            session.execute(update(Release).values(stored_at=None))
            session.execute(update(LogCheckpoint).values(published_at=None))
        shutil.rmtree(published.root / "public")
        assert "committed but not published" in self.problems(published)
        run("check", published.root, "--finish", "--deep")

    LOG_DAMAGE: ClassVar[dict[str, Callable[[Session], Any]]] = {
        "leaf 2 of the log is another": lambda s: s.execute(
            update(LogEntry).where(LogEntry.number == 2).values(entry=b"{}")
        ),
        "hashes of level 0 are not": lambda s: s.execute(
            update(LogHash).where(LogHash.number == 3).values(hash=bytes(32))
        ),
        "was signed for another tree": lambda s: s.execute(
            update(LogEntry).where(LogEntry.number == 3).values(entry=b"{}")
        ),
        "expected a checkpoint of all": lambda s: s.execute(
            delete(LogCheckpoint).where(LogCheckpoint.size == log_size(s))
        ),
        "checkpoint 6: checkpoint: expected a text": lambda s: s.execute(
            update(LogCheckpoint).values(note=b"x")
        ),
        "log: no checkpoint": lambda s: s.execute(delete(LogCheckpoint)),
        "log: committed but not published": lambda s: s.execute(
            update(LogCheckpoint).values(published_at=None)
        ),
        "log: hash 4 of level 0 does not follow": lambda s: s.execute(
            delete(LogHash).where(LogHash.number == 3)
        ),
    }

    @pytest.mark.parametrize("problem", LOG_DAMAGE)
    def test_a_damaged_log_is_found(self, published: World, problem: str) -> None:
        with published.registry.database.write() as session:
            self.LOG_DAMAGE[problem](session)
        assert problem in self.problems(published, "--deep")

    @pytest.mark.parametrize(
        "name", ["checkpoint", "tile/0/000.p/*", "tile/entries/000.p/*", "leaf/1.registrar"]
    )
    @pytest.mark.parametrize("damage", ["missing", "other bytes"])
    def test_damaged_files_of_the_log_are_found(
        self, published: World, name: str, damage: str
    ) -> None:
        path = max(
            (published.root / "public" / "log").glob(name),
            key=lambda path: int(path.name) if path.name.isdigit() else 0,
        )
        if damage == "missing":
            path.unlink()
        else:
            path.chmod(0o644)
            path.write_bytes(b"x")
        assert f"log/{path.relative_to(published.root / 'public' / 'log')}" in self.problems(
            published, "--deep"
        )

    def test_unused_blobs_are_only_a_note(self, world: World, sara: Client) -> None:
        sara.put_blobs(world.release())
        assert "2 blobs belong to no release" in run("check", world.root).stderr
