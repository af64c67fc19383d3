"""The registry's public log: appended with every change, signed once for each size, witnessed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from log_builders import NamedKey
from server_fixtures import (
    ON_SQLITE,
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    set_settings,
    world,
)
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from static_server import StaticServer
from witness_fixtures import HousedWitness, LiveWitness

from forge_server.app import create_app
from forge_server.db.models import Event, LogCheckpoint, LogEntry
from forge_server.errors import RegistryError
from forge_server.operate.check import check_registry
from forge_server.services.audit import commitment
from forge_server.services.callers import OPERATOR
from forge_server.services.log import append, log_size
from forge_server.witness.memory import WitnessFolder
from signing.role_edits import sign_role
from signing.roles import parse_targets
from signing.tlog.audit import Auditor
from signing.tlog.checkpoint import Checkpoint, cosign, open_checkpoint
from signing.tlog.entries import Entry, parse_entry
from signing.tlog.note import NoteKey, NoteSignature, parse_note
from signing.tlog.policy import LogPolicy, set_policy, with_witnesses

__all__ = ["_fresh_registry", "client", "sara", "world"]


def entries(world: World) -> list[Entry]:
    with world.registry.database.read() as session:
        leaves = session.scalars(select(LogEntry.entry).order_by(LogEntry.number)).all()
    return [parse_entry(leaf) for leaf in leaves]


def acts(world: World) -> list[tuple[str, str]]:
    return [(entry.act, entry.subject) for entry in entries(world) if entry.act != "role"]


def published(world: World) -> bytes:
    return (world.root / "public" / "log" / "checkpoint").read_bytes()


class TestWhatIsLogged:
    def test_every_version_of_every_role(self, world: World, sara: Client) -> None:
        sara.publish(world.release(version="1.0.0"))
        heads = Auditor()
        with world.registry.database.read() as session:
            leaves = session.scalars(select(LogEntry.entry).order_by(LogEntry.number)).all()
        assert list(heads.add(leaves))
        assert heads.problems == []
        for role in ("root", "targets", "registrar", ORG, f"{ORG}.my-model", "snapshot"):
            assert heads.heads[role] >= 1, role
        assert heads.heads["timestamp"] == heads.heads["snapshot"]

    def test_acts_with_names_and_digests_and_no_persons(self, world: World, sara: Client) -> None:
        built = world.release(version="1.0.0")
        sara.publish(built)
        world.user("omar")
        sara.call("PUT", f"/api/v1/organisations/{ORG}/members/omar", {"role": "reader"})
        assert acts(world) == [
            ("authority.adopt", ""),
            ("user.add", ""),
            ("token.create", ""),
            ("organisation.apply", ORG),
            ("organisation.approve", ORG),
            ("release.publish", f"{ORG}/my-model==1.0.0"),
            ("user.add", ""),
            ("token.create", ""),
            ("member.set", ORG),
        ]
        release = next(entry for entry in entries(world) if entry.act == "release.publish")
        assert release.sha256 == built.manifest.digest
        with world.registry.database.read() as session:
            leaves = b"".join(session.scalars(select(LogEntry.entry)))
        assert b"omar" not in leaves
        assert b"sara" not in leaves

    def test_what_was_rolled_back_is_not_in_the_log(self, world: World) -> None:
        before = entries(world)
        with (
            contextlib.suppress(ZeroDivisionError),
            world.registry.database.write() as session,
        ):
            append(session, before[0])
            raise ZeroDivisionError
        assert entries(world) == before
        assert check_registry(world.registry, deep=True).problems == ()


class TestCheckpoints:
    def test_one_for_each_transaction_and_never_two_of_a_size(self, world: World) -> None:
        with world.registry.database.read() as session:
            size = log_size(session)
            before = session.scalars(select(LogCheckpoint.size)).all()
        at = world.clock()
        with world.registry.database.write() as session:
            for number in range(300):
                append(session, Entry(act="test", subject=str(number), at=at))
        with world.registry.database.read() as session:
            after = session.scalars(select(LogCheckpoint.size)).all()
        assert sorted(set(after) - set(before)) == [size + 300]
        with (
            pytest.raises(IntegrityError),
            world.registry.database.write() as session,
        ):
            session.add(LogCheckpoint(size=size, note=b"another", created_at=at))

    def test_a_leaf_that_nobody_would_seal_is_not_taken(self, world: World) -> None:
        """Leaves are inserted with the checkpoint: elsewhere they would be lost without a word."""
        before = entries(world)
        with (
            pytest.raises(AssertionError, match="nothing seals"),
            world.registry.database.read() as session,
        ):
            append(session, before[0])
        with world.registry.database.write() as session:
            assert append(session, before[0]) == len(before)
        assert len(entries(world)) == len(before) + 1

    def test_what_fails_to_be_signed_is_not_in_the_log(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = entries(world)

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as broken:
            broken.setattr(type(world.registry.log.keys), "sign", fail)
            with (
                pytest.raises(ZeroDivisionError),
                world.registry.database.write() as session,
            ):
                append(session, before[0])
        assert entries(world) == before
        assert check_registry(world.registry, deep=True).problems == ()

    @pytest.mark.parametrize("sizes", [[1, 255, 1], [256, 256], [700, 1, 1, 400]])
    def test_tiles_grow_over_their_borders(self, world: World, sizes: list[int]) -> None:
        at = world.clock()
        for count in sizes:
            with world.registry.database.write() as session:
                for number in range(count):
                    append(session, Entry(act="test", subject=str(number), at=at))
        world.registry.publication.materialise()
        assert check_registry(world.registry, deep=True).problems == ()

    @ON_SQLITE  # the file of a SQLite database is put back; the next test is PostgreSQL's
    def test_an_older_database_makes_the_server_read_only(self, world: World, sara: Client) -> None:
        world.close()
        old = (world.root / "registry.db").read_bytes()
        client = Client(create_app(world.registry).test_client(), sara.token)
        client.publish(world.release(version="1.0.0"))
        world.close()
        for name in ("registry.db-wal", "registry.db-shm"):
            (world.root / name).unlink(missing_ok=True)
        (world.root / "registry.db").write_bytes(old)
        registry = world.reopen()
        assert registry.publication.read_only is not None
        assert "older than what the world has seen" in registry.publication.read_only
        client = Client(create_app(registry).test_client(), sara.token)
        client.put_blobs(world.release(version="2.0.0"))
        client.post(
            "/api/v1/releases", world.release(version="2.0.0").body(), code="read-only", expect=503
        )

    def test_a_damaged_checkpoint_is_written_again(self, world: World, sara: Client) -> None:
        sara.publish(world.release())  # a server looks at it before it first signs one
        path = world.root / "public" / "log" / "checkpoint"
        path.unlink()
        path.write_bytes(b"rubbish")
        sara.publish(world.release(version="1.1.0"))
        assert check_registry(world.registry, deep=True).problems == ()

    def test_another_history_is_not_written_over(self, world: World, sara: Client) -> None:
        """Signed with the log's own key, for a tree that is not ours: somebody must look."""
        checkpoint = Checkpoint(origin=world.registry.log.keys.origin, size=9999, root=b"x" * 32)
        note = world.registry.log.keys.sign(checkpoint).to_bytes()
        world.registry.tree.swap("log/checkpoint", note)
        built = world.release()
        sara.put_blobs(built)
        sara.post("/api/v1/releases", built.body(), expect=503, code="read-only")
        assert published(world) == note

    def test_many_threads_one_history(self, world: World) -> None:
        at = world.clock()

        def work(name: int) -> None:
            for number in range(20):
                with world.registry.database.write() as session:
                    append(session, Entry(act="test", subject=f"{name}-{number}", at=at))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.registry.publication.materialise()
        assert len([entry for entry in entries(world) if entry.act == "test"]) == 160
        assert check_registry(world.registry, deep=True).problems == ()

    def test_two_processes_one_history(self, world: World) -> None:
        """Both append and both publish; what is published never goes back."""
        world.close()
        children = []
        for name in range(2):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    registry = world.registry
                    for number in range(25):
                        with registry.database.write() as session:
                            entry = Entry(act="test", subject=f"{name}-{number}", at=world.clock())
                            append(session, entry)
                        registry.publication.materialise()
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        world.registry.publication.materialise()
        assert len([entry for entry in entries(world) if entry.act == "test"]) == 50
        assert check_registry(world.registry, deep=True).problems == ()


def cosign_as(text: str, stranger: NamedKey, institute: NoteKey) -> bytes:
    """A cosignature line with the institute's name and key id, made with another key."""
    line = cosign(text, stranger.name, stranger.key, datetime.now(UTC))
    return NoteSignature(name=institute.name, key_id=institute.key_id, data=line.data).line.encode()


Institutes = Sequence[HousedWitness | LiveWitness]


@pytest.fixture
def institutes(tmp_path: Path, world: World) -> Iterator[Institutes]:
    """Three witnesses that know the registry's log."""
    yield from _three(HousedWitness, tmp_path, world)


@pytest.fixture
def running_institutes(tmp_path: Path, world: World) -> Iterator[Institutes]:
    """The same, each a process."""
    yield from _three(LiveWitness, tmp_path, world)


def _three(
    kind: type[HousedWitness] | type[LiveWitness], place: Path, world: World
) -> Iterator[Institutes]:
    running = []
    with contextlib.ExitStack() as stack:
        for number in range(3):
            key = NamedKey(f"witness{number}.example")
            folder = WitnessFolder.create(place / key.name, key.name, key.key, key.key.to_pem(None))
            folder.add_log(world.registry.log.keys.verifiers()[0].vkey)
            running.append(stack.enter_context(kind(place / key.name)))
        yield running


def keys_of(institutes: Institutes) -> list[NoteKey]:
    return [WitnessFolder(each.folder).own for each in institutes]


def require_witnesses(world: World, institutes: Institutes) -> None:
    """The authority names the witnesses, 2 of 3, and the operator says where they are."""
    lines = [
        f'"{key.vkey} http://127.0.0.1:{live.port}"'
        for key, live in zip(keys_of(institutes), institutes, strict=True)
    ]
    settings = f"witnesses = [{', '.join(lines)}]\nwitness_timeout_seconds = 60\n"
    set_settings(world.root, settings)
    world.reopen()
    targets = parse_targets(world.registry.roles.current("targets"), "targets").signed
    targets.version += 1
    policy = LogPolicy(keys=tuple(world.registry.log.keys.verifiers()))
    set_policy(targets, with_witnesses(policy, keys_of(institutes), None))
    signed = sign_role(targets, [world.authority_key("targets")])
    api = Client(create_app(world.registry).test_client(), None)
    api.post("/api/v1/roles", {"roles": {"targets": signed.decode()}}, expect=200)


class _Asking(threading.Thread):
    """Asks a witness. Where that is ``slow``, the time that it is waited for goes by in a moment;
    for the others there is as much as the machine takes."""

    def __init__(self, *, slow: str, args: tuple[Any, ...], **options: Any) -> None:
        super().__init__(args=args, **options)
        self.is_slow = args[0].url == slow

    def join(self, timeout: float | None = None) -> None:
        super().join(0.2 if self.is_slow and timeout is not None else timeout)


class TestWitnesses:
    def test_every_checkpoint_is_cosigned(
        self, world: World, sara: Client, running_institutes: Institutes
    ) -> None:
        institutes = running_institutes
        require_witnesses(world, institutes)
        client = Client(create_app(world.registry).test_client(), sara.token)
        client.publish(world.release(version="1.0.0"))
        logs = world.registry.log.keys.verifiers()
        signed = open_checkpoint(published(world), logs, keys_of(institutes))
        assert len(signed.witnesses) == 3

    def test_one_that_is_away_is_done_without(
        self, world: World, sara: Client, institutes: Institutes
    ) -> None:
        require_witnesses(world, institutes)
        institutes[0].kill()
        client = Client(create_app(world.registry).test_client(), sara.token)
        client.publish(world.release(version="1.0.0"))
        logs = world.registry.log.keys.verifiers()
        signed = open_checkpoint(published(world), logs, keys_of(institutes))
        assert set(signed.witnesses) == {key.name for key in keys_of(institutes)[1:]}

    def test_without_a_quorum_the_world_stays_where_it_was(
        self, world: World, sara: Client, institutes: Institutes
    ) -> None:
        require_witnesses(world, institutes)
        client = Client(create_app(world.registry).test_client(), sara.token)
        stamp = (world.root / "public" / "timestamp.json").read_bytes()
        seen = published(world)
        for live in institutes[:2]:
            live.kill()
        built = world.release(version="1.0.0")
        client.put_blobs(built)
        answer = client.post("/api/v1/releases", built.body(), code="witnesses-missing", expect=503)
        assert "2 of 3" in answer["detail"]
        assert published(world) == seen
        assert (world.root / "public" / "timestamp.json").read_bytes() == stamp
        institutes[0].start(institutes[0].port)
        # The same publish says that it is there, and now the world sees it.
        client.post("/api/v1/releases", built.body(), expect=200)
        assert published(world) != seen
        assert (world.root / "public" / "timestamp.json").read_bytes() != stamp
        assert check_registry(world.registry, deep=True).problems == ()

    @pytest.mark.parametrize("manner", ["silent", "a byte now and then", "a header now and then"])
    def test_a_publish_does_not_wait_for_a_witness_that_never_ends(
        self,
        world: World,
        sara: Client,
        institutes: Institutes,
        manner: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It is over while that witness is still at it, with the others' cosignatures."""
        require_witnesses(world, institutes)
        over, given_up = threading.Event(), threading.Event()

        def hold(handler: Any) -> None:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            if manner == "a byte now and then":
                handler.wfile.write(b"Content-Length: 60000\r\n\r\n")
            for _ in range(600):  # not for ever, so that a test can fail
                if over.wait(0.1):
                    return
                with contextlib.suppress(OSError):
                    if manner != "silent":
                        handler.wfile.write(b"X: y\r\n" if "header" in manner else b"x")
            given_up.set()

        with StaticServer({"/add-checkpoint": hold}) as slow:
            keys = keys_of(institutes)
            addresses = [slow.url, *(f"http://127.0.0.1:{live.port}" for live in institutes[1:])]
            listed = ", ".join(f'"{k.vkey} {a}"' for k, a in zip(keys, addresses, strict=True))
            settings = f"witnesses = [{listed}]\nwitness_timeout_seconds = 60\n"
            set_settings(world.root, settings)
            monkeypatch.setattr(
                "forge_server.services.witnesses.Thread", partial(_Asking, slow=slow.url)
            )
            client = Client(create_app(world.reopen()).test_client(), sara.token)
            client.publish(world.release(version="1.0.0"))
            # Not asked again as long as it owes an answer: one thread for it, and no more.
            client.publish(world.release(version="2.0.0"))
            assert not given_up.is_set()
            asked = len(slow.requests)
            over.set()
        assert asked == 1
        signed = open_checkpoint(published(world), world.registry.log.keys.verifiers(), keys)
        assert set(signed.witnesses) == {key.name for key in keys[1:]}
        assert check_registry(world.registry, deep=True).problems == ()

    def test_a_witness_that_claims_to_have_seen_more_gives_no_cosignature(
        self, world: World, institutes: Institutes
    ) -> None:
        require_witnesses(world, institutes)
        with world.registry.database.read() as session:
            newest = session.scalars(
                select(LogCheckpoint).order_by(LogCheckpoint.size.desc())
            ).first()
        assert newest is not None

        def larger(handler: Any) -> None:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.reply(409, b"100000\n", Content_Type="text/x.tlog.size")

        with StaticServer({"/add-checkpoint": larger}) as liar:
            text = f'witnesses = ["{keys_of(institutes)[0].vkey} {liar.url}"]\n'
            set_settings(world.root, text)
            ask = world.reopen().publication.log.cosign
            assert ask is not None
            with pytest.raises(RegistryError) as caught:
                ask(newest.size, newest.note)
            assert caught.value.code == "witnesses-missing"
            assert len(liar.requests) == 1

    def test_a_cosignature_by_another_key_is_left_out(
        self, world: World, institutes: Institutes
    ) -> None:
        require_witnesses(world, institutes)
        with world.registry.database.read() as session:
            newest = session.scalars(
                select(LogCheckpoint).order_by(LogCheckpoint.size.desc())
            ).first()
        assert newest is not None
        institute = keys_of(institutes)[0]
        stranger = NamedKey(institute.name)
        text = parse_note(newest.note).text
        forged = cosign_as(text, stranger, institute)

        def lie(handler: Any) -> None:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.reply(200, forged)

        with StaticServer({"/add-checkpoint": lie}) as liar:
            settings = f'witnesses = ["{institute.vkey} {liar.url}"]\n'
            set_settings(world.root, settings)
            ask = world.reopen().publication.log.cosign
            assert ask is not None
            with pytest.raises(RegistryError):
                ask(newest.size, newest.note)

    def test_kill_while_the_witnesses_are_asked(
        self, world: World, sara: Client, institutes: Institutes
    ) -> None:
        """The commit is done, the world does not know: the next start tells it."""
        require_witnesses(world, institutes)
        built = world.release(version="1.0.0")
        world.close()
        child = os.fork()
        if child == 0:
            registry = world.registry
            object.__setattr__(
                registry.publication.log, "cosign", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            )
            Client(create_app(registry).test_client(), sara.token).publish(built)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        registry = world.reopen()
        assert registry.publication.materialise() > 0
        assert check_registry(registry, deep=True).problems == ()
        logs = registry.log.keys.verifiers()
        signed = open_checkpoint(published(world), logs, keys_of(institutes))
        assert len(signed.witnesses) == 3


class TestCommitments:
    """What concerns persons is in the log as a digest: told to nobody, and not to be rewritten."""

    def events(self, world: World) -> list[Event]:
        with world.registry.database.read() as session:
            return list(session.scalars(select(Event).where(Event.action == "user.disable")))

    def test_an_act_on_an_account_is_a_leaf_that_names_nobody(self, world: World) -> None:
        world.user("omar")
        world.registry.accounts.disable_user(OPERATOR, "omar")
        found = [entry for entry in entries(world) if entry.act == "user.disable"]
        (event,) = self.events(world)
        assert [entry.sha256 for entry in found] == [commitment(event)]
        assert found[0].subject == ""

    def test_the_same_act_twice_commits_to_two_digests(self, world: World) -> None:
        """A digest without a nonce could be guessed from a list of names."""
        for name in ("omar", "lina"):
            world.user(name)
        first, second = (entry.sha256 for entry in entries(world) if entry.act == "user.add")
        assert first != second
        with world.registry.database.read() as session:
            events = session.scalars(select(Event).where(Event.action == "user.add")).all()
        assert all(len(event.detail["nonce"]) == 32 for event in events)

    @pytest.mark.parametrize("change", ["subject", "actor", "detail", "at"])
    def test_an_event_that_was_rewritten_is_found(self, world: World, change: str) -> None:
        world.user("omar")
        world.registry.accounts.disable_user(OPERATOR, "omar")
        world.registry.publication.materialise()
        assert check_registry(world.registry, deep=True).problems == ()
        with world.registry.database.write() as session:
            event = session.scalar(select(Event).where(Event.action == "user.disable"))
            assert event is not None
            event.subject = "lina" if change == "subject" else event.subject
            event.actor = "lina" if change == "actor" else event.actor
            event.at += timedelta(minutes=1) if change == "at" else timedelta()
            if change == "detail":
                event.detail = {**event.detail, "reason": "another"}
        (problem,) = check_registry(world.registry, deep=True).problems
        assert "user.disable): was changed since leaf" in problem

    def test_an_event_that_was_deleted_is_found(self, world: World) -> None:
        world.user("omar")
        world.registry.accounts.disable_user(OPERATOR, "omar")
        world.registry.publication.materialise()
        with world.registry.database.write() as session:
            session.execute(delete(Event).where(Event.action == "user.disable"))
        (problem,) = check_registry(world.registry, deep=True).problems
        assert "(user.disable): its audit event is gone" in problem
