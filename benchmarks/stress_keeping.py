"""What an operator of a registry of many components waits for: `gc`, `backup`, `check`.

The store and the published tree make up what they are asked for. So no bytes are copied by
`backup`: measured are the export, and what it walks through to know which blobs it needs, which is
all that a second one does where nothing is new, but for looking whether each is in the target.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

from forge_server.operate.check import check_registry
from forge_server.operate.check_log import check_log
from forge_server.operate.export import wanted_in, write_export
from forge_server.services.callers import OPERATOR
from forge_server.services.collection import Collected, Collection
from forge_server.services.wanted import iter_wanted
from signing.digests import sha256_hex

from .stress_stand import Line, Stand, took


def collect(stand: Stand) -> Iterator[Line]:
    found: list[Collected] = []
    text = took(partial(_collect, stand.registry.collection, found))
    yield "forge-server gc", f"{text}, {found[0].looked} blobs"
    assert found[0].unreferenced == 0, found[0]


def collect_garbage(stand: Stand) -> Iterator[Line]:
    """Where somebody left a blob for every five components: a walk that finds them, and one after
    the grace period."""
    registry, count = stand.registry, stand.filled.components // 5
    blobs = registry.blobs
    # The stand put its own store there, which can be told what nobody refers to.
    blobs.garbage = sorted(sha256_hex(b"%d" % each) for each in range(count))  # type: ignore[attr-defined]
    for days, what in ((0, "finds"), (3, "deletes")):
        now = registry.clock() + timedelta(days=days)
        collection = replace(registry.collection, clock=partial(_same, now))
        found: list[Collected] = []
        text = took(partial(_collect, collection, found))
        yield f"forge-server gc that {what} {count}", f"{text}, {found[0].looked} blobs"
    assert found[0].deleted == count, found[0]


def _same(now: datetime) -> datetime:
    return now


def _collect(collection: Collection, found: list[Collected]) -> None:
    found.append(collection.collect(OPERATOR))


def back_up(stand: Stand) -> Iterator[Line]:
    path = stand.place / "export"
    database = stand.world.registry.database

    def export() -> None:
        with database.read() as session, path.open("wb") as file:
            write_export(session, file)

    yield "backup: the database into a file", took(export)
    yield "backup: size of that file", f"{path.stat().st_size / 1e6:.0f} MB"
    yield "backup: which blobs it needs", took(lambda: _count(iter_wanted(database)))
    yield "backup: which of them came meanwhile", took(lambda: _count(wanted_in(path)))
    path.unlink()


def _count(digests: Iterator[str]) -> int:
    return sum(1 for _ in digests)


def check_log_deep(stand: Stand) -> Iterator[Line]:
    """What ``--deep`` does beyond reading all blobs, of which there are none."""
    registry = stand.registry
    found: list[str] = []

    def work() -> None:
        with registry.database.read() as session:
            found.extend(check_log(registry, session, deep=True))

    yield "forge-server check --deep: the public log", took(work)
    assert not found, found[:5]


def check(stand: Stand) -> Iterator[Line]:
    parts: list[tuple[str, float, float]] = []

    def tell(what: str) -> None:
        parts.append((what, time.perf_counter(), time.process_time()))

    def work() -> None:
        report = check_registry(stand.registry, deep=False, tell=tell)
        assert report.problems == (), report.problems[:5]

    name = "forge-server check"
    whole = took(work)
    tell("")
    for (what, began, worked), (_, ended, worked_then) in pairwise(parts):
        yield (
            f"{name}: {what}",
            f"{ended - began:.3g} s ({worked_then - worked:.3g} s of a processor)",
        )
    yield name, whole
