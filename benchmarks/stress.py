"""How a registry of many components holds: sizes and times of the snapshot, of a publish, of
`check`, `gc` and `backup`, with 5,000, 50,000 and 500,000 components of ten versions.

    python -m benchmarks.stress --components 5000 50000 500000

Nothing is promised but figures for docs/reference/sizing.md. Metadata only, and in its real forms:
every project has a role of its own, signed by its organisation's key, with all its releases in it;
organisations and the registrar have theirs; each is a leaf of the public log; rows are as
publishing leaves them. What lies in files is made up when it is asked for: manifests as they were
signed; bundles of the right size, whose signatures hold for none; no bytes of models. So times of
`check`, `gc` and `backup` are those of database and processor, and a disk's come on top.

Each size is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from server_fixtures import World
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from forge_server.db.models import LogEntry, MetadataVersion
from forge_server.operate.check import check_registry
from forge_server.operate.export import wanted_in, write_export
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from forge_server.services.log import append_role
from forge_server.services.releases import OfferText
from forge_server.services.rolebook import add_role
from forge_server.services.roles import as_bytes
from forge_server.services.wanted import iter_wanted
from forge_server.wiring import Registry
from signing.component import parse_forge_toml
from signing.digests import sha256_hex
from signing.keys import PrivateKey, generate_key
from signing.manifest import FileEntry, build_manifest
from signing.names import ComponentName
from signing.oms import sign_bundle
from signing.profile import OrgProfile
from signing.role_edits import add_release, delegate, sign_role
from signing.roles import EXPIRY, MAX_ROLE_BYTES, parse_targets, verify_role
from storage import BlobNotFoundError, BlobStat, BlobStore, PathNotFoundError, PublishedTree

from .publishing import built_ahead
from .snapshot import new_targets

PROJECTS = 100  # of an organisation
FILES = ("forge.toml", "weights.bin")
FILE_BYTES = 1000
STOCK_SNAPSHOT_BYTES = 2_000_000  # what clients made of python-tuf read at most
_BATCH = 50  # organisations in one transaction
_ORG, _NAME = b"org-00000", b"model-00"  # what stands in the pattern for the names


def org_of(number: int) -> bytes:
    return b"org-%05d" % number


def name_of(number: int) -> bytes:
    return b"model-%02d" % number


def made_up(*words: bytes | int) -> bytes:
    """The hexadecimal digest that stands for something of that name."""
    text = b" ".join(word if isinstance(word, bytes) else b"%d" % word for word in words)
    return hashlib.sha256(text).hexdigest().encode()


class Pattern:
    """A project with all its releases, made by the functions that a publisher uses; others are this
    one with names and digests exchanged, and signed."""

    def __init__(self, versions: int) -> None:
        component = ComponentName.parse(f"{_ORG.decode()}/{_NAME.decode()}")
        key, now = generate_key("p256"), datetime.now(UTC)
        self.keyid = key.public.keyid.encode()
        self.versions = [f"1.{number}.0" for number in range(versions)]
        self.manifests: list[bytes] = []
        self.bundles: list[bytes] = []
        role = None
        for number, version in enumerate(self.versions):
            toml = (
                f'[component]\norg = "{component.org}"\nname = "{component.name}"\n'
                f'version = "{version}"\nkind = "model"\nsummary = "A model that nobody made"\n'
                'license = "Apache-2.0"\nlanguages = ["ary"]\ntasks = ["text-classification"]\n'
            ).encode()
            files = [
                FileEntry(path, FILE_BYTES, made_up(_ORG, _NAME, number, at).decode())
                for at, path in enumerate(FILES)
            ]
            manifest = build_manifest(parse_forge_toml(toml), files)
            bundle = sign_bundle(manifest.files, str(manifest), key)
            role = add_release(role, manifest, bundle, [key], now)
            self.manifests.append(manifest.raw)
            self.bundles.append(bundle)
            self.details = manifest.metadata
        assert role is not None
        signed = parse_targets(role, component.role).signed
        signed.version = 1
        self.role = sign_role(signed, [key])
        self.hint = hashlib.sha256(key.public.pem).hexdigest().encode()

    def manifest(self, org: bytes, name: bytes, number: int) -> bytes:
        data = self.manifests[number]
        for at in range(len(FILES)):
            data = data.replace(made_up(_ORG, _NAME, number, at), made_up(org, name, number, at))
        return data.replace(_ORG, org).replace(_NAME, name)

    def bundle(self, org: bytes, name: bytes, number: int) -> bytes:
        return self.bundles[number].replace(self.hint, made_up(org, name, number, b"bundle"))

    def project(self, org: bytes, name: bytes, key: PrivateKey) -> tuple[bytes, list[list[str]]]:
        """The project's role, and of each release the digests of its manifest and bundle."""
        data, digests = self.role, []
        for number in range(len(self.versions)):
            pair = []
            for old, new in (
                (self.manifests[number], self.manifest(org, name, number)),
                (self.bundles[number], self.bundle(org, name, number)),
            ):
                pair.append(sha256_hex(new))
                data = data.replace(sha256_hex(old).encode(), pair[-1].encode())
            digests.append(pair)
        data = data.replace(_ORG, org).replace(_NAME, name)
        start = data.index(b'"signed":') + len(b'"signed":')
        signature = json.dumps(
            [{"keyid": key.public.keyid, "sig": key.sign(data[start:-1]).hex()}],
            separators=(",", ":"),
        )
        return b'{"signatures":' + signature.encode() + b',"signed":' + data[start:], digests


@dataclass
class Filled:
    """Fills a registry with ``components``; ``digests`` is the file that names their blobs."""

    components: int
    pattern: Pattern
    digests: Path
    ids: dict[str, int] = field(default_factory=dict)

    def fill(self, world: World, user: int) -> None:
        registry, now = world.registry, world.clock()
        registrar_key = world.authority_key("registrar")
        registrar = parse_targets(registry.roles.current("registrar"), "registrar").signed
        with registry.database.read() as session:
            self.ids = {
                "metadata": session.scalar(select(func.max(MetadataVersion.id))) or 0,
                "component": 0,
                "release": 0,
            }
        organisations = -(-self.components // PROJECTS)
        with self.digests.open("wb") as digests:
            for first in range(0, organisations, _BATCH):
                with registry.database.write() as session:
                    raw = session.connection().exec_driver_sql
                    raw("PRAGMA cache_size = -1000000")
                    for number in range(first, min(first + _BATCH, organisations)):
                        key = generate_key("p256")
                        org = org_of(number)
                        delegate(registrar, org.decode(), [key.public], 1)
                        profile = OrgProfile(kind="academic", display_name=f"Institute {number}")
                        extra = registrar.delegations.roles[org.decode()].unrecognized_fields
                        extra["forge"] = profile.to_json()
                        rows = self._organisation(session, number, key, now, user)
                        digests.write(b"".join(b"%s\n" % each for each in rows))
        registrar.version += 1
        with registry.database.write() as session:
            data = sign_role(registrar, [registrar_key])
            add_role(session, "registrar", registrar.version, data, now)
            self.registrar_bytes = len(data)

    def _organisation(
        self, session: Session, number: int, key: PrivateKey, now: datetime, user: int
    ) -> list[bytes]:
        """Inserts it with its projects; returns the digests of their blobs."""
        org, at = org_of(number), _stored(now)
        raw = session.connection().exec_driver_sql
        raw(
            "INSERT INTO organisations (name, skeleton, state, kind, display_name, created_at)"
            " VALUES (?, ?, 'approved', 'academic', ?, ?)",
            (org.decode(), org.decode(), f"Institute {number}", at),
        )
        own, roles = new_targets(now), []
        components, releases, files, digests = [], [], [], []
        details = json.dumps(self.pattern.details)
        count = min(PROJECTS, self.components - number * PROJECTS)
        for each in range(count):
            name = name_of(each)
            component = f"{org.decode()}/{name.decode()}"
            delegate(own, component.replace("/", "."), [key.public], 1)
            data, pairs = self.pattern.project(org, name, key)
            roles.append((component.replace("/", "."), data))
            self.ids["component"] += 1
            components.append(
                (self.ids["component"], org.decode(), name.decode(), "model",
                 "A model that nobody made", "Apache-2.0", '["ary"]', '["text-classification"]',
                 self.pattern.versions[-1], len(pairs),
                 f"{component} a model that nobody made ary text-classification", at, at)
            )  # fmt: skip
            for version, (manifest, bundle) in enumerate(pairs):
                self.ids["release"] += 1
                releases.append(
                    (self.ids["release"], self.ids["component"], self.pattern.versions[version],
                     "model", details, manifest, bundle, FILE_BYTES * len(FILES), len(FILES), user,
                     key.public.keyid, component.replace("/", "."), version + 1, 1, at, at)
                )  # fmt: skip
                digests += [manifest.encode(), bundle.encode()]
                for index, path in enumerate(FILES):
                    digest = made_up(org, name, version, index)
                    digests.append(digest)
                    files.append((self.ids["release"], path, FILE_BYTES, digest.decode()))
        roles.append((org.decode(), sign_role(own, [key])))
        if number == 0:  # what a client would establish
            for name, data in roles[:-1]:
                verify_role(roles[-1][1], name, data)
        expires = _stored(now + EXPIRY["project"])
        metadata, heads = [], []
        for role, data in roles:
            self.ids["metadata"] += 1
            index = append_role(session, role, 1, data)
            metadata.append((self.ids["metadata"], role, 1, data, index, at, at))
            heads.append((role, 1, self.ids["metadata"], expires))
        for table, rows in (
            ("metadata_versions (id, role, version, data, log_index, created_at, published_at)",
             metadata),
            ("roles (name, version, metadata_id, expires_at)", heads),
            ("components (id, organisation, name, kind, summary, license, languages, tasks, latest,"
             " versions, search_text, created_at, updated_at)", components),
            ("releases (id, component_id, version, kind, details, manifest_sha256, bundle_sha256,"
             " total_bytes, file_count, publisher_id, publisher_key, role, role_version,"
             " snapshot_version, published_at, stored_at)", releases),
            ("release_files (release_id, path, size, sha256)", files),
        ):  # fmt: skip
            columns = table.count(",") + 1
            raw(f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})", rows)
        return digests


def _stored(at: datetime) -> str:
    return f"{at.astimezone(UTC):%F %H:%M:%S.%f}"


@dataclass
class MadeUpTree:
    """The published files: those that are there, else what a release's or a role's would be."""

    real: PublishedTree
    pattern: Pattern
    registry: Registry

    def read(self, path: str) -> bytes:
        try:
            return self.real.read(path)
        except PathNotFoundError:
            data = self._made_up(path)
        if data is None:
            raise PathNotFoundError(path)
        return data

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def _made_up(self, path: str) -> bytes | None:
        parts = path.split("/")
        if parts[0] == "targets" and len(parts) == 5:
            number = self.pattern.versions.index(parts[3])
            kind = self.pattern.manifest if "manifest" in parts[4] else self.pattern.bundle
            return kind(parts[1].encode(), parts[2].encode(), number)
        place = path.startswith("log/")
        role = path.rpartition("/")[2].partition(".")[2].removesuffix(".json")
        with self.registry.database.read() as session:
            query = select(MetadataVersion.data, MetadataVersion.log_index)
            row = session.execute(query.where(MetadataVersion.role == role).limit(1)).one_or_none()
        if row is None:
            return None
        return f"{row.log_index}\n".encode() if place else row.data


@dataclass
class MadeUpBlobs:
    """The blobs that are there, and all that ``digests`` names, in ascending order."""

    real: BlobStore
    digests: Path

    def stat(self, digest: str) -> BlobStat:
        try:
            return self.real.stat(digest)
        except BlobNotFoundError:
            return BlobStat(size=FILE_BYTES)

    def missing(self, digests: Iterable[str]) -> set[str]:
        return set()

    def iter_digests(self) -> Iterator[str]:
        with self.digests.open() as file:
            for line in file:
                yield line.rstrip("\n")

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


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
