"""Builds valid signed things in memory: a whole registry's static plane, without a server.

Every builder makes something valid by default; a test then spoils one thing. `World` is a
registry as a dictionary of files, driven by the same functions that publishers and authority
use, so whatever a hostile registry could serve can be made from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from log_builders import Log
from securesystemslib.formats import encode_canonical

from signing import oms
from signing.authority import Authority, new_authority
from signing.component import parse_forge_toml
from signing.digests import fingerprint
from signing.evidence import Evidence
from signing.keys import PrivateKey, SigningKey, generate_key
from signing.manifest import FileEntry, Manifest, build_manifest
from signing.names import ComponentName
from signing.profile import OrgProfile
from signing.role_edits import (
    add_organisation,
    add_project,
    add_release,
    new_role,
    sign_snapshot,
    sign_timestamp,
)
from signing.roles import role_version
from signing.status import LogSeen, SnapshotSeen, Status, Withheld
from signing.status_edits import sign_status
from signing.verify import verify_release

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
NAME = ComponentName.parse("minds-lab/darija-lid")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forge_toml(
    name: ComponentName = NAME,
    version: str = "1.0.0",
    kind: str = "model",
    requires: Mapping[str, str] | None = None,
) -> bytes:
    lines = [
        "[component]",
        f'org = "{name.org}"',
        f'name = "{name.name}"',
        f'version = "{version}"',
        f'kind = "{kind}"',
        'summary = "Language identification"',
        'license = "Apache-2.0"',
        "[requires]",
        *(f'"{other}" = "{range_}"' for other, range_ in (requires or {}).items()),
    ]
    return "\n".join(lines).encode() + b"\n"


def entries(
    files: Mapping[str, bytes], lists: Mapping[str, bytes] | None = None
) -> dict[str, FileEntry]:
    """What a walk over a folder with ``files`` would find; ``lists`` are the chunk lists, by path,
    that a publisher names for them."""
    named = {path: sha256(raw) for path, raw in (lists or {}).items()}
    return {
        path: FileEntry(path, len(data), sha256(data), named.get(path))
        for path, data in files.items()
    }


def tree(name: ComponentName = NAME, version: str = "1.0.0", **options: object) -> dict[str, bytes]:
    """A small component: forge.toml, a card and weights."""
    return {
        "forge.toml": forge_toml(name, version, **options),  # type: ignore[arg-type]
        "README.md": b"# card\n",
        "weights/model.safetensors": bytes(range(256)) * 16,
    }


def manifest_of(files: Mapping[str, bytes], lists: Mapping[str, bytes] | None = None) -> Manifest:
    return build_manifest(parse_forge_toml(files["forge.toml"]), entries(files, lists).values())


@dataclass(kw_only=True)
class Release:
    """A signed release and its files."""

    files: dict[str, bytes]
    manifest: Manifest
    bundle: bytes
    lists: dict[str, bytes] = field(default_factory=dict)


def signed_release(
    files: Mapping[str, bytes], key: SigningKey, lists: Mapping[str, bytes] | None = None
) -> Release:
    manifest = manifest_of(files, lists)
    bundle = oms.sign_bundle(manifest.files, str(manifest), key)
    return Release(files=dict(files), manifest=manifest, bundle=bundle, lists=dict(lists or {}))


@dataclass(kw_only=True)
class World:
    """An authority, its registry's two online keys, and every role's current bytes."""

    now: datetime = NOW
    snapshot_key: PrivateKey = field(default_factory=lambda: generate_key("ed25519"))
    timestamp_key: PrivateKey = field(default_factory=lambda: generate_key("ed25519"))
    authority: Authority = None  # type: ignore[assignment]  # set below
    roles: dict[str, bytes] = field(default_factory=dict)
    org_keys: dict[str, PrivateKey] = field(default_factory=dict)
    all_org_keys: dict[str, list[PrivateKey]] = field(default_factory=dict)
    project_keys: dict[str, PrivateKey] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)
    history: dict[str, bytes] = field(default_factory=dict)  # every versioned file ever
    targets: dict[str, bytes] = field(default_factory=dict)  # target files by URL path
    snapshot_version: int = 0
    timestamp_version: int = 0
    snapshot: bytes = b""
    timestamp: bytes = b""
    log: Log | None = None  # the public log, where this registry keeps one
    with_status: bool = False  # whether the authority names a status host

    def __post_init__(self) -> None:
        self.authority = new_authority(
            self.now,
            self.snapshot_key.public,
            self.timestamp_key.public,
            None if self.log is None else self.log.policy,
            with_status=self.with_status,
        )
        first = self.authority.metadata
        self.history.update(first)
        self.root = first["1.root.json"]
        self.roles = {
            "targets": first["1.targets.json"],
            "registrar": first["1.registrar.json"],
        }
        self.publish_metadata()
        if self.with_status:
            self.say_status()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.root)

    def set_role(self, role: str, data: bytes) -> None:
        self.roles[role] = data
        self.history[f"{role_version(data)}.{role}.json"] = data
        if self.log is not None:
            for name in ("targets", "registrar"):  # what the authority began with
                first = self.authority.metadata[f"1.{name}.json"]
                self.log.add_role(name, 1, first)
            self.log.add_role(role, role_version(data), data)

    def add_org(self, org: str, kind: str = "startup", keys: int = 1, threshold: int = 1) -> None:
        own = [generate_key("p256") for _ in range(keys)]
        self.org_keys[org] = own[0]
        self.all_org_keys[org] = own
        registrar = add_organisation(
            self.roles["registrar"],
            org,
            OrgProfile(kind=kind, display_name=org.title()),
            [key.public for key in own],
            threshold,
            [self.authority.registrar_key],
            self.now,
        )
        self.set_role("registrar", registrar)
        self.set_role(org, new_role(own, self.now, "organisation"))

    def add_project(self, name: ComponentName) -> PrivateKey:
        key = self.project_keys[str(name)] = generate_key("p256")
        org_key = self.org_keys[name.org]
        self.set_role(
            name.org,
            add_project(self.roles[name.org], name, [key.public], 1, [org_key], self.now),
        )
        return key

    def publish(
        self, files: Mapping[str, bytes], lists: Mapping[str, bytes] | None = None
    ) -> Release:
        """Registers what is missing and publishes ``files`` as a release."""
        name = parse_forge_toml(files["forge.toml"]).component
        if name.org not in self.roles:
            self.add_org(name.org)
        if str(name) not in self.project_keys:
            self.add_project(name)
        key = self.project_keys[str(name)]
        release = signed_release(files, key, lists)
        current = self.roles.get(name.role)
        role = add_release(current, release.manifest, release.bundle, [key], self.now)
        self.set_role(name.role, role)
        self.releases[str(release.manifest)] = release
        self.publish_metadata()
        return release

    def publish_metadata(self) -> None:
        """Signs the next snapshot and timestamp over the current roles."""
        self.snapshot_version += 1
        self.timestamp_version += 1
        versions = {role: role_version(data) for role, data in self.roles.items()}
        self.snapshot = sign_snapshot(versions, self.snapshot_version, self.snapshot_key, self.now)
        number = None
        if self.log is not None:
            for role, data in {"root": self.root, **self.roles}.items():
                self.log.add_role(role, role_version_of(data), data)
            number = self.log.add_role("snapshot", self.snapshot_version, self.snapshot)
        self.timestamp = sign_timestamp(
            self.snapshot, self.timestamp_version, self.timestamp_key, self.now, number
        )
        if self.log is not None:
            self.log.add_role("timestamp", self.timestamp_version, self.timestamp)
        self.history[f"{self.snapshot_version}.snapshot.json"] = self.snapshot

    def status(self, *withheld: Withheld, at: datetime | None = None) -> Status:
        """What an honest status host says of this registry as it is now."""
        log = None
        if self.log is not None:
            root = self.log.tree.root(self.log.size)
            log = LogSeen(key=self.log.key.as_log, size=self.log.size, root=root)
        return Status(
            at=(at or self.now).replace(microsecond=0),
            snapshot=SnapshotSeen(version=self.snapshot_version, sha256=sha256(self.snapshot)),
            log=log,
            withheld=withheld,
        )

    def sign_status(self, status: Status, *keys: SigningKey, version: int | None = None) -> bytes:
        current = self.roles.get("status")
        number = version or (1 if current is None else role_version(current) + 1)
        host = self.authority.status_key
        assert host is not None
        return sign_status(status, number, keys or [host])

    def say_status(self, *withheld: Withheld, at: datetime | None = None) -> bytes:
        """The status host looks and signs, and the registry announces it."""
        data = self.sign_status(self.status(*withheld, at=at))
        self.set_role("status", data)
        self.publish_metadata()
        return data

    def withheld(
        self, release: Release, state: str = "quarantined", reason: str = "looks poisoned"
    ) -> Withheld:
        manifest = release.manifest
        return Withheld(
            component=manifest.component,
            version=manifest.version,
            manifest_sha256=manifest.digest,
            state=state,
            reason=reason,
            since=self.now.replace(microsecond=0),
        )

    def files(self) -> dict[str, bytes]:
        """``{URL path: bytes}`` of the whole static plane, as a server would give it."""
        served = {f"/tuf/{name}": data for name, data in self.history.items()}
        served["/tuf/timestamp.json"] = self.timestamp
        served.update(self.targets)
        for release in self.releases.values():
            served.update(static_files(release))
        return served | ({} if self.log is None else self.log.files(self.now))

    def evidence(
        self, release: Release, refreshed_at: datetime | None = None, **changed: object
    ) -> Evidence:
        name = release.manifest.component
        values: dict[str, object] = {
            "roots": (self.root,),
            "targets": self.roles["targets"],
            "registrar": self.roles["registrar"],
            "organisation": self.roles[name.org],
            "project": self.roles[name.role],
            "manifest": release.manifest.raw,
            "bundle": release.bundle,
            "refreshed_at": refreshed_at,
            "status": self.roles.get("status"),
        }
        if self.log is not None:
            project = self.roles[name.role]
            with suppress(ValueError, KeyError, TypeError):  # bytes that are no role at all
                # What an insider signs is in the log as well: only the signatures can refuse it.
                changed_role = bytes(changed.get("project", project))  # type: ignore[call-overload]
                self.log.add_role(name.role, role_version_of(changed_role), changed_role)
                project = changed_role
            values["log_proof"] = self.log.proof(name.role, project, self.now)
        return Evidence(**{**values, **changed})  # type: ignore[arg-type]

    def verify(self, release: Release, *, evidence: Evidence | None = None, **changed: object):  # type: ignore[no-untyped-def]
        """The report on ``release`` as a client with this world's fingerprint makes it."""
        options: dict[str, object] = {
            "fingerprint": self.fingerprint,
            "now": self.now,
            "observed": entries(release.files),
            "forge_toml": release.files["forge.toml"],
        }
        name = changed.pop("name", release.manifest.component)
        version = changed.pop("version", release.manifest.version)
        return verify_release(
            evidence or self.evidence(release),
            name,  # type: ignore[arg-type]
            version,  # type: ignore[arg-type]
            **{**options, **changed},  # type: ignore[arg-type]
        )


def role_version_of(data: bytes) -> int:
    """The version of any role, the root included."""
    return int(json.loads(data)["signed"]["version"])


def static_files(release: Release) -> dict[str, bytes]:
    """``{URL path: bytes}`` of one release: its two target files and its blobs."""
    manifest = release.manifest
    base = f"/tuf/targets/{manifest.component}/{manifest.version}"
    served = {
        f"{base}/{manifest.digest}.manifest.json": manifest.raw,
        f"{base}/{sha256(release.bundle)}.{oms.FILE}": release.bundle,
    }
    for data in (*release.files.values(), *release.lists.values()):
        served[f"/blobs/{sha256(data)}"] = data
    return served


def signed_by(signed: Mapping[str, Any], *keys: PrivateKey) -> bytes:
    """TUF metadata around ``signed`` with genuine signatures, however odd its content."""
    message = str(encode_canonical(signed)).encode()
    signatures = [{"keyid": key.public.keyid, "sig": key.sign(message).hex()} for key in keys]
    return json.dumps({"signatures": signatures, "signed": signed}).encode()


def changed_role(
    data: bytes, keys: Iterable[PrivateKey], change: Callable[[dict[str, Any]], object]
) -> bytes:
    """The role ``data`` with ``change`` applied to its signed part, signed anew by ``keys``:
    what a dishonest holder of these keys can make."""
    signed = json.loads(data)["signed"]
    change(signed)
    return signed_by(signed, *keys)


def changed_json(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The JSON document ``data`` with ``change`` applied: what anybody on the way can make."""
    value = json.loads(data)
    change(value)
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def later(**delta: float) -> datetime:
    return NOW + timedelta(**delta)


def failed_titles(reports: Iterable[object]) -> list[str]:
    return [report.first_failure.title for report in reports]  # type: ignore[attr-defined]
