"""How a registry of many components holds: sizes and times of the snapshot, of a publish, of
`check`, `gc` and `backup`, with 5,000, 50,000 and 500,000 components of ten versions.

    python -m benchmarks.stress --components 5000 50000 500000

Nothing is promised but figures for docs/reference/sizing.md. Metadata only, as `made_up` makes it.
What lies in files is made up when it is asked for, and no bytes of models are read: so times of
`check`, `gc` and `backup` are those of database and processor, and a disk's come on top, which
`keeping` measures.

With ``--in FOLDER`` a registry is made once, kept there, and found again: then what takes hours can
be measured in pieces (``--only``), and a piece that is ended early costs no other. Each piece is
measured in a process of its own. What a search takes of so many is measured by `catalogue`, whose
components have words of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import multiprocessing
import pickle
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from server_fixtures import ORG, World, start_server
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
from signing.keys import load_private_key
from signing.names import ComponentName
from signing.roles import MAX_SNAPSHOT_BYTES

from .made_up import Filled, MadeUpBlobs, MadeUpTree, Pattern
from .publishing import built_ahead
from .snapshot import look


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
    beyond = "; TOO LARGE for our clients" if len(data) > MAX_SNAPSHOT_BYTES else ""
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


def client(stand: Stand) -> Iterator[Line]:
    """Of a component that `publish` has left, which is published with all its files."""
    component = ComponentName.parse(f"{ORG}/model-0")
    server = start_server(stand.world.root)
    try:
        with tempfile.TemporaryDirectory() as home:
            for what in ("cold", "warm"):
                worked = time.process_time()
                requests, kb, ms = look(server.url, stand.world.root, Path(home), component)
                worked = time.process_time() - worked
                yield (
                    f"a {what} client: what is signed about a component",
                    f"{ms / 1000:.3g} s ({worked:.3g} s of a processor), {requests} requests, "
                    f"{kb:.0f} kB",
                )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        yield "that client: memory at the most", f"{peak} MiB"
    finally:
        server.stop()


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


# In this order: a publish is measured on what the snapshot left, a client on what that published,
# `check` on all of it.
MEASURES: tuple[Callable[[Stand], Iterator[Line]], ...] = (
    sizes, snapshot, publish, client, collect, back_up, check,
)  # fmt: skip


def make(place: Path, components: int, versions: int) -> None:
    """A registry in ``place``, which must not be there; when this was ended early it is not."""
    half = place.with_name(f"{place.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    initialise(half / "reg", dev=True)
    world = World(half / "reg")
    token = world.user("sara")
    world.organisation(token)
    filled = Filled(components, Pattern(versions), half / "digests")
    user = world.registry.accounts.authenticate(token).user_id
    _say(components, "making it", took(lambda: filled.fill(world, user)))
    _sort(filled.digests)
    world.close()
    filled.digests = place / "digests"
    kept = (filled, token, {name: key.to_pem(None) for name, key in world.keys.items()})
    (half / "made.pickle").write_bytes(pickle.dumps(kept))
    half.rename(place)


def opened(place: Path) -> Stand:
    """What `make` has left in ``place``."""
    filled, token, keys = pickle.loads((place / "made.pickle").read_bytes())
    world = World(place / "reg")
    world.keys.update((name, load_private_key(pem)) for name, pem in keys.items())
    return Stand(world, filled, token, place)


def measure(place: Path, name: str) -> None:
    """One of `MEASURES`, of the registry in ``place``."""
    stand = opened(place)
    (each,) = (each for each in MEASURES if each.__name__ == name)
    components = stand.filled.components
    for what, text in each(stand):
        _say(components, what, text)
    stand.world.close()
    used = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    _say(components, f"{name}: memory at the most", f"{used >> 10} MiB")


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
    parser.add_argument("--in", dest="place", type=Path, help="where registries are kept")
    options = parser.parse_args()
    print("| components | what | seen |\n|---|---|---|")
    temporary = contextlib.nullcontext(options.place)
    with temporary if options.place else tempfile.TemporaryDirectory() as folder:
        for components in options.components:
            place = Path(folder) / f"{components}-{options.versions}"
            if not place.exists():
                _alone(make, place, components, options.versions)
            for name in names:
                if name in options.only:
                    _alone(measure, place, name)
            if not options.place:
                shutil.rmtree(place)


def _alone(work: Callable[..., None], *arguments: object) -> None:
    """In a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(work, arguments)


if __name__ == "__main__":
    main()
