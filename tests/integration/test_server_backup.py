"""Backup and restore: whole, incremental, verified, and never the beginning of a second history."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from operators import run
from reviewing import Bodies
from server_fixtures import (
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    copy_registry,
    database_url,
    drop_database,
    new_database,
    rows,
    sara,
    world,
)
from sqlalchemy import select

from forge_server.app import create_app
from forge_server.db.models import Token, User
from forge_server.operate import backup as backups
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR
from forge_server.services.log import newest_checkpoint
from signing.tlog.checkpoint import log_key
from storage import LocalBlobStore

__all__ = ["_fresh_registry", "client", "sara", "world"]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backups of it"


@pytest.fixture
def fresh(request: pytest.FixtureRequest, world: World) -> Iterator[list[str]]:
    """Options of `restore` for an empty database of the same kind as the world's."""
    if database_url(world.root) is None:
        yield []
        return
    url = new_database(request, "postgresql")
    yield ["--database", str(url)]


def backup(world: World, target: Path, *options: str) -> str:
    return run("backup", world.root, target, *options).stdout.strip()


class TestThere:
    def test_and_back(
        self, world: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        sara.publish(world.release())
        sara.publish(world.release(version="1.1.0", summary="نموذج ⵜⴰⵎⴰⵣⵉⵖⵜ"))
        bodies = Bodies(world)
        bodies.name("cert", "National CERT")
        bodies.decide("cert", f"{ORG}/my-model", "1.1.0")
        checkpoint = tmp_path / "seen"
        checkpoint.write_bytes((world.root / "public/log/checkpoint").read_bytes())
        backup(world, target)
        back = World(tmp_path / "back", clock=world.clock, keys=world.keys)
        done = run(
            "restore", target, back.root, *fresh, "--keys", world.root / "keys",
            "--checkpoint", checkpoint,
        )  # fmt: skip
        assert "2 releases" in done.stdout
        assert "READ-ONLY" not in done.stderr
        run("check", back.root, "--deep")
        assert rows(back) == rows(world)
        for path in (world.root / "public").rglob("*.json"):
            same = back.root / "public" / path.relative_to(world.root / "public")
            assert same.read_bytes() == path.read_bytes()
        # It goes on: new rows get new numbers, and the log grows from where it was.
        again = Client(create_app(back.registry).test_client(), sara.token)
        again.publish(back.release(version="2.0.0"))
        back.user("after")
        back.registry.publication.materialise()
        assert check_registry(back.registry, deep=True).problems == ()
        back.close()

    def test_from_one_kind_of_database_to_the_other(
        self, request: pytest.FixtureRequest, world: World, sara: Client, target: Path,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        sara.publish(world.release())
        backup(world, target, "--with-keys")
        options = []
        if database_url(world.root) is None:
            options = ["--database", str(new_database(request, "postgresql"))]
        back = World(tmp_path / "back", clock=world.clock, keys=world.keys)
        run("restore", target, back.root, *options, "--newest")
        assert (database_url(back.root) is None) != (database_url(world.root) is None)
        run("check", back.root, "--deep")
        assert rows(back) == rows(world)
        Client(create_app(back.registry).test_client(), sara.token).publish(
            back.release(version="1.1.0")
        )
        back.close()
        drop_database(back.root)

    def test_the_second_copies_only_what_is_new(
        self, world: World, sara: Client, target: Path
    ) -> None:
        sara.publish(world.release())
        assert "4 blobs copied" in run("backup", world.root, target).stderr
        assert "0 blobs copied" in run("backup", world.root, target).stderr
        sara.publish(world.release(version="1.1.0"))
        assert "3 blobs copied" in run("backup", world.root, target).stderr
        assert len(list((target / "backups").iterdir())) == 3

    def test_keys_only_when_asked_for(self, world: World, target: Path, tmp_path: Path) -> None:
        backup(world, target)
        secrets = [path.read_bytes() for path in (world.root / "keys").glob("*.pem")]
        kept = [path.read_bytes() for path in target.rglob("*") if path.is_file()]
        assert secrets
        assert not [data for data in kept if b"PRIVATE KEY" in data]
        backup(world, tmp_path / "with", "--with-keys")
        folder = next((tmp_path / "with" / "backups").iterdir())
        for path in (world.root / "keys").glob("*.pem"):
            assert (folder / "keys" / path.name).read_bytes() == path.read_bytes()
            assert (folder / "keys" / path.name).stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_no_access_token_is_in_it(self, world: World, sara: Client, target: Path) -> None:
        import gzip

        name = backup(world, target)
        data = gzip.decompress((target / "backups" / name / backups.DATABASE).read_bytes())
        assert str(sara.token).encode() not in data
        with world.registry.database.read() as session:
            assert session.scalar(select(Token.digest).join(User).where(User.name == "sara"))

    def test_published_while_it_is_made(
        self, world: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """Between every two steps: before the blobs, before the database, after it."""
        sara.publish(world.release())
        number = iter(range(1, 100))
        lock = threading.Lock()

        def publishing(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **options: Any) -> Any:
                with lock:
                    sara.publish(world.release(version=f"2.{next(number)}"))
                return original(*arguments, **options)

            return step

        for name in ("write_export", "wanted_in", "digest_of"):
            monkeypatch.setattr(backups, name, publishing(getattr(backups, name)))
        monkeypatch.setattr(backups._Copy, "all", publishing(backups._Copy.all))
        backups.back_up(world.registry, target, with_keys=True, tell=print)
        monkeypatch.undo()
        assert next(number) > 5
        back = World(tmp_path / "back", clock=world.clock, keys=world.keys)
        run("restore", target, back.root, *fresh, "--newest")
        run("check", back.root, "--deep")
        back.close()

    def test_committed_but_not_published_yet(
        self, world: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        sara.publish(world.release())
        built = world.release(version="1.1.0")
        sara.put_blobs(built)
        monkeypatch.setattr(type(world.registry.publication), "materialise", lambda *_: 0)
        sara.post("/api/v1/releases", built.body(), expect=201)
        backup(world, target, "--with-keys")
        monkeypatch.undo()
        back = World(tmp_path / "back", clock=world.clock, keys=world.keys)
        run("restore", target, back.root, *fresh, "--newest")
        assert "committed but not published" in run("check", back.root, code=1).stdout
        run("check", back.root, "--finish", "--deep")
        back.close()


def test_blobs_are_copied_while_others_wait_for_the_disk(
    world: World, sara: Client, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    fresh: list[str],
) -> None:  # fmt: skip
    """Both ways: several fsyncs under way at once are what makes it quick."""
    sara.publish(world.release())
    original, together, calls = LocalBlobStore.put, threading.Barrier(4), itertools.count()

    def put(self: LocalBlobStore, digest: str, stream: BinaryIO, size: int) -> None:
        if next(calls) < 4:  # as many as the release has
            together.wait(60)  # broken when one waits for the other to end
        original(self, digest, stream, size)

    monkeypatch.setattr(LocalBlobStore, "put", put)
    run("backup", world.root, target)
    calls = itertools.count()
    run("restore", target, tmp_path / "back", "--newest", *fresh)


class TestWhatIsWrong:
    def test_a_blob_that_the_registry_has_lost(
        self, world: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        built = world.release()
        sara.publish(built)
        digest = next(each for each, data in built.blobs().items() if len(data) == 1000)
        path = world.root / "blobs" / digest[:2] / digest
        path.chmod(0o644)
        path.write_bytes(b"X" * 1000)
        done = run("backup", world.root, target, code=1)
        assert f"not in the backup: blob {digest}" in done.stdout
        done = run("restore", target, tmp_path / "back", *fresh, code=1)
        assert f"blob {digest}: not in the backup" in done.stdout
        path.write_bytes(b"w" * 1000)
        run("backup", world.root, target)

    def test_a_backup_that_was_altered(self, world: World, target: Path, tmp_path: Path) -> None:
        name = backup(world, target)
        for file in (backups.DATABASE, "server.toml"):
            path = target / "backups" / name / file
            good = path.read_bytes()
            path.chmod(0o644)
            path.write_bytes(good[:-1] + b"?")
            done = run("restore", target, tmp_path / "back", code=1)
            assert f"{file}: expected sha256" in done.stderr
            path.unlink()
            assert "found nothing" in run("restore", target, tmp_path / "back", code=1).stderr
            path.write_bytes(good)
        assert not (tmp_path / "back").exists()

    def test_a_blob_in_the_backup_that_was_altered(
        self, world: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        built = world.release()
        sara.publish(built)
        backup(world, target)
        store = LocalBlobStore(target / "blobs")
        path = store.path(next(iter(built.blobs())))
        path.chmod(0o644)
        path.write_bytes(b"X" * path.stat().st_size)
        done = run("restore", target, tmp_path / "back", *fresh, code=1)
        assert "expected sha256" in done.stderr
        assert "no registry" not in done.stderr
        run("check", tmp_path / "back", code=1)

    def test_one_that_is_not_complete_does_not_count(
        self, world: World, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        name = backup(world, target)
        (target / "backups" / name / backups.MANIFEST).unlink()
        assert "found none" in run("restore", target, tmp_path / "back", code=1).stderr
        second = backup(world, target)
        assert [path.name for path in (target / "backups").iterdir()] == [second]

    def test_places_that_are_not_empty(self, world: World, target: Path, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "file").write_text("x")
        assert "found something" in run("backup", world.root, tmp_path / "mine", code=1).stderr
        backup(world, target)
        assert "found something" in run("restore", target, tmp_path / "mine", code=1).stderr
        assert "found something" in run("restore", target, world.root, code=1).stderr
        url = database_url(world.root)
        if url is not None:
            done = run("restore", target, tmp_path / "back", "--database", url, code=1)
            assert "expected an empty database" in done.stderr
            run("check", world.root)

    def test_backups_of_another_registry(self, world: World, target: Path) -> None:
        backup(world, target)
        marker = json.loads((target / backups.MARKER).read_text())
        (target / backups.MARKER).chmod(0o644)
        (target / backups.MARKER).write_text(json.dumps({**marker, "log": "another/log"}))
        assert "found those of another/log" in run("backup", world.root, target, code=1).stderr

    def test_nothing_there(self, world: World, target: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        done = run("restore", tmp_path / "empty", tmp_path / "back", code=1)
        assert "expected a backup" in done.stderr
        backup(world, target)
        done = run("restore", target, tmp_path / "back", "--backup", "2001", code=1)
        assert "expected 2001" in done.stderr


class TestSecondHistory:
    """A restored registry that is older than what the world has seen signs nothing."""

    @pytest.fixture
    def old(self, world: World, sara: Client, target: Path) -> World:
        """Three releases, the last of which came after the backup."""
        sara.publish(world.release())
        backup(world, target, "--with-keys")
        sara.publish(world.release(version="1.1.0"))
        return world

    def test_over_the_newer_published_files(
        self, old: World, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        settings = tmp_path / "server.toml"
        settings.write_text(f'public = "{old.root}/public"\n')
        before = {
            name: (old.root / "public" / name).read_bytes()
            for name in ("timestamp.json", "log/checkpoint")
        }
        back = World(tmp_path / "back", clock=old.clock, keys=old.keys)
        done = run("restore", target, back.root, "--settings", settings, *fresh)
        assert "READ-ONLY" in done.stderr
        assert "restore a newer backup" in done.stderr
        for name, data in before.items():
            assert (old.root / "public" / name).read_bytes() == data, "it went back"
        assert back.registry.publication.sign_again() == {}
        with pytest.raises(Exception, match="older than what the world"):
            back.registry.publication.require_writable()
        assert "older than what the world" in run("confirm", back.root, "--newest", code=1).stderr
        run("check", old.root, "--deep")
        back.close()

    def test_over_published_files_of_the_same_state(
        self, world: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        """They are what the world has seen: nobody need confirm anything."""
        sara.publish(world.release())
        backup(world, target, "--with-keys")
        settings = tmp_path / "server.toml"
        settings.write_text(f'public = "{world.root}/public"\n')
        done = run("restore", target, tmp_path / "back", "--settings", settings, *fresh)
        assert "READ-ONLY" not in done.stderr

    def test_a_client_has_seen_more(
        self, old: World, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        seen = old.root / "public/log/checkpoint"
        back = World(tmp_path / "back", clock=old.clock)
        done = run("restore", target, back.root, *fresh, "--checkpoint", seen)
        assert "the world has seen" in done.stderr
        assert back.registry.publication.sign_again() == {}
        assert "restore a newer backup" in run("confirm", back.root, "--newest", code=1).stderr
        assert "read-only" in run("check", back.root, "--deep").stderr
        back.close()

    def test_until_somebody_says_so(
        self, old: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        back = World(tmp_path / "back", clock=old.clock, keys=old.keys)
        done = run("restore", target, back.root, *fresh)
        assert "nobody has said yet" in done.stderr
        assert back.registry.publication.sign_again() == {}
        again = Client(create_app(back.registry).test_client(), sara.token)
        built = back.release(version="3.0")
        refused = again.post("/api/v1/releases", built.body(), expect=503, code="read-only")
        assert "forge-server confirm" in refused["detail"]
        run("read-only", back.root, "off")  # that switch is another
        again.post("/api/v1/releases", built.body(), expect=503)
        run("confirm", back.root, code=2)
        with back.registry.database.read() as session:
            newest = newest_checkpoint(session)
            assert newest is not None
            (tmp_path / "seen").write_bytes(newest.note)
        run("confirm", back.root, "--checkpoint", tmp_path / "seen")
        again.publish(built)
        assert check_registry(back.registry, deep=True).problems == ()
        assert back.registry.audit.newest(9, "registry.confirm")
        back.close()

    def test_a_checkpoint_of_another_history(
        self, world: World, sara: Client, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        """Two copies of one registry went different ways; the backup is of one of them."""
        world.close()
        place = tmp_path / "twin"
        place.mkdir()
        twin = World(copy_registry(world.root, place), clock=world.clock, keys=world.keys)
        twin.user("somebody")
        twin.registry.publication.materialise()
        world.user("else")
        world.registry.publication.materialise()
        backup(world, target)
        seen = twin.root / "public/log/checkpoint"
        done = run("restore", target, tmp_path / "back", *fresh, "--checkpoint", seen, code=1)
        assert "another one than was seen" in done.stderr
        run("check", tmp_path / "back", code=1)
        twin.close()
        drop_database(twin.root)

    @pytest.mark.parametrize("data", [b"", b"x", b"a/log\n1\nAAAA\n"])
    def test_no_checkpoint_at_all(
        self, world: World, target: Path, tmp_path: Path, fresh: list[str], data: bytes
    ) -> None:
        backup(world, target)
        (tmp_path / "seen").write_bytes(data)
        run("restore", target, tmp_path / "back", *fresh, "--checkpoint", tmp_path / "seen", code=1)

    def test_a_checkpoint_that_a_stranger_signed(
        self, world: World, target: Path, tmp_path: Path, fresh: list[str]
    ) -> None:
        from signing.keys import generate_key
        from signing.tlog.checkpoint import Checkpoint, sign_checkpoint

        backup(world, target)
        key = generate_key("ed25519")
        origin = world.registry.log.keys.origin
        note = sign_checkpoint(Checkpoint(origin=origin, size=10**6, root=bytes(32)), key)
        (tmp_path / "seen").write_bytes(note.to_bytes())
        assert log_key(origin, key)
        run("restore", target, tmp_path / "back", *fresh, "--checkpoint", tmp_path / "seen", code=1)


def test_the_switch_comes_back_as_it_was(
    world: World, target: Path, tmp_path: Path, fresh: list[str]
) -> None:
    world.registry.switch.on(OPERATOR, "moving")
    backup(world, target, "--with-keys")
    run("restore", target, tmp_path / "back", *fresh, "--newest")
    back = World(tmp_path / "back")
    assert back.registry.publication.read_only == "the operator takes no changes: moving"
    back.close()
