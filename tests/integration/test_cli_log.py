"""A registry whose public log lies, against a client that has seen it before or never.

The registry has every key that a thief of the server has, the log's among them; what it cannot
have is the witnesses' keys, or another past than the one that was seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NAME, World, tree
from cli_fixtures import Forge, Ran
from forge_client import forge
from log_builders import Log, NamedKey, TileTree
from static_server import Answer, StaticServer

from signing.tlog.entries import role_entry
from signing.tlog.fork import check_fork, parse_fork
from signing.tlog.merkle import EMPTY_ROOT
from signing.tlog.tiles import ENTRIES, Tile

__all__ = ["forge"]


WITNESSES = [NamedKey(f"witness{number}.example") for number in (1, 2, 3)]
CHECKPOINT = "/log/checkpoint"


def logged_world(witnesses: list[NamedKey] | None = None) -> World:
    """A registry with a release and a log, cosigned by all its ``witnesses``."""
    from datetime import UTC, datetime

    now = datetime.now(UTC).replace(microsecond=0)
    world = World(now=now, log=Log(witnesses or []))
    world.publish(tree())
    return world


def log_of(world: World) -> Log:
    assert world.log is not None
    return world.log


def visit(
    forge: Forge, world: World, changed: dict[str, Answer] | None = None, *args: str
) -> tuple[Ran, list[str]]:
    """What a client with this home is told by a server with ``changed`` files; install unless
    ``args`` say otherwise."""
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


def checkpoint(world: World, size: int | None = None) -> bytes:
    return log_of(world).checkpoint(world.now, size)


def grow(world: World, *entries: bytes) -> None:
    log_of(world).add(*entries)


# --- what must go well ---------------------------------------------------------------------------


def test_an_honest_log_is_proved_and_the_receipt_kept(forge: Forge) -> None:
    world = logged_world(WITNESSES)
    ran, paths = visit(forge, world)
    assert ran.code == 0, ran.err
    assert CHECKPOINT in paths
    evidence = json.loads((forge.place / f"out/forge_components/.forge/{NAME}.json").read_text())
    assert "c2sp.org/tlog-proof@v1" in json.dumps(evidence)


def test_the_receipt_verifies_without_the_registry(forge: Forge) -> None:
    visit(forge, logged_world(WITNESSES))
    ran = forge("verify", f"out/forge_components/{NAME}")
    assert ran.code == 0, ran.err
    assert "witness1.example" in ran.out
    assert "9 ✓ history" in ran.out


def test_a_log_that_grew_is_followed(forge: Forge) -> None:
    world = logged_world()
    assert visit(forge, world)[0].code == 0
    for number in range(600):
        grow(world, b"something else %d" % number)
    world.publish(tree(version="1.1.0"))
    ran, _ = visit(forge, world)
    assert ran.code == 0, ran.err


def test_a_log_that_stayed_costs_one_request(forge: Forge) -> None:
    world = logged_world()
    visit(forge, world, None, "info", str(NAME))
    _, paths = visit(forge, world, None, "info", str(NAME))
    assert [path for path in paths if path.startswith("/log/")] == [CHECKPOINT]


def test_a_full_tile_stands_in_for_a_partial_one_that_is_gone(forge: Forge) -> None:
    world = logged_world()
    files = world.files()
    partial = next(path for path in files if path.startswith("/log/tile/0/000.p/"))
    full = grown(world).tile(Tile(0, 0))
    ran, paths = visit(forge, world, {partial: gone, "/log/tile/0/000": full})
    assert ran.code == 0, ran.err
    assert "/log/tile/0/000" in paths


def test_so_does_a_full_bundle_of_entries(forge: Forge) -> None:
    """Of which only those count that the checkpoint has."""
    world = logged_world()
    partial = next(path for path in world.files() if path.startswith("/log/tile/entries/000.p/"))
    full = grown(world).tile(Tile(ENTRIES, 0))
    changed: dict[str, Answer] = {partial: gone, "/log/tile/entries/000": full}
    ran, paths = visit(forge, world, changed, "log", "audit", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["size"] == log_of(world).size
    assert paths.count("/log/tile/entries/000") == 1


def test_where_neither_is_there_the_promised_one_is_named(forge: Forge) -> None:
    world = logged_world()
    partial = next(path for path in world.files() if path.startswith("/log/tile/entries/000.p/"))
    ran, _ = visit(forge, world, {partial: gone}, "log", "audit")
    assert ran.code == 8, ran.err
    assert f"{partial}: the registry answered 404" in ran.err


def grown(world: World) -> TileTree:
    """The world's log, with its first tile full."""
    return TileTree([*log_of(world).tree.entries, *(b"%d" % n for n in range(300))])


def gone(handler: object) -> None:
    handler.reply(404, b"not found")  # type: ignore[attr-defined]


# --- what must be refused ------------------------------------------------------------------------


def without_release(world: World) -> dict[str, Answer]:
    """A log in which the release's index was never written: made for one victim."""
    log = log_of(world)
    leaf = role_entry(NAME.role, 1, world.roles[NAME.role]).to_bytes()
    log.tree = TileTree([b"{}" if entry == leaf else entry for entry in log.tree.entries])
    return {**log.files(world.now)}


def without_snapshot(world: World) -> dict[str, Answer]:
    log = log_of(world)
    leaf = role_entry("snapshot", world.snapshot_version, world.snapshot).to_bytes()
    log.tree = TileTree([b"{}" if entry == leaf else entry for entry in log.tree.entries])
    return {**log.files(world.now)}


def another_key(world: World) -> dict[str, Answer]:
    log = log_of(world)
    log.key = NamedKey(log.key.name)
    return {CHECKPOINT: checkpoint(world)}


def too_few_witnesses(world: World) -> dict[str, Answer]:
    log = log_of(world)
    log.witnesses = log.witnesses[:1]
    return {CHECKPOINT: checkpoint(world)}


def one_witness_three_times(world: World) -> dict[str, Answer]:
    log_of(world).witnesses = WITNESSES[:1]
    *lines, cosignature = checkpoint(world).decode().splitlines(keepends=True)
    return {CHECKPOINT: "".join([*lines, *[cosignature] * 3]).encode()}


def stranger_as_witness(world: World) -> dict[str, Answer]:
    log = log_of(world)
    log.witnesses = [NamedKey(witness.name) for witness in WITNESSES]
    return {CHECKPOINT: checkpoint(world)}


def lying_tiles(world: World) -> dict[str, Answer]:
    files = world.files()
    path = next(path for path in files if path.startswith("/log/tile/0/"))
    return {path: bytes(len(files[path]))}


def cosigned_long_ago(world: World) -> dict[str, Answer]:
    """A thief with the log's key and the server's keeps a fresh client in the past: everything is
    signed anew, but no witness says that it saw this today."""
    return {CHECKPOINT: log_of(world).checkpoint(world.now - timedelta(hours=25))}


def one_of_two_cosigned_long_ago(world: World) -> dict[str, Answer]:
    log = log_of(world)
    old, new = (log.checkpoint(world.now - timedelta(hours=hours)).decode() for hours in (25, 1))
    line = new.splitlines(keepends=True)[-1]  # of the third witness
    first = old.splitlines(keepends=True)[:-1]
    return {CHECKPOINT: "".join([*first, line]).encode()}


def leaf_beyond_the_log(world: World) -> dict[str, Answer]:
    return {f"/log/leaf/1.{NAME.role}": b"100000\n"}


def leaf_that_is_no_number(world: World) -> dict[str, Answer]:
    return {f"/log/leaf/1.{NAME.role}": b"\xff\xfe\n"}


def endless_checkpoint(world: World) -> dict[str, Answer]:
    return {CHECKPOINT: b"x" * 200_000}


def empty_log(world: World) -> dict[str, Answer]:
    log = log_of(world)
    from log_builders import checkpoint_of

    return {CHECKPOINT: checkpoint_of(log.key, 0, EMPTY_ROOT, log.witnesses, world.now)}


LIES: dict[Callable[[World], dict[str, Answer]], tuple[str, ...]] = {
    without_release: ("minds-lab.darija-lid version 1 in the log",),
    without_snapshot: ("snapshot version",),
    another_key: ("a signature by forge.example/log",),
    too_few_witnesses: ("cosignatures of 2 of 3 witnesses", "1 (witness1.example)"),
    one_witness_three_times: ("cosignatures of 2 of 3 witnesses",),
    stranger_as_witness: ("cosignatures of 2 of 3 witnesses", "0 (none)"),
    cosigned_long_ago: ("from the last 24 hours", "the last on"),
    one_of_two_cosigned_long_ago: ("2 of 3 witnesses from the last 24 hours",),
    lying_tiles: ("log root",),
    leaf_beyond_the_log: ("100000",),
    leaf_that_is_no_number: ("leading zeroes",),
    endless_checkpoint: ("at most",),
    empty_log: ("as in its checkpoint",),
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lying_log_is_refused(forge: Forge, lie: Callable[[World], dict[str, Answer]]) -> None:
    world = logged_world(WITNESSES)
    ran, _ = visit(forge, world, lie(world))
    refused(forge, ran, *LIES[lie], code=1 if lie is leaf_that_is_no_number else 3)


def test_no_checkpoint_is_no_excuse(forge: Forge) -> None:
    ran, _ = visit(forge, logged_world(), {CHECKPOINT: gone})
    refused(forge, ran, "log/checkpoint", code=8)


def test_a_log_that_became_shorter_is_refused(forge: Forge) -> None:
    world = logged_world()
    grow(world, b"one more")
    visit(forge, world, None, "info", str(NAME))
    log = log_of(world)
    log.tree = TileTree(log.tree.entries[:-1])
    ran, _ = visit(forge, world)
    refused(forge, ran, "as seen before", "old state")


def fork_evidence(forge: Forge) -> list[Path]:
    return list(forge.home.rglob("fork-*.json"))


@pytest.mark.parametrize("growth", [0, 1, 2, 3, 7, 250, 600])
@pytest.mark.parametrize("before", [0, 1, 2, 250])
def test_two_histories_leave_evidence_that_anybody_can_check(
    forge: Forge, growth: int, before: int
) -> None:
    world = logged_world()
    grow(world, *(b"then %d" % number for number in range(before)))
    grow(world, b"what was seen")
    visit(forge, world, None, "info", str(NAME))
    log = log_of(world)
    log.tree = TileTree([*log.tree.entries[:-1], b"what is said now"])
    grow(world, *(b"later %d" % number for number in range(growth)))
    ran, _ = visit(forge, world)
    refused(forge, ran, "different histories", "forge log verify")
    (path,) = fork_evidence(forge)
    first, second = check_fork(parse_fork(path.read_bytes()), [log.key.as_log])
    assert second.size - first.size == growth
    # It stays refused, and the evidence stays one file.
    refused(forge, visit(forge, world)[0], "different histories")
    assert fork_evidence(forge) == [path]


def test_tiles_that_belong_to_no_checkpoint_are_no_evidence(forge: Forge) -> None:
    world = logged_world()
    visit(forge, world, None, "info", str(NAME))
    grow(world, b"one more")
    ran, _ = visit(forge, world, lying_tiles(world))
    refused(forge, ran, "tiles")
    assert not fork_evidence(forge)


def test_a_mirror_without_the_log_key_cannot_frame_the_log(forge: Forge) -> None:
    """Evidence is made of what the log signed, never of what somebody else did."""
    world = logged_world()
    visit(forge, world, None, "info", str(NAME))
    log = log_of(world)
    log.tree = TileTree([*log.tree.entries[:-1], b"forged"])
    ran, _ = visit(forge, world, another_key(world))
    refused(forge, ran, "a signature by forge.example/log")
    assert not fork_evidence(forge)
