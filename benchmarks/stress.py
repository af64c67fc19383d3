"""How a registry of many components holds: sizes and times of the snapshot, of a publish, of
`check`, `gc` and `backup`, with 5,000, 50,000 and 500,000 components of ten versions.

    python -m benchmarks.stress --components 5000 50000 500000

Nothing is promised but figures for docs/reference/sizing.md. Metadata only, as `made_up` makes it.
What lies in files is made up when it is asked for, and no bytes of models are read: so times of
`check`, `gc` and `backup` are those of database and processor, and a disk's come on top, which
`keeping` measures.

Each size is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import gzip
import io
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from server_fixtures import World
from sqlalchemy import func, select

from forge_server.db.models import LogEntry, MetadataVersion
from forge_server.operate.check import check_registry
from forge_server.operate.export import wanted_in, write_export
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from forge_server.services.releases import OfferText
from forge_server.services.roles import as_bytes
from forge_server.services.wanted import iter_wanted
from forge_server.wiring import Registry
from signing.roles import MAX_ROLE_BYTES

from .made_up import Filled, MadeUpBlobs, MadeUpTree, Pattern
from .publishing import built_ahead

STOCK_SNAPSHOT_BYTES = 2_000_000  # what clients made of python-tuf read at most


@dataclass
class Stand:
    """A registry to measure, with what stands in for its files."""

    world: World
    filled: Filled
    token: str
    place: Path

    @property
    def registry(self) -> Registry:
        real = self.world.registry
        blobs = MadeUpBlobs(real.blobs, self.filled.digests)
        tree = MadeUpTree(real.tree, self.filled.pattern, real)
        leases = replace(real.collection.leases, blobs=blobs)
        collection = replace(real.collection, blobs=blobs, leases=leases)
        return replace(real, blobs=blobs, tree=tree, collection=collection)  # type: ignore[arg-type]


Line = tuple[str, str]


def took(work: Callable[[], object]) -> str:
    """Seconds by the clock and of the processor."""
    worked, began = time.process_time(), time.perf_counter()
    work()
    clock, processor = time.perf_counter() - began, time.process_time() - worked
    return f"{clock:.3g} s ({processor:.3g} s of a processor)"


def sizes(stand: Stand) -> Iterator[Line]:
    database = stand.world.root / "registry.db"
    files = database.parent.glob(f"{database.name}*")
    yield "database", f"{sum(path.stat().st_size for path in files) / 1e6:.0f} MB"
    yield "a project's role", f"{len(stand.filled.pattern.role) / 1e3:.1f} kB"
    yield "the registrar's role", f"{stand.filled.registrar_bytes / 1e6:.2f} MB"
    with stand.world.registry.database.read() as session:
        yield "leaves of the log", str(session.scalar(select(func.count()).select_from(LogEntry)))


def snapshot(stand: Stand) -> Iterator[Line]:
    registry = stand.world.registry

    def announce() -> None:
        with registry.database.write() as session:
            registry.publication.announce(session)

    yield "snapshot: sign and record", took(announce)
    with registry.database.read() as session:
        query = select(MetadataVersion.data).where(MetadataVersion.role == "snapshot")
        data = session.scalars(query.order_by(MetadataVersion.version.desc()).limit(1)).one()
    beyond = ""
    if len(data) > STOCK_SNAPSHOT_BYTES:
        beyond = "; TOO LARGE for clients made of python-tuf"
    if len(data) > MAX_ROLE_BYTES:
        beyond = "; TOO LARGE for any client and for this server"
    packed = len(gzip.compress(data, mtime=0)) / 1e6
    yield "snapshot: size", f"{len(data) / 1e6:.2f} MB, gzipped {packed:.2f} MB{beyond}"
    yield "writing the log's tiles", took(registry.publication.materialise)


def publish(stand: Stand) -> Iterator[Line]:
    world = stand.world
    (chain,) = built_ahead(world, stand.token, 1, 5)
    identity = world.registry.accounts.authenticate(stand.token)
    caller = type(OPERATOR)(address=None, request_id="bench", identity=identity)
    clocks, processors = [], []
    for built in chain:
        for digest, data in built.blobs().items():
            world.registry.blobs.put(digest, io.BytesIO(data), len(data))
        text = OfferText(
            manifest=built.manifest.raw, bundle=built.bundle, roles=as_bytes(built.body()["roles"])
        )
        worked, began = time.process_time(), time.perf_counter()
        world.registry.releases.offer(caller, text)
        clocks.append(time.perf_counter() - began)
        processors.append(time.process_time() - worked)
    clock, processor = (statistics.median(each) * 1000 for each in (clocks, processors))
    yield "a publish (median of 5)", f"{clock:.0f} ms ({processor:.0f} ms of a processor)"


def check(stand: Stand) -> Iterator[Line]:
    def work() -> None:
        report = check_registry(stand.registry, deep=False)
        assert report.problems == (), report.problems[:5]

    yield "forge-server check", took(work)


def collect(stand: Stand) -> Iterator[Line]:
    found = []
    text = took(lambda: found.append(stand.registry.collection.collect(OPERATOR)))
    yield "forge-server gc", f"{text}, {found[0].looked} blobs"
    assert found[0].unreferenced == 0, found[0]


def back_up(stand: Stand) -> Iterator[Line]:
    path = stand.place / "export"

    def export() -> None:
        with stand.world.registry.database.read() as session, path.open("wb") as file:
            write_export(session, file)

    yield "backup: the database into a file", took(export)
    yield "backup: size of that file", f"{path.stat().st_size / 1e6:.0f} MB"
    registry = stand.registry
    yield "backup: which blobs it needs", took(lambda: len(list(_counted(registry, path))))
    path.unlink()


def _counted(registry: Registry, path: Path) -> Iterator[int]:
    """What it walks through to find blobs that are not in the target: all are."""
    yield sum(1 for _ in iter_wanted(registry.database))
    yield sum(1 for _ in wanted_in(path))


# In this order: a publish is measured on what the snapshot left, `check` on all of it.
MEASURES: tuple[Callable[[Stand], Iterator[Line]], ...] = (
    sizes, snapshot, publish, collect, check, back_up,
)  # fmt: skip


def measure(components: int, versions: int, only: list[str]) -> None:
    pattern = Pattern(versions)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        initialise(place / "reg", dev=True)
        world = World(place / "reg")
        token = world.user("sara")
        world.organisation(token)
        filled = Filled(components, pattern, place / "digests")
        user = world.registry.accounts.authenticate(token).user_id
        _say(components, "making it", took(lambda: filled.fill(world, user)))
        _sort(filled.digests)
        stand = Stand(world, filled, token, place)
        for each in MEASURES:
            if each.__name__ not in only:
                continue
            for what, text in each(stand):
                _say(components, what, text)
        world.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        _say(components, "memory at the most", f"{peak} MiB")


def _sort(path: Path) -> None:
    """By blocks: all of them at once may be 20 million."""
    lines: list[bytes] = []
    with path.open("rb") as file:
        while block := list(islice(file, 1_000_000)):
            lines += block
    lines.sort()
    path.write_bytes(b"".join(lines))


def _say(components: int, what: str, text: str) -> None:
    print(f"| {components} | {what} | {text} |", flush=True)


def main() -> None:
    names = [each.__name__ for each in MEASURES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, nargs="+", default=[5000, 50_000, 500_000])
    parser.add_argument("--versions", type=int, default=10, help="of each component")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    print("| components | what | seen |\n|---|---|---|")
    for components in options.components:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(measure, (components, options.versions, options.only))


if __name__ == "__main__":
    main()
