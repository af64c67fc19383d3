"""Promises of the public log at 1,000,000 leaves: appending costs at most 1 ms a leaf in batches,
an inclusion proof 5 ms (made by the server from its database, by a client from tiles), and
`forge log audit` 60 s with the server on the same two cores.

The log is made by the code that makes it in a running registry: leaves in transactions, each
sealed with a checkpoint, then tiles. Yardsticks are taken in the same run: plain SQLite inserts of
the same rows (each batch in turn with ours), plain reads of as many rows or files, plain hashing.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import urllib3

from forge_cli.remote.http import Http
from forge_cli.remote.log import LogView
from forge_server.services.log import append, hash_reader, log_size
from forge_server.settings import DataFolder
from forge_server.wiring import Registry as Services
from forge_server.wiring import open_registry
from signing.tlog.entries import Entry, role_entry
from signing.tlog.merkle import prove_inclusion
from signing.tlog.note import NoteKey
from signing.tlog.policy import LogPolicy
from signing.tlog.tiles import ENTRIES, HEIGHT, WIDTH, Tile

from .registry import Registry
from .report import promise
from .transfer import timed

APPEND_MS, PROOF_MS, AUDIT_SECONDS = 1.0, 5.0, 60.0
PROJECTS = 3000
PROOFS = 300


def entries(count: int) -> Iterator[Entry]:
    """``count`` leaves of many publishes: a role's next version, then the act."""
    at = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
    for number in range(count):
        turn, project = divmod(number // 2, PROJECTS)
        name = f"org-{project // 10}.project-{project % 10}"
        data = b"%d" % number
        if number % 2 == 0:
            yield role_entry(name, turn + 1, data)
        else:
            sha256 = hashlib.sha256(data).hexdigest()
            subject = f"{name.replace('.', '/')}=={turn + 1}.0"
            yield Entry(act="release.publish", subject=subject, sha256=sha256, at=at)


class Plain:
    """The same rows in a database of their own, without our code: a yardstick."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        for text in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE entries (number BIGINT PRIMARY KEY, entry BLOB)",
            "CREATE TABLE hashes (level INT, number BIGINT, hash BLOB, PRIMARY KEY(level, number))",
        ):
            self.connection.execute(text)

    def insert(self, first: int, leaves: list[bytes]) -> None:
        run = self.connection
        run.execute("BEGIN IMMEDIATE")
        numbered = list(enumerate(leaves, start=first))
        run.executemany("INSERT INTO entries VALUES (?, ?)", numbered)
        run.executemany(
            "INSERT INTO hashes VALUES (0, ?, ?)",
            [(number, hashlib.sha256(leaf).digest()) for number, leaf in numbered],
        )
        run.execute("COMMIT")

    def read(self, number: int) -> None:
        """As many rows as the tiles of a proof hold."""
        for level in range(3):
            first = (number >> (HEIGHT * level)) // WIDTH * WIDTH
            self.connection.execute(
                "SELECT hash FROM hashes WHERE level = 0 AND number >= ? AND number < ?",
                (first, first + WIDTH),
            ).fetchall()


class Took(NamedTuple):
    """Milliseconds by the clock, and of them those that a processor worked for us: what is left
    of the first when nobody else wants the machine."""

    clock: float
    processor: float

    @classmethod
    def by(cls, work: Callable[[], object]) -> Took:
        before = time.process_time()
        seconds = timed(work)
        return cls(seconds * 1000, (time.process_time() - before) * 1000)


class Filled:
    """A log of ``leaves`` leaves in the data folder, and what making it took."""

    def __init__(self, leaves: int, batch: int, place: Path) -> None:
        self.leaves, self.batch = leaves, batch
        self.plain = Plain(place / "plain.db")
        self.ours = self.raw = self.files = 0.0
        self.first = 0
        self.server_ms: list[Took] = []
        self.plain_ms: list[float] = []

    def __call__(self, data: Path) -> None:
        services = open_registry(DataFolder(data))
        with services.database.read() as session:
            self.first = log_size(session)
        source = entries(self.leaves)
        for start in range(0, self.leaves, self.batch):
            batch = [next(source) for _ in range(min(self.batch, self.leaves - start))]
            self.ours += timed(lambda: self._append(services, batch))  # noqa: B023  # at once
            leaves = [entry.to_bytes() for entry in batch]
            self.raw += timed(lambda: self.plain.insert(start, leaves))  # noqa: B023
        self.files = timed(services.publication.materialise)
        self._prove(services)
        self.key = services.log.keys.verifiers()[0]
        services.database.dispose()

    def _append(self, services: Services, batch: list[Entry]) -> None:
        with services.database.write() as session:
            for entry in batch:
                append(session, entry)

    def _prove(self, services: Services) -> None:
        """Proofs of random leaves, each in a transaction of its own as a request would have."""
        for number in random.Random(1).sample(range(self.leaves), min(PROOFS, self.leaves)):
            index = self.first + number

            def prove() -> None:
                with services.database.read() as session:
                    size = log_size(session)
                    prove_inclusion(index, size, hash_reader(session, size))  # noqa: B023

            self.server_ms.append(Took.by(prove))
            self.plain_ms.append(timed(lambda: self.plain.read(number)) * 1000)  # noqa: B023


def from_tiles(
    url: str, key: NoteKey, filled: Filled, place: Path
) -> tuple[list[Took], list[float]]:
    """Milliseconds of proofs by a client that fetches what tiles it has not, and of as many plain
    requests for a tile."""
    log = LogView(
        http=Http(),
        url=url,
        policy=LogPolicy(keys=(key,)),
        state=place / "state",
        now=datetime.now(UTC),
    )
    log.refresh()
    known = dict(enumerate(entries(filled.leaves), start=filled.first))
    plain = urllib3.PoolManager()
    ours: list[Took] = []
    bare: list[float] = []
    for number in random.Random(2).sample(range(0, filled.leaves, 2), min(PROOFS, filled.leaves)):
        index = filled.first + number
        entry = known[index]

        def prove() -> None:
            log.prove("bench", 1, entry, index)  # noqa: B023  # called at once

        def fetch() -> None:
            plain.request("GET", f"{url}/log/{Tile(0, index // WIDTH).path}")  # noqa: B023

        ours.append(Took.by(prove))
        bare.append(timed(fetch) * 1000)
    return ours, bare


def hashing_seconds(leaves: int) -> float:
    """What hashing every leaf and every node takes, and nothing else."""
    data = next(entries(1)).to_bytes()
    node = bytes(65)

    def work() -> None:
        for _ in range(leaves):
            hashlib.sha256(data).digest()
            hashlib.sha256(node).digest()

    return timed(work)


def bundles_seconds(url: str, leaves: int) -> float:
    """What fetching as many full bundles takes, one after the other."""
    plain = urllib3.PoolManager()

    def work() -> None:
        for number in range(leaves // WIDTH):
            plain.request("GET", f"{url}/log/{Tile(ENTRIES, number).path}")

    return timed(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        filled = Filled(options.leaves, options.batch, place)
        with Registry(place, filled) as registry:
            tiles_ms, bare_ms = from_tiles(registry.url, filled.key, filled, place)
            audit = timed(lambda: registry.forge("log", "audit"))
            requests = bundles_seconds(registry.url, options.leaves)
    print(f"log of {options.leaves} leaves in batches of {options.batch}:")
    each = 1000 / options.leaves
    promise(
        "append, a leaf", filled.ours * each, APPEND_MS, "ms",
        filled.raw * each, "plain SQLite inserts",
    )  # fmt: skip
    promise(
        "write the tiles, a leaf", filled.files * each, None, "ms",
        filled.raw * each, "plain SQLite inserts",
    )  # fmt: skip
    for who, ours, plain, yardstick in (
        ("the server from its database", filled.server_ms, filled.plain_ms, "reading 768 rows"),
        ("a client from tiles", tiles_ms, bare_ms, "fetching one tile"),
    ):
        base = statistics.median(plain)
        what = f"inclusion proof by {who}"
        clock = sorted(took.clock for took in ours)
        promise(f"{what}, median", statistics.median(clock), PROOF_MS, "ms", base, yardstick)
        promise(f"{what}, 95 of 100", clock[len(clock) * 95 // 100], None, "ms", base, yardstick)
        busy = statistics.median(took.processor for took in ours)
        promise(f"{what}, processor time", busy, None, "ms", base, yardstick)
    base = hashing_seconds(options.leaves) + requests
    promise(
        "forge log audit, the whole command", audit, AUDIT_SECONDS, "s", base,
        "fetching the bundles and hashing as much",
    )  # fmt: skip


if __name__ == "__main__":
    main()
