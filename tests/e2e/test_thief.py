"""The thief: with the server's folder, its database and every key on it, nothing can be forged.

A real registry is set up and a component published. Then everything in its folder is in the
thief's hands, and the thief serves what is best for the thief. Clients that have nothing but the
pinned fingerprint must refuse it; clients of an honest copy must not notice that it is a copy.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import Release, forge_toml, signed_release, static_files
from live_registry import LiveRegistry
from log_builders import Log, NamedKey
from static_server import Answer, StaticServer

from signing.keys import PrivateKey, generate_key, load_private_key
from signing.names import ComponentName
from signing.profile import OrgProfile
from signing.role_edits import (
    add_organisation,
    add_project,
    add_release,
    new_role,
    sign_role,
    sign_snapshot,
    sign_timestamp,
)
from signing.roles import parse_root, parse_targets, role_version
from signing.tlog.tiles import ENTRIES, parse_entries, tile_in

NAME = ComponentName.parse("minds-lab/model")


class Loot:
    """What the thief has: every file of the server and both of its keys."""

    def __init__(self, registry: LiveRegistry) -> None:
        self.now = datetime.now(UTC)
        self.own = generate_key("p256")
        self.own_root = generate_key("ed25519")
        keys = registry.data / "keys"
        self.snapshot = load_private_key((keys / "snapshot.pem").read_bytes())
        self.timestamp = load_private_key((keys / "timestamp.pem").read_bytes())
        self.served: dict[str, Answer] = {}
        for path in (registry.data / "public").rglob("*"):
            if path.is_file():
                relative = path.relative_to(registry.data / "public").as_posix()
                plane = "" if relative.startswith("log/") else "tuf/"
                self.served[f"/{plane}{relative}"] = path.read_bytes()
        for path in (registry.data / "blobs").rglob("*"):
            if path.is_file() and len(path.name) == 64:
                self.served[f"/blobs/{path.name}"] = path.read_bytes()
        self.roles = {
            role: self.current(role) for role in ("targets", "registrar", NAME.org, NAME.role)
        }
        self.version = 1000
        self.take_log(registry)

    def take_log(self, registry: LiveRegistry) -> None:
        """The log as it is, and its key: the thief can append whatever there is to append."""
        origin = (registry.data / "keys" / "log.vkey").read_text().partition("+")[0]
        self.log = Log()
        self.log.key = NamedKey(origin)
        self.log.key.key = load_private_key((registry.data / "keys" / "log.pem").read_bytes())
        size = int(self.served["/log/checkpoint"].split(b"\n")[1])  # type: ignore[union-attr]
        tile = tile_in(ENTRIES, 0, size)
        entries = parse_entries(self.served[f"/log/{tile.path}"], tile)  # type: ignore[arg-type]
        self.log.add(*entries)

    def current(self, role: str) -> bytes:
        """The newest version of a role among the files."""
        found = [
            data
            for path, data in self.served.items()
            if path.startswith("/tuf/")
            and path.endswith(f".{role}.json")
            and path.removeprefix("/tuf/").removesuffix(f".{role}.json").isdigit()
        ]
        return max((data for data in found if isinstance(data, bytes)), key=role_version)

    def replace(self, role: str, data: bytes, keys: list[PrivateKey]) -> None:
        """Serves the content of ``data`` as the next version of ``role``, signed by ``keys``.

        The next version, so that a returning client does not simply keep the one it has.
        """
        signed = parse_targets(data, role).signed
        signed.version = role_version(self.roles[role]) + 1
        self.roles[role] = sign_role(signed, keys)
        self.served[f"/tuf/{signed.version}.{role}.json"] = self.roles[role]

    def serve_release(self, release: Release) -> None:
        self.served.update(static_files(release))

    def announce(self) -> None:
        """Signs snapshot and timestamp over the roles with the stolen keys."""
        versions = {role: role_version(data) for role, data in self.roles.items()}
        snapshot = sign_snapshot(versions, self.version, self.snapshot, self.now)
        self.served[f"/tuf/{self.version}.snapshot.json"] = snapshot
        for role, data in self.roles.items():
            self.log.add_role(role, role_version(data), data)
        number = self.log.add_role("snapshot", self.version, snapshot)
        self.served["/tuf/timestamp.json"] = sign_timestamp(
            snapshot, self.version, self.timestamp, self.now, number
        )
        self.served.update(self.log.files(self.now))

    def poisoned(self, version: str, key: PrivateKey) -> Release:
        files = {"forge.toml": forge_toml(NAME, version), "weights.bin": b"poison"}
        return signed_release(files, key)

    def release_by(self, *keys: PrivateKey) -> None:
        """Publishes a poisoned release whose project role ``keys`` sign."""
        release = self.poisoned("9.0.0", self.own)
        role = add_release(self.roles[NAME.role], release.manifest, release.bundle, [], self.now)
        self.replace(NAME.role, role, list(keys))
        self.serve_release(release)


def honest_copy(loot: Loot) -> None:
    """Nothing changed: a mirror."""


def alter_bytes(loot: Loot) -> None:
    for path, data in list(loot.served.items()):
        if path.startswith("/blobs/") and isinstance(data, bytes) and b"weights" in data:
            loot.served[path] = data.replace(b"weights", b"WEIGHTS")


def publish_with_own_key(loot: Loot) -> None:
    loot.release_by(loot.own)
    loot.announce()


def publish_with_server_keys(loot: Loot) -> None:
    loot.release_by(loot.snapshot, loot.timestamp)
    loot.announce()


def rewrite_published_version(loot: Loot) -> None:
    release = loot.poisoned("1.0.0", loot.own)
    alone = add_release(None, release.manifest, release.bundle, [], loot.now)
    loot.replace(NAME.role, alone, [loot.own])
    loot.serve_release(release)
    loot.announce()


def rewrite_organisation(loot: Loot) -> None:
    """The organisation's role names the thief as publisher."""
    empty = new_role([], loot.now, "organisation")
    org = add_project(empty, NAME, [loot.own.public], 1, [], loot.now)
    loot.replace(NAME.org, org, [loot.own, loot.snapshot, loot.timestamp])
    loot.release_by(loot.own)
    loot.announce()


def rewrite_registrar(loot: Loot) -> None:
    """The registrar's role gives the organisation to the thief."""
    empty = new_role([], loot.now, "registrar")
    profile = OrgProfile(kind="startup", display_name="Minds Lab")
    registrar = add_organisation(empty, NAME.org, profile, [loot.own.public], 1, [], loot.now)
    loot.replace("registrar", registrar, [loot.snapshot, loot.timestamp])
    rewrite_organisation(loot)


def rewrite_root(loot: Loot) -> None:
    """A second root that names the thief for everything, signed with all the thief has."""
    metadata = parse_root(loot.served["/tuf/1.root.json"])  # type: ignore[arg-type]
    metadata.signed.version = 2
    for role in ("root", "targets"):
        for keyid in list(metadata.signed.roles[role].keyids):
            metadata.signed.revoke_key(keyid, role)
        metadata.signed.add_key(loot.own_root.public.tuf, role)
    metadata.signatures.clear()
    for key in (loot.own_root, loot.snapshot, loot.timestamp):
        metadata.sign(key.tuf_signer, append=True)
    loot.served["/tuf/2.root.json"] = metadata.to_bytes()
    rewrite_registrar(loot)


# Each attack, and where it must be noticed.
ATTACKS: dict[Callable[[Loot], None], str] = {
    alter_bytes: "weights.bin: expected sha256",
    publish_with_own_key: "minds-lab.model was signed by 0/1 keys",
    publish_with_server_keys: "minds-lab.model was signed by 0/1 keys",
    rewrite_published_version: "minds-lab.model was signed by 0/1 keys",
    rewrite_organisation: "minds-lab was signed by 0/1 keys",
    rewrite_registrar: "registrar was signed by 0/1 keys",
    rewrite_root: "root was signed by 0/1 keys",
}


@pytest.fixture(scope="module")
def robbed(tmp_path_factory: pytest.TempPathFactory) -> LiveRegistry:
    """A registry with one component, stopped: its folder is all that matters from here on."""
    place = tmp_path_factory.mktemp("robbed")
    with LiveRegistry(place) as registry:
        registry.register("minds-lab")
        folder = registry.new_component("minds-lab", "model")
        (folder / "weights.bin").write_bytes(b"weights" * 1000)
        registry.forge("publish", str(folder))
        registry.stop()
    return registry


def visit(
    robbed: LiveRegistry, attack: Callable[[Loot], None], home: Path, *command: str
) -> subprocess.CompletedProcess[str]:
    """What a client that has nothing but the fingerprint is told by the thief's server."""
    loot = Loot(robbed)
    attack(loot)
    with StaticServer(loot.served) as server:
        environment = {**robbed.environment, "FORGE_HOME": str(home), "FORGE_URL": server.url}
        trust = robbed.forge_with(
            environment, "trust", "add", server.url, "--fingerprint", robbed.fingerprint
        )
        assert trust.returncode == 0, trust.stderr
        return robbed.forge_with(environment, *command)


def test_a_mirror_needs_no_trust(robbed: LiveRegistry, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = visit(robbed, honest_copy, tmp_path / "home", "install", str(NAME), "--into", str(out))
    assert result.returncode == 0, result.stderr
    installed = out / "forge_components" / "minds-lab" / "model" / "weights.bin"
    assert installed.read_bytes() == b"weights" * 1000


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("returning", [False, True], ids=["fresh-client", "returning-client"])
def test_nothing_forged_is_installed(
    robbed: LiveRegistry, tmp_path: Path, attack: Callable[[Loot], None], returning: bool
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    if returning:
        before = visit(robbed, honest_copy, home, "info", str(NAME))
        assert before.returncode == 0, before.stderr
    result = visit(robbed, attack, home, "install", str(NAME), "--into", str(out))
    assert result.returncode == 3, (result.returncode, result.stdout, result.stderr)
    assert ATTACKS[attack] in result.stderr
    assert not (out / "forge.lock").exists()
    assert not list(out.rglob("weights.bin"))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_verify_says_no(
    robbed: LiveRegistry, tmp_path: Path, attack: Callable[[Loot], None]
) -> None:
    result = visit(robbed, attack, tmp_path / "home", "verify", str(NAME))
    assert result.returncode == 3, (result.returncode, result.stdout, result.stderr)
    assert ATTACKS[attack] in result.stdout + result.stderr


def test_a_yank_cannot_be_taken_back(robbed: LiveRegistry, tmp_path: Path) -> None:
    """The thief serves the role as it was before a yank: a returning client has seen more."""
    place = tmp_path / "copy"
    shutil.copytree(robbed.place, place)
    with LiveRegistry(place, existing=True) as registry:
        registry.forge("yank", f"{NAME}==1.0.0", "--reason", "wrong tokenizer")
        home = tmp_path / "home"
        first = visit(registry, honest_copy, home, "info", str(NAME))
        assert "wrong tokenizer" in first.stdout + first.stderr

    def roll_back(loot: Loot) -> None:
        old = min(
            (data for path, data in loot.served.items() if path.endswith(f".{NAME.role}.json")),
            key=role_version,  # type: ignore[arg-type]
        )
        loot.roles[NAME.role] = old  # type: ignore[assignment]
        loot.announce()

    result = visit(registry, roll_back, home, "install", str(NAME), "--into", str(tmp_path / "o"))
    assert result.returncode == 3, result.stderr
