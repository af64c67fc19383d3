"""Publishers that come while another one's transaction runs share the next one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from server_fixtures import ORG, Built, Client, World, _fresh_registry, client, sara, world
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from forge_server.app import create_app
from forge_server.db.models import LogCheckpoint, LogEntry, MetadataVersion, Release
from forge_server.errors import RegistryError
from forge_server.operate.check import check_registry
from forge_server.services import gathering as gathering_module
from forge_server.services.callers import OPERATOR
from forge_server.services.together import Together

__all__ = ["_fresh_registry", "client", "sara", "world"]
MANY = 6


@contextmanager
def nobody_writes(world: World) -> Iterator[None]:
    database = world.registry.database
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            inside.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(60)
    try:
        yield
    finally:
        leave.set()
        holder.join(60)


def at_once(world: World, works: list[Callable[[], Any]]) -> None:
    """The first leads a transaction of its own; the others come, one after the other, while it
    waits to write."""
    threads = [threading.Thread(target=work) for work in works]
    together = world.registry.releases.together._gathering
    with nobody_writes(world):
        threads[0].start()
        until(together._leading.locked)
        for number, thread in enumerate(threads[1:], 1):
            thread.start()
            until(lambda: len(together._waiting) == number)  # noqa: B023  it waits right here
    for thread in threads:
        thread.join(60)


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        threading.Event().wait(0.01)


def ready(sara: Client, world: World, count: int = MANY) -> list[Built]:
    """Offers of one release each of as many components, their files sent and leases held."""
    offers = []
    for number in range(count):
        sara.publish(world.release(f"model-{number}"))
    for number in range(count):
        built = world.release(f"model-{number}", "1.1.0", summary=f"Number {number}")
        sara.put_blobs(built)
        built_small = (built.manifest.raw, built.bundle)
        world.registry.incoming.store_small(ORG, built_small)
        offers.append(built)
    return offers


def publish_all(world: World, sara: Client, offers: list[Built]) -> list[Any]:
    """What each got, in their order."""
    answers: list[Any] = [None] * len(offers)
    # What takes the write lock before the offer's own transaction must not stand in its way.
    incoming = world.registry.incoming
    object.__setattr__(incoming, "leases", _Settled(incoming.leases))

    def work(at: int) -> None:
        flask = create_app(world.registry).test_client()
        answers[at] = Client(flask, sara.token).post("/api/v1/releases", offers[at].body())

    at_once(world, [lambda at=at: work(at) for at in range(len(offers))])  # type: ignore[misc]
    return answers


class _Settled:
    """Leases that are held already: `hold` does not write."""

    def __init__(self, leases: Any) -> None:
        self._leases = leases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def hold(self, sizes: Any, organisation: str) -> Any:
        return self._leases.seen(sizes)


def leaves(world: World) -> int:
    with world.registry.database.read() as session:
        return session.scalar(select(func.count()).select_from(LogEntry)) or 0


def checkpoints(world: World) -> int:
    with world.registry.database.read() as session:
        return session.scalar(select(func.count()).select_from(LogCheckpoint)) or 0


def test_one_snapshot_announces_them_all(world: World, sara: Client) -> None:
    offers = ready(sara, world)
    before = world.registry.health.state().snapshot_version
    size, signed = leaves(world), checkpoints(world)
    answers = publish_all(world, sara, offers)
    assert checkpoints(world) == signed + 2
    snapshots = [answer["receipt"]["snapshot_version"] for answer in answers]
    assert snapshots == [before + 1] + [before + 2] * (MANY - 1)
    assert world.registry.health.state().snapshot_version == before + 2
    # Of each a role and the act, and two pairs of snapshot and timestamp.
    assert leaves(world) == size + 2 * MANY + 4
    assert world.registry.publication.is_behind() is False
    assert check_registry(world.registry, deep=True).problems == ()
    again = [sara.post("/api/v1/releases", built.body(), expect=200) for built in offers]
    assert [answer["receipt"] for answer in again] == [answer["receipt"] for answer in answers]


def test_rows_of_one_kind_are_written_at_once(world: World, sara: Client) -> None:
    offers = ready(sara, world)
    written: Counter[str] = Counter()

    def note(*arguments: Any) -> None:
        words = str(arguments[2]).split()
        if words[:2] == ["INSERT", "INTO"]:
            written[words[2]] += 1

    engine = world.registry.database.writing.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        publish_all(world, sara, offers)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    # One alone, and then the others. Snapshot and timestamp are of each transaction.
    assert written.pop("metadata_versions") == 2 + 4
    assert written.pop("search_documents", 1) == 1
    assert set(written.values()) == {2}, written
    assert check_registry(world.registry, deep=True).problems == ()


def test_what_fails_leaves_nothing_and_the_others_go_on(world: World, sara: Client) -> None:
    """Two of them bring the same version of the same component, with different files."""
    offers = ready(sara, world)
    other = world.release("model-0", "1.1.0", files={"weights.bin": b"other"})
    sara.put_blobs(other)
    world.registry.incoming.store_small(ORG, (other.manifest.raw, other.bundle))
    size = leaves(world)
    answers = publish_all(world, sara, [*offers, other])
    refused = [answer for answer in answers if "receipt" not in answer]
    assert [answer["code"] for answer in refused] == ["version-taken"]
    assert leaves(world) == size + 2 * MANY + 4
    assert check_registry(world.registry, deep=True).problems == ()


def test_a_change_that_fails_late_leaves_no_leaves(world: World, sara: Client) -> None:
    """One in the middle of a shared transaction has appended to the log and then fails."""
    releases, group = world.registry.releases, world.registry.releases.together
    offers = ready(sara, world)
    size = leaves(world)
    audit, role = releases.audit, offers[2].manifest
    object.__setattr__(releases, "audit", _Failing(audit, str(role), RegistryError("busy", "no")))
    answers = publish_all(world, sara, offers)
    assert [answer.get("code") for answer in answers] == [None, None, "busy", None, None, None]
    assert leaves(world) == size + 2 * (MANY - 1) + 4
    assert check_registry(world.registry, deep=True).problems == ()
    assert not group._gathering._waiting
    done = [each for each in audit.newest(1000, action="release.publish") if each.outcome == "done"]
    assert str(role) not in {event.subject for event in done}
    assert len(done) == 2 * MANY - 1


class _Failing:
    def __init__(self, audit: Any, subject: str, error: Exception) -> None:
        self._audit, self._subject, self._error = audit, subject, error

    def record(
        self, session: Session, caller: Any, action: str, subject: str | None, **detail: object
    ) -> None:
        self._audit.record(session, caller, action, subject, **detail)
        if subject == self._subject:
            raise self._error


def test_one_that_breaks_the_transaction_breaks_only_its_own(world: World, sara: Client) -> None:
    releases = world.registry.releases
    offers = ready(sara, world)
    broken = IntegrityError("INSERT", {}, Exception("constraint"))
    failing = _Failing(releases.audit, str(offers[3].manifest), broken)
    object.__setattr__(releases, "audit", failing)
    answers = publish_all(world, sara, offers)
    codes = [answer.get("code") for answer in answers]
    assert codes == [None, None, None, "storage-failed", None, None]
    assert check_registry(world.registry, deep=True).problems == ()


def test_what_cannot_be_announced_is_not_committed(world: World, sara: Client) -> None:
    offers = ready(sara, world)
    publication = world.registry.publication
    size = leaves(world)

    def switched_off(_session: Session) -> None:
        raise RegistryError("read-only", "not now")

    shared = Together(world.registry.database, switched_off)
    object.__setattr__(world.registry.releases, "together", shared)
    answers = publish_all(world, sara, offers)
    assert {answer["code"] for answer in answers} == {"read-only"}
    assert leaves(world) == size
    with world.registry.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Release)) == MANY
    assert publication.is_behind() is False
    assert check_registry(world.registry, deep=True).problems == ()


def test_more_than_fit_take_several(
    world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering_module, "MOST", 2)
    before = world.registry.health.state().snapshot_version
    count = 5
    offers = ready(sara, world, count)
    before += count
    publish_all(world, sara, offers)
    # One alone, and then twice two.
    assert world.registry.health.state().snapshot_version == before + 3
    assert check_registry(world.registry, deep=True).problems == ()


def test_nothing_is_announced_for_what_changes_nothing(world: World, sara: Client) -> None:
    announced: list[Session] = []
    together = Together(world.registry.database, announced.append)
    assert together.make(lambda session: (session.scalar(text("SELECT 7")), False)) == 7
    assert announced == []


def test_a_leader_that_is_ended_tells_the_others(world: World, sara: Client) -> None:
    """As when the process is told to go while it leads."""
    together = Together(world.registry.database, lambda _: None)
    inside, go_on = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def change(session: Session) -> tuple[None, bool]:
        inside.set()
        go_on.wait(60)
        raise SystemExit

    def lead() -> None:
        try:
            together.make(change)
        except BaseException as error:
            ended.append(error)

    leader = threading.Thread(target=lead)
    leader.start()
    inside.wait(60)
    go_on.set()
    leader.join(60)
    assert [type(error) for error in ended] == [SystemExit]
    assert together.make(lambda _: (1, False)) == 1  # the next one leads


def test_the_operator_is_told_of_each(world: World, sara: Client) -> None:
    """Each of them has its event, with its own request."""
    publish_all(world, sara, ready(sara, world))
    events = world.registry.audit.newest(1000, action="release.publish")
    assert len({event.request_id for event in events}) == 2 * MANY
    assert OPERATOR.actor not in {event.actor for event in events}


def test_a_row_that_the_database_refuses_is_one_publishers_own(world: World, sara: Client) -> None:
    """The rows of all are written with one statement, and one of them breaks a constraint."""
    offers = ready(sara, world)
    role = offers[3].manifest.component.role
    database, size = world.registry.database, leaves(world)
    with database.write() as session:
        # As nobody ever leaves it: a version of the role that is not the current one.
        in_the_way = MetadataVersion(
            role=role, version=2, data=b"{}", created_at=world.clock(), published_at=world.clock()
        )
        session.add(in_the_way)
    answers = publish_all(world, sara, offers)
    codes = [answer.get("code") for answer in answers]
    assert codes == [None, None, None, "storage-failed", None, None]
    with database.write() as session:
        session.delete(in_the_way)
    assert check_registry(world.registry, deep=True).problems == ()
    sara.post("/api/v1/releases", offers[3].body(), expect=201)
    assert leaves(world) == size + 2 * MANY + 2 * MANY  # each by itself, with what announces it
    assert check_registry(world.registry, deep=True).problems == ()


def test_a_role_that_came_too_late_is_one_publishers_own(world: World, sara: Client) -> None:
    """Two begin new components with the same next version of their organisation's role."""
    offers = ready(sara, world, 3)
    for name in ("new", "newer"):
        built = world.release(name)
        assert ORG in built.roles
        sara.put_blobs(built)
        world.registry.incoming.store_small(ORG, (built.manifest.raw, built.bundle))
        offers.append(built)
    answers = publish_all(world, sara, offers)
    assert [answer.get("code") for answer in answers] == [None] * 4 + ["role-version"]
    assert check_registry(world.registry, deep=True).problems == ()


def test_the_quota_counts_each_of_them(world: World, sara: Client) -> None:
    offers = ready(sara, world)
    quotas = world.registry.quotas
    quotas.set(OPERATOR, ORG, None, MANY + 3)
    answers = publish_all(world, sara, offers)
    codes = [answer.get("code") for answer in answers]
    assert codes == [None, None, None] + ["quota-exceeded"] * 3
    assert quotas.of(ORG).used_releases == MANY + 3
    assert check_registry(world.registry, deep=True).problems == ()


def test_the_same_twice_is_published_once(world: World, sara: Client) -> None:
    offers = ready(sara, world, 3)
    answers = publish_all(world, sara, [*offers, offers[1]])
    assert answers[3]["receipt"] == answers[1]["receipt"]
    events = world.registry.audit.newest(1000, action="release.publish")
    assert len(events) == 3 + 3
    assert check_registry(world.registry, deep=True).problems == ()


def test_several_bring_the_same_new_file(world: World, sara: Client) -> None:
    ready(sara, world, 3)
    offers = [
        world.release(f"model-{number}", "1.1.0", files={"weights.bin": b"new, and in each"})
        for number in range(3)
    ]
    for built in offers:
        sara.put_blobs(built)
        world.registry.incoming.store_small(ORG, (built.manifest.raw, built.bundle))
    signed = checkpoints(world)
    answers = publish_all(world, sara, offers)
    assert ["receipt" in answer for answer in answers] == [True] * 3
    assert checkpoints(world) == signed + 2
    assert check_registry(world.registry, deep=True).problems == ()
