"""Promises: at least 30 small releases a second with 50 clients on PostgreSQL, and a publish with
100,000 releases in the registry costs at most 1.5 × what it costs with 1,000.

The first through real HTTP to a real `forge-server run`: each client has a component of its own and
publishes one release after the other; what it sends was signed before the clock starts, because the
promise is the server's. The second in this process, by the processor's own time and by the clock:
registries are filled with signed roles of 33 releases each, in their real sizes, and then the whole
way of an offer is taken, from its bytes to the files of the published tree.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from postgres import running
from publishers import next_release
from server_fixtures import ORG, Built, Client, World, start_server

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from forge_server.services.releases import OfferText
from forge_server.services.roles import as_bytes

from . import snapshot
from .publish import Transactions
from .replay import prepared, replay
from .report import promise
from .transfer import timed

LIMIT_PER_SECOND = 30.0
LIMIT_RATIO = 1.5
CLIENTS = 50


def built_ahead(world: World, token: str, clients: int, each: int) -> list[list[Built]]:
    """For each client its releases, one upon the other, signed; the first of each is published."""
    publisher = Client(create_app(world.registry).test_client(), token)
    found = []
    for number in range(clients):
        name = f"model-{number}"
        publisher.publish(world.release(name))
        role, chain = world.registry.roles.current(f"{ORG}.{name}"), []
        for version in range(1, each + 1):
            built = next_release(world, name, version, role)
            role = built.roles[built.manifest.component.role]
            chain.append(built)
        found.append(chain)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``processor_ms`` is what a release took of whom."""

    per_second: float
    median_ms: float
    processor_ms: Mapping[str, float]


def releases_per_second(
    place: Path, database: str | None, clients: int, each: int, postgres: int | None = None
) -> Rate:
    """What a server with its shipped settings takes, blobs included."""
    initialise(place / "reg", dev=True, database=database)
    world = World(place / "reg")
    token = world.user("sara")
    world.organisation(token)
    chains = built_ahead(world, token, clients, each)
    world.close()
    with (world.root / "server.toml").open("a") as settings:
        settings.write("\nmax_requests_per_minute = 0\n")
    server = start_server(world.root)
    headers = {"Authorization": f"Bearer {token}"}
    # As `forge publish` does: files as small as these travel with the offer.
    requests = [
        [
            prepared(
                "POST", f"{server.url}/api/v1/releases", headers,
                {
                    **built.body(),
                    "files": {name: b64encode(d).decode() for name, d in built.blobs().items()},
                },
            )
            for built in chain
        ]
        for chain in chains
    ]  # fmt: skip
    try:
        before = {"server": worked(server.process.pid), "database": worked(postgres)}
        own, began = time.process_time(), time.perf_counter()
        waited = replay(server.url, requests)
        seconds, own = time.perf_counter() - began, time.process_time() - own
        spent = {
            "server": worked(server.process.pid) - before["server"],
            "database": worked(postgres) - before["database"],
            "clients": own,
        }
    finally:
        server.stop()
    count = len(waited)
    return Rate(
        per_second=count / seconds,
        median_ms=statistics.median(waited) * 1000,
        processor_ms={who: took * 1000 / count for who, took in spent.items()},
    )


def worked(pid: int | None) -> float:
    """Seconds of processor that a process and all its children have taken."""
    if pid is None:
        return 0.0
    rows = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            rows[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    family = {pid}
    while grown := {each for each, (parent, _) in rows.items() if parent in family} - family:
        family |= grown
    return sum(rows[each][1] for each in family if each in rows) / os.sysconf("SC_CLK_TCK")


@contextmanager
def filled(place: Path, organisations: int) -> Iterator[tuple[World, str]]:
    """A registry with ``organisations`` beside the publisher's own, and the publisher's token."""
    initialise(place / "reg", dev=True)
    world = World(place / "reg")
    token = world.user("sara")
    world.organisation(token)
    world.close()
    snapshot.Filled(organisations=organisations, everywhere=True)(place / "reg")
    yield world, token
    world.close()
    shutil.rmtree(place)


def costs(place: Path, organisations: int, rounds: int) -> tuple[float, float]:
    """Milliseconds of one publish: (the processor's, the clock's), medians."""
    with filled(place, organisations) as (world, token):
        (chain,) = built_ahead(world, token, 1, rounds)
        registry = world.registry
        identity = registry.accounts.authenticate(token)
        caller = type(OPERATOR)(address=None, request_id="bench", identity=identity)
        found = []
        for built in chain:
            for digest, data in built.blobs().items():
                registry.blobs.put(digest, BytesIO(data), len(data))
            text = OfferText(
                manifest=built.manifest.raw, bundle=built.bundle,
                roles=as_bytes(built.body()["roles"]),
            )  # fmt: skip
            worked = time.process_time()
            seconds = timed(lambda: registry.releases.offer(caller, text))  # noqa: B023  called right here
            found.append(((time.process_time() - worked) * 1000, seconds * 1000))
        return statistics.median(c for c, _ in found), statistics.median(s for _, s in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=10, help="releases of each of the 50 clients")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--organisations", type=int, default=303, help="of 10 × 33 releases")
    parser.add_argument("--only", choices=("clients", "size"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if options.only != "size":
            measure_clients(Path(temporary), options.each)
        if options.only != "clients":
            measure_size(Path(temporary), options.organisations, options.rounds)


def measure_clients(place: Path, each: int) -> None:
    plain = Transactions(place / "plain.db")
    rate = 50 / timed(lambda: [plain.one() for _ in range(50)])
    for name in ("postgresql", "sqlite"):
        (place / name).mkdir()
    with running() as server:
        got = releases_per_second(
            place / "postgresql", server.create(), CLIENTS, each, server.process.pid
        )
    at_least("PostgreSQL (without its fsync)", got, LIMIT_PER_SECOND, rate)
    at_least("SQLite", releases_per_second(place / "sqlite", None, CLIENTS, each), None, rate)


def measure_size(place: Path, organisations: int, rounds: int) -> None:
    few, many = costs(place / "few", 3, rounds), costs(place / "many", organisations, rounds)
    releases = organisations * snapshot.PROJECTS * snapshot.RELEASES
    print(
        f"generated: signed roles of {organisations * snapshot.PROJECTS} projects with "
        f"{snapshot.RELEASES} releases each (one role under many names), their organisations and "
        "the registrar's; no files of releases, no rows of the catalogue"
    )
    for at, what in ((0, "processor time"), (1, "time by the clock")):
        promise(
            f"a publish with {releases} releases, {what}", many[at] / few[at],
            LIMIT_RATIO if at == 0 else None, "times", 0,
            f"{many[at]:.0f} ms, with 990 releases {few[at]:.0f} ms",
        )  # fmt: skip


def at_least(what: str, got: Rate, limit: float | None, base: float) -> None:
    verdict = ""
    if limit is not None:
        verdict = f"; {'at least' if got.per_second >= limit else 'BELOW'} {limit:g}"
    spent = ", ".join(f"{who} {took:.1f}" for who, took in got.processor_ms.items())
    print(
        f"{CLIENTS} clients on {what}: {got.per_second:.1f} releases/s{verdict} "
        f"({base / got.per_second:.1f} durable SQLite transactions each); "
        f"an answer after {got.median_ms:.0f} ms; processor, ms a release: {spent}",
        flush=True,
    )


if __name__ == "__main__":
    main()
