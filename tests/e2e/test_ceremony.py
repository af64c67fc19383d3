"""The life of an authority as one script: founded, changed, robbed, and followed by a client.

Every keyholder sits at an own machine (a home of its own, in a process that cannot open a
connection), and files go from one to the next on a stick (a folder). The commands are those that
a keyholder types. What one chapter does the next builds upon, so it is one test.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from live_registry import LiveRegistry
from log_builders import Log, NamedKey
from programs import run_program
from softhsm import Tokens, require_module
from static_server import Answer, StaticServer

from signing.keys import PrivateKey, load_private_key
from signing.role_edits import sign_snapshot, sign_timestamp
from signing.tlog.tiles import ENTRIES, parse_entries, tiles_of

HOLDERS = ("amina", "brahim", "chama", "driss", "elias")
# The keyholders whose private key never leaves a token of their own.
TOKENS = ("brahim", "chama")


@dataclass
class Machine:
    """A keyholder's laptop. ``key`` is what the keyholder gives to ``--key``."""

    name: str
    home: Path
    stick: Path
    environment: dict[str, str]
    offline: bool = True
    key: str = ""
    keyid: str = ""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_program(
            "forge-offline" if self.offline else "forge",
            arguments,
            environment={**self.environment, "FORGE_HOME": str(self.home)},
            folder=self.home,
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, (self.name, arguments, done.stdout, done.stderr)
        return done.stdout

    def refused(self, exit_code: int, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == exit_code, (self.name, arguments, done.stdout, done.stderr)
        return done.stderr

    def make_key(self) -> None:
        """A key of its own, and its public half on the stick."""
        self.key = self.name
        kept = self._token() if self.name in TOKENS else ("--insecure-unencrypted",)
        self.ok("key", "new", self.key, "--algorithm", "ed25519", *kept)
        shown = json.loads(self.ok("authority", "public-key", self.key, "--json"))
        self.keyid = shown["keyid"]
        (self.stick / f"{self.name}.pub").write_text(shown["public"])

    def _token(self) -> tuple[str, str]:
        """Plugs a fresh token into this machine; where in it the key shall be made."""
        folder = self.home / "softhsm"
        folder.mkdir()
        tokens = Tokens(folder, require_module())
        tokens.create(self.name)
        self.environment.update(tokens.environment)
        return "--pkcs11", tokens.uri(self.name, "root", pin=True)

    def unplug(self) -> None:
        """Takes the token out: what the machine holds without it signs nothing."""
        (self.home / "softhsm" / "tokens").rename(self.home / "softhsm" / "drawer")
        (self.home / "softhsm" / "tokens").mkdir()

    def plug_in(self) -> None:
        (self.home / "softhsm" / "tokens").rmdir()
        (self.home / "softhsm" / "drawer").rename(self.home / "softhsm" / "tokens")

    def take(self, name: str) -> str:
        """Copies a file from the stick to this machine."""
        shutil.copy(self.stick / name, self.home / name)
        return name

    def sign(self, name: str, *options: str) -> str:
        """Signs a carried file here and brings it back as ``<person>-<name>``."""
        self.take(name)
        self.ok("authority", "sign", name, "--key", self.key, *options)
        signed = f"{self.name}-{name}"
        shutil.copy(self.home / name, self.stick / signed)
        return signed


@dataclass
class Nation:
    """A registry, its keyholders, a publisher, a client that comes back again and again."""

    place: Path
    people: dict[str, Machine] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        self.live = LiveRegistry(self.place)
        self.stick = self.place / "stick"
        self.stick.mkdir()

    def machine(self, name: str, *, offline: bool = True) -> Machine:
        home = self.place / f"machine-{name}"
        home.mkdir()
        made = Machine(name, home, self.stick, dict(self.live.environment), offline)
        self.people[name] = made
        return made

    def trusting(self, name: str) -> Machine:
        """A machine with a network that pins the authority's first root."""
        made = self.machine(name, offline=False)
        made.environment["FORGE_URL"] = self.live.url
        made.ok("trust", "add", self.live.url, "--fingerprint", self.fingerprint)
        return made

    def carry_metadata(self) -> str:
        """What somebody with a network brings to the planning machine."""
        self.people["courier"].ok("authority", "fetch", str(self.stick / "metadata"))
        return str(self.stick / "metadata")

    def decide(self, plan: str, *signers: str) -> None:
        """Each of ``signers`` signs ``plan`` on an own machine; it is merged and sent."""
        parts = [
            self.people[name].sign(plan, "--fingerprint", self.fingerprint) for name in signers
        ]
        courier = self.people["courier"]
        paths = [str(self.stick / part) for part in parts]
        courier.ok("authority", "merge", *paths, "-o", str(self.stick / f"done-{plan}"))
        courier.ok("authority", "submit", str(self.stick / f"done-{plan}"))

    def published(self, name: str) -> dict[str, object]:
        value: dict[str, object] = json.loads((self.live.data / "public" / name).read_text())
        return value

    def signers(self, name: str) -> set[str]:
        return {item["keyid"] for item in self.published(name)["signatures"]}  # type: ignore[attr-defined]

    def follow(self, version: str) -> None:
        """The returning client sees the newest state and verifies all of it."""
        client = self.people["client"]
        shown = json.loads(client.ok("info", "minds-lab/model", "--json"))
        assert shown["versions"][0]["version"] == version
        client.ok("verify", f"minds-lab/model=={version}")


@pytest.fixture
def nation(tmp_path: Path) -> Iterator[Nation]:
    made = Nation(tmp_path)
    yield made
    if hasattr(made.live, "server"):
        made.live.stop()


def test_the_life_of_an_authority(nation: Nation) -> None:
    found_the_authority(nation)
    approve_and_publish(nation)
    replace_a_keyholder(nation)
    lose_a_key(nation)
    replace_the_registrar(nation)
    survive_a_thief(nation)


def found_the_authority(nation: Nation) -> None:
    stick, live = nation.stick, nation.live
    live.forge_server("init", str(live.data))
    shutil.copy(live.data / "online-keys.json", stick)
    for name in (*HOLDERS, "desk"):
        nation.machine(name).make_key()
    planner = nation.people["amina"]
    for file in (*(f"{name}.pub" for name in (*HOLDERS, "desk")), "online-keys.json"):
        planner.take(file)
    roots = [option for name in HOLDERS for option in ("--root-key", f"{name}.pub")]
    others = [
        *(option for name in HOLDERS[:3] for option in ("--targets-key", f"{name}.pub")),
        "--targets-threshold", "2", "--registrar-key", "desk.pub", "--registrar-threshold", "1",
        "--online-keys", "online-keys.json", "-o", "first.json",
    ]  # fmt: skip
    for unsafe in ("1", "5"):
        said = planner.refused(
            3, "authority", "plan-first", *roots, "--root-threshold", unsafe, *others
        )
        assert "k >= 2" in said
    digest = planner.ok("authority", "plan-first", *roots, "--root-threshold", "3", *others).strip()
    shutil.copy(planner.home / "first.json", stick)

    # In the room: everybody's machine says the same digest, computed from the bytes.
    parts = []
    for name in ("brahim", "driss", "elias", "amina", "desk"):
        machine = nation.people[name]
        shown = machine.ok("authority", "inspect", machine.take("first.json"))
        assert f"digest {digest}" in shown
        assert "FOUNDS A NEW AUTHORITY" in shown
        assert "root is signed by 3 of 5 keys" in shown
        machine.refused(2, "authority", "sign", "first.json", "--key", machine.key)
        other = f"sha256:{'0' * 64}"
        machine.refused(
            3, "authority", "sign", "first.json", "--key", machine.key, "--digest", other
        )
        if name in TOKENS:
            assert not list(machine.home.rglob("*.pem"))  # the key is in the token alone
            machine.unplug()
            said = machine.refused(
                4, "authority", "sign", "first.json", "--key", machine.key, "--digest", digest
            )
            assert "is it plugged in?" in said
            machine.plug_in()
        parts.append(machine.sign("first.json", "--digest", digest))
    for part in parts:
        planner.take(part)
    early = planner.refused(3, "authority", "finish", *parts[:2], "--into", "metadata")
    assert "3 signatures" in early
    planner.ok("authority", "merge", *parts, "-o", "merged.json")
    nation.fingerprint = planner.ok(
        "authority", "finish", "merged.json", "--into", "metadata"
    ).strip()
    shutil.copytree(planner.home / "metadata", stick / "first-metadata")

    assert nation.fingerprint in live.forge_server(
        "adopt", str(live.data), str(stick / "first-metadata")
    )
    live.start()
    nation.trusting("courier")


def approve_and_publish(nation: Nation) -> None:
    live = nation.live
    publisher, client = nation.trusting("publisher"), nation.trusting("client")
    token = live.forge_server("user", "add", str(live.data), "sara")
    publisher.environment["FORGE_TOKEN"] = token.strip()
    publisher.ok("key", "new", "--insecure-unencrypted")
    publisher.ok("org", "create", "minds-lab", "--kind", "startup", "--display-name", "Minds Lab")
    approve(nation, "desk", "minds-lab")
    publisher.ok("init", "model", "--org", "minds-lab", "--name", "model", "--kind", "model")
    publisher.ok("publish", "model")
    client.ok("install", "minds-lab/model", "--into", "here")
    nation.follow("1.0.0")


def approve(nation: Nation, desk: str, org: str, exit_code: int = 0) -> None:
    """The registrar's key visits a machine with a network: approving is daily work."""
    key = nation.people[desk].home / "keys" / f"{desk}.pem"
    online = nation.people["courier"]
    folder = online.home / f"folder-{desk}"
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key, folder / "registrar.pem")
    online.environment["FORGE_TOKEN"] = nation.people["publisher"].environment["FORGE_TOKEN"]
    done = online.run("authority", "approve", org, "--authority", str(folder))
    assert done.returncode == exit_code, done.stderr


def replace_a_keyholder(nation: Nation) -> None:
    """Elias leaves, Farida comes."""
    metadata = nation.carry_metadata()
    farida = nation.machine("farida")
    farida.make_key()
    elias, planner = nation.people["elias"], nation.people["amina"]
    planner.ok(
        "authority", "rotate", "root", "--from", metadata, "--remove", elias.keyid[:12],
        "--add", str(nation.stick / "farida.pub"), "-o", str(nation.stick / "second.json"),
    )  # fmt: skip
    shown = farida.ok("authority", "inspect", farida.take("second.json"))
    assert f"- {elias.keyid}" in shown
    assert f"+ {farida.keyid}" in shown
    sign = ("authority", "sign", "second.json", "--key", "farida")
    farida.refused(2, *sign)  # of which authority?
    farida.refused(3, *sign, "--fingerprint", f"sha256:{'0' * 64}")
    desk = nation.people["desk"]
    desk.take("second.json")
    desk.refused(
        3, "authority", "sign", "second.json", "--key", "desk", "--fingerprint", nation.fingerprint
    )
    # Two of the old are not three, even with the newcomer.
    parts = [
        nation.people[name].sign("second.json", "--fingerprint", nation.fingerprint)
        for name in ("farida", "brahim", "chama")
    ]
    courier = nation.people["courier"]
    said = courier.refused(3, "authority", "submit", *(str(nation.stick / part) for part in parts))
    assert "current root's keys" in said
    nation.decide("second.json", "farida", "brahim", "chama", "driss")
    assert nation.published("2.root.json")
    nation.follow("1.0.0")


def lose_a_key(nation: Nation) -> None:
    """Amina's laptop falls into the sea; she held a root and a targets key."""
    lost = nation.people["amina"].keyid
    metadata = nation.carry_metadata()
    brahim = nation.people["brahim"]
    ghita = nation.machine("ghita")
    ghita.make_key()
    tried = brahim.ok("authority", "drill", "--from", metadata, "--key", brahim.key)
    assert "1 tried and signing" in tried
    everybody = [
        option
        for name in ("brahim", "chama", "driss")
        for option in ("--lost", nation.people[name].keyid)
    ]
    fallen = brahim.run("authority", "drill", "--from", metadata, *everybody, "--lost", lost)
    assert fallen.returncode == 3
    assert "found a new authority" in fallen.stderr
    drill = brahim.ok(
        "authority", "drill", "--from", metadata, "--lost", lost[:12],
        "--add", str(nation.stick / "ghita.pub"), "-o", str(nation.stick / "third.json"),
    )  # fmt: skip
    assert "FALLS" not in drill
    nation.decide("third.json", "ghita", "brahim", "chama", "driss")
    root = json.dumps(nation.published("3.root.json"))
    assert ghita.keyid in root
    assert lost not in json.dumps(nation.published("3.root.json")["signed"])
    assert nation.published("2.targets.json")
    nation.follow("1.0.0")


def replace_the_registrar(nation: Nation) -> None:
    metadata = nation.carry_metadata()
    nation.machine("office").make_key()
    old, brahim = nation.people["desk"], nation.people["brahim"]
    brahim.ok(
        "authority", "rotate", "registrar", "--from", metadata, "--remove", old.keyid[:12],
        "--add", str(nation.stick / "office.pub"), "-o", str(nation.stick / "registrar.json"),
    )  # fmt: skip
    nation.decide("registrar.json", "ghita", "chama", "office")
    publisher = nation.people["publisher"]
    publisher.ok("org", "create", "atlas", "--kind", "company", "--display-name", "Atlas")
    approve(nation, "desk", "atlas", exit_code=4)  # no longer a key of the registrar
    approve(nation, "office", "atlas")
    brahim.ok(
        "authority", "renew", "targets", "--from", nation.carry_metadata(),
        "-o", str(nation.stick / "renewal.json"),
    )  # fmt: skip
    nation.decide("renewal.json", "brahim", "ghita")
    nation.follow("1.0.0")


def survive_a_thief(nation: Nation) -> None:
    """Somebody copied the whole server. The authority takes its two keys out of the thief's
    hands; a client that the thief had shown the far future comes back."""
    live, client = nation.live, nation.people["client"]
    old = {
        role: load_private_key((live.data / "keys" / f"{role}.pem").read_bytes())
        for role in ("snapshot", "timestamp", "log")
    }
    thief = loot(live.data / "public", old)
    with StaticServer(thief) as server:
        deceived = visit(nation, server.url)
        assert deceived.returncode == 0, deceived.stderr
    said = client.refused(3, "verify", "minds-lab/model")
    assert "a version no older than the one seen before" in said

    fresh = live.forge_server("keys", "new", str(live.data)).strip()
    brahim = nation.people["brahim"]
    brahim.ok(
        "authority", "rotate", "snapshot", "timestamp", "--online-keys", fresh,
        "--from", nation.carry_metadata(), "-o", str(nation.stick / "online.json"),
    )  # fmt: skip
    nation.decide("online.json", "brahim", "chama", "farida")
    assert old["timestamp"].public.keyid not in nation.signers("timestamp.json")
    nation.follow("1.0.0")

    # What the thief signs now convinces nobody who has seen the new root, nor anybody who asks.
    with StaticServer(loot(live.data / "public", old)) as server:
        done = visit(nation, server.url)
        assert done.returncode == 3, done.stderr
        assert "timestamp was signed by 0/1 keys" in done.stderr
    publisher = nation.people["publisher"]
    toml = publisher.home / "model" / "forge.toml"
    toml.write_text(toml.read_text().replace('version = "1.0.0"', 'version = "1.1.0"'))
    publisher.ok("publish", "model")
    nation.follow("1.1.0")
    nation.live.forge_server("check", str(live.data))


def loot(public: Path, keys: Mapping[str, PrivateKey]) -> dict[str, Answer]:
    """Everything that the registry publishes, announced from the far future by ``keys``."""
    paths = [path.relative_to(public).as_posix() for path in public.rglob("*") if path.is_file()]
    served: dict[str, Answer] = {
        f"/{'' if path.startswith('log/') else 'tuf/'}{path}": (public / path).read_bytes()
        for path in paths
    }
    newest: dict[str, int] = {}
    for path in public.glob("*.json"):
        version, _, role = path.name.removesuffix(".json").partition(".")
        if version.isdigit() and role not in ("root", "snapshot"):
            newest[role] = max(int(version), newest.get(role, 0))
    now, future = datetime.now(UTC), 2**31 - 1
    snapshot = sign_snapshot(newest, future, keys["snapshot"], now)
    served[f"/tuf/{future}.snapshot.json"] = snapshot
    log = Log()
    checkpoint = (public / "log" / "checkpoint").read_text()
    log.key, log.key.key = NamedKey(checkpoint.split("\n")[0]), keys["log"]
    log.add(*every_entry(public / "log", int(checkpoint.split("\n")[1])))
    number = log.add_role("snapshot", future, snapshot)
    served["/tuf/timestamp.json"] = sign_timestamp(snapshot, future, keys["timestamp"], now, number)
    return served | log.files(now)


def every_entry(folder: Path, size: int) -> list[bytes]:
    bundles = [tile for tile in tiles_of(size) if tile.level == ENTRIES]
    return [
        entry
        for tile in bundles
        for entry in parse_entries((folder / tile.path).read_bytes(), tile)
    ]


def visit(nation: Nation, url: str) -> subprocess.CompletedProcess[str]:
    """The client is led to another address that has the same root."""
    client = nation.people["client"]
    client.ok("trust", "add", url, "--fingerprint", nation.fingerprint)
    return client.run("info", "minds-lab/model", "--registry", url)
