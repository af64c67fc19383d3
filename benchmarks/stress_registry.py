"""What publishers and clients of a registry of many components wait for, and what it weighs."""

from __future__ import annotations

import gzip
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from server_fixtures import ORG, start_server
from sqlalchemy import func, select

from forge_server.db.models import LogEntry, MetadataVersion
from forge_server.services.callers import OPERATOR
from forge_server.services.releases import OfferText
from forge_server.services.roles import as_bytes
from signing.names import ComponentName
from signing.roles import MAX_SNAPSHOT_BYTES

from .publishing import built_ahead
from .snapshot import look
from .stress_stand import Line, Stand, took


def sizes(stand: Stand) -> Iterator[Line]:
    database = stand.world.root / "registry.db"
    files = database.parent.glob(f"{database.name}*")
    yield "database", f"{sum(path.stat().st_size for path in files) / 1e6:.0f} MB"
    yield "a project's role", f"{stand.filled.role_bytes / 1e3:.1f} kB"
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
