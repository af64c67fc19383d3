"""Promise of `forge-server gc` at 1,000,000 blobs: it ends, and its memory does not grow with them.

The rows are generated, a release for every thousand files, and so is the store: it has the blobs
that the rows name, and as many that nobody names. Nothing is read from a disk but the database. The
same walk over a tenth of everything is the yardstick, in a process of its own each.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from forge_server.db.models import Component, Organisation, Release, ReleaseFile, User
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from forge_server.wiring import Registry, open_registry
from storage import BlobStat, MemoryBlobStore

from .report import promise

MEMORY_MIB = 40  # more for ten times the blobs
FILES = 1000  # of a release


def digest_of(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


@dataclass
class GeneratedStore(MemoryBlobStore):
    """Has blobs of one byte, as many as ``path`` has lines, in ascending order; deleting is
    counted and believed."""

    path: Path = field(default_factory=Path)
    deleted: int = 0

    def iter_digests(self) -> Iterator[str]:
        with self.path.open() as file:
            for line in file:
                yield line.rstrip("\n")

    def stat(self, digest: str) -> BlobStat:
        return BlobStat(size=1)

    def missing(self, digests: Iterable[str]) -> set[str]:
        return set()

    def delete(self, digest: str) -> None:
        self.deleted += 1


def measure(blobs: int) -> tuple[float, float, int]:
    """(seconds of the walks that find and delete half of ``blobs``, those that a processor worked
    for them, MiB of memory at the most that they took)."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (blobs,))


def _measure(blobs: int) -> tuple[float, float, int]:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "reg"
        registry = open_registry(initialise(root, dev=True).folder)
        _fill(registry, blobs // 2)
        digests = Path(place) / "digests"
        digests.write_text("\n".join(sorted(map(digest_of, range(blobs)))) + "\n")
        store = GeneratedStore(path=digests)
        leases = replace(registry.collection.leases, blobs=store)
        late = replace(registry.collection, blobs=store, leases=leases)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, worked = time.perf_counter(), time.process_time()
        late.collect(OPERATOR)
        ahead = replace(late, clock=lambda: datetime.now(UTC) + timedelta(days=3))
        done = ahead.collect(OPERATOR)
        seconds, worked = time.perf_counter() - start, time.process_time() - worked
        assert (done.looked, done.deleted, store.deleted) == (blobs, blobs // 2, blobs // 2)
        registry.database.dispose()
        return seconds, worked, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10


def _fill(registry: Registry, files: int) -> None:
    """Releases that refer to the first ``files`` digests, written past everything that checks."""
    now = datetime.now(UTC)
    with registry.database.write() as session:
        session.add(User(name="sara", created_at=now))
        session.add(
            Organisation(
                name="org", skeleton="org", state="approved", kind="startup", display_name="Org",
                created_at=now,
            )
        )  # fmt: skip
        session.flush()
        session.add(
            Component(
                organisation="org", name="model", kind="model", summary="", license="",
                languages=[], tasks=[], latest="", versions=0, search_text="", created_at=now,
                updated_at=now,
            )
        )  # fmt: skip
        session.flush()
        for number in range(0, files, FILES):
            session.add(
                Release(
                    id=number + 1, component_id=1, version=f"{number}", kind="model", details={},
                    manifest_sha256="0" * 64, bundle_sha256="0" * 64, total_bytes=FILES,
                    file_count=FILES, publisher_id=1, publisher_key="", role="org.model",
                    role_version=1, snapshot_version=1, published_at=now, stored_at=now,
                )
            )  # fmt: skip
            session.flush()
            session.execute(
                insert(ReleaseFile),
                [
                    {
                        "release_id": number + 1, "path": f"{each}", "size": 1,
                        "sha256": digest_of(number + each),
                    }
                    for each in range(min(FILES, files - number))
                ],
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collect")
    parser.add_argument("--blobs", type=int, default=1_000_000)
    blobs = parser.parse_args().blobs
    few_seconds, few_worked, few = measure(blobs // 10)
    seconds, worked, many = measure(blobs)
    what = f"gc of {blobs} blobs, half of them deleted"
    promise(what, seconds, None, "s", few_seconds, f"the {few_seconds:.1f} s of a tenth of them")
    promise(f"{what}, processor time", worked, None, "s", few_worked,
            f"the {few_worked:.1f} s of a tenth of them")  # fmt: skip
    promise("memory beyond that of a tenth", many - few, MEMORY_MIB, "MiB", 0, f"{many} MiB in all")


if __name__ == "__main__":
    main()
