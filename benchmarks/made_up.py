"""Registries of many components, made up: what publishing would have left, in its real forms.

Every project has a role of its own, signed by its organisation's key, with all its releases in it;
organisations and the registrar have theirs; each is a leaf of the public log; rows are as
publishing leaves them. Manifests are as they were signed; bundles have the right size, and their
signatures hold for none; files are of 1000 bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from server_fixtures import World
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from forge_server.db.models import MetadataVersion
from forge_server.services.log import append_role
from forge_server.services.rolebook import add_role
from forge_server.wiring import Registry
from signing.component import parse_forge_toml
from signing.digests import sha256_hex
from signing.keys import PrivateKey, generate_key
from signing.manifest import FileEntry, build_manifest
from signing.names import ComponentName
from signing.oms import sign_bundle
from signing.profile import OrgProfile
from signing.role_edits import add_release, delegate, sign_role
from signing.roles import EXPIRY, parse_targets, verify_role
from storage import BlobNotFoundError, BlobStat, BlobStore, PathNotFoundError, PublishedTree

from .snapshot import new_targets

PROJECTS = 100  # of an organisation
FILES = ("forge.toml", "weights.bin")
FILE_BYTES = 1000
_BATCH = 50  # organisations in one transaction
_ORG, _NAME = b"org-00000", b"model-00"  # what stands in the pattern for the names


def org_of(number: int) -> bytes:
    return b"org-%05d" % number


def name_of(number: int) -> bytes:
    return b"model-%02d" % number


def made_up_bytes(*words: bytes | int) -> bytes:
    """What a file of that name holds."""
    text = b" ".join(word if isinstance(word, bytes) else b"%d" % word for word in words)
    return text.ljust(FILE_BYTES)


def made_up(*words: bytes | int) -> bytes:
    """The hexadecimal digest of `made_up_bytes`."""
    return hashlib.sha256(made_up_bytes(*words)).hexdigest().encode()


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
