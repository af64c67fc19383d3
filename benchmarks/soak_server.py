"""kill -9 of servers at random moments while others publish and install, hundreds of times.

    python -m benchmarks.soak_server --postgresql 350 --sqlite 150

On PostgreSQL two servers behind nginx, as `deploy/one_machine.py` starts them, of which either is
killed; on SQLite one server. Publishers publish release after release, each again until a server
says that it is published; watchers read the timestamp and the log's checkpoint all the while; a
client installs whatever is newest, with an empty cache each time. From one kill to the next pass
none to two releases, and up to half a second. Afterwards: `check --deep` is clean, every release
that a server said to be published is in the catalogue and in the public log, nothing was seen twice
or going back, and every file that was installed is the one that was published. Prints how many of
everything there were, and fails when anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import one_machine
from publishers import publish_while_killed
from server_fixtures import ORG, World

from forge_server.operate.initialise import initialise

from .registry import BIN

PUBLISHERS = 8
NETWORK = 8  # exit code of a client that found nobody


class OneServer:
    """`forge-server run` on one SQLite registry, always on the same port."""

    def __init__(self, root: Path) -> None:
        self.port = one_machine.free_port()
        command = [str(BIN / "forge-server"), "run", str(root), "--port", str(self.port)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.program = one_machine.Program(command, root.with_name("server.log"), environment)
        self.program.wait_for(self.port)
        self.running = [SimpleNamespace(url=f"http://127.0.0.1:{self.port}")]

    def kill(self, _: int) -> None:
        self.program.kill()
        self.program.start()


class TwoServers:
    """The address is nginx's, whichever of the two servers is killed."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.running = [SimpleNamespace(url=machine.url)] * 2

    def kill(self, at: int) -> None:
        self.machine.kill(at)


@contextmanager
def on_sqlite(place: Path) -> Iterator[tuple[Path, OneServer]]:
    initialise(place / "reg", dev=True)
    _without_limits(place / "reg")
    server = OneServer(place / "reg")
    try:
        yield place / "reg", server
    finally:
        server.program.stop()


@contextmanager
def on_postgresql(place: Path) -> Iterator[tuple[Path, TwoServers]]:
    with one_machine.Machine(place) as machine:
        for at, name in enumerate(machine.names):
            _without_limits(place / name)
            machine.kill(at)
        yield machine.data, TwoServers(machine)


def _without_limits(root: Path) -> None:
    with (root / "server.toml").open("a") as settings:
        settings.write("\nmax_requests_per_minute = 0\n")


@dataclass
class Installer:
    """Installs the newest release of one component after the other, until told to stop."""

    url: str
    fingerprint: str
    place: Path
    dice: random.Random
    done: int = 0
    in_vain: int = 0
    wrong: list[str] = field(default_factory=list)

    def work(self, ended: threading.Event) -> None:
        while not ended.is_set() and not self.wrong:
            home = self.place / "client"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            name = f"{ORG}/model-{self.dice.randrange(PUBLISHERS)}"
            trust = ("trust", "add", self.url, "--fingerprint", self.fingerprint)
            if self._forge(home, *trust) and self._forge(home, "install", name, "--into", "out"):
                self._look(home / "out" / "forge_components" / name)

    def _forge(self, home: Path, *arguments: str) -> bool:
        environment = {**os.environ, "FORGE_HOME": str(home / "home"), "NO_COLOR": "1"}
        result = subprocess.run(
            [str(BIN / "forge"), *arguments],
            env=environment, cwd=home, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode == NETWORK:
            self.in_vain += 1
        elif result.returncode != 0:
            self.wrong.append(f"forge {arguments}: {result.returncode}: {result.stderr}")
        return result.returncode == 0

    def _look(self, installed: Path) -> None:
        spec = tomllib.loads((installed / "forge.toml").read_text())["component"]
        expected = f"{spec['name']} {spec['version'].split('.')[1]}".encode() * 50
        if spec["version"] == "1.0.0":
            expected = b"w" * 1000
        if (installed / "weights.bin").read_bytes() != expected:
            self.wrong.append(f"{installed}: another file than was published")
        self.done += 1


def soak(kind: str, root: Path, servers: Any, kills: int, seed: int) -> None:
    """Kills ``kills`` times, and looks afterwards."""
    world, dice = World(root), random.Random(seed)
    token = world.user("sara")
    world.organisation(token)
    fingerprint = (root / "root.fingerprint").read_text().strip()
    place = root.parent / "installer"
    place.mkdir()
    installer = Installer(servers.running[0].url, fingerprint, place, random.Random(seed + 1))
    ended, began = threading.Event(), time.monotonic()
    installing = threading.Thread(target=installer.work, args=(ended,))
    first = threading.Event()

    def tell(number: int) -> None:
        if not first.is_set():  # what it installs is there by now
            first.set()
            installing.start()
        time.sleep(dice.uniform(0, 0.5))  # so that it is at any moment of a publish, or of a start
        if number % 25 == 0:
            print(f"{kind}: {number} kills in {time.monotonic() - began:.0f} s", flush=True)

    try:
        publish_while_killed(
            world,
            servers,
            token,
            dice,
            kills=kills,
            seed=seed,
            publishers=PUBLISHERS,
            between=range(3),
            tell=tell,
        )
    finally:
        ended.set()
        if first.is_set():
            installing.join()
        world.close()
    if installer.wrong:
        raise SystemExit("\n".join(installer.wrong))
    if not installer.done:
        raise SystemExit("nothing was ever installed: the run looked at nothing")
    print(
        f"{kind}: {kills} kills in {time.monotonic() - began:.0f} s; {installer.done} installs, "
        f"{installer.in_vain} commands found no server; check --deep is clean, and every release "
        "that was promised is there and in the log",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgresql", type=int, default=350, help="kills of one of two servers")
    parser.add_argument("--sqlite", type=int, default=150, help="kills of the only server")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    for kind, kills, made in (
        ("PostgreSQL, two servers", options.postgresql, on_postgresql),
        ("SQLite, one server", options.sqlite, on_sqlite),
    ):
        if not kills:
            continue
        # PostgreSQL's socket lies in it, whose path may not be long.
        with tempfile.TemporaryDirectory(prefix="forge-", dir="/tmp") as temporary:
            place = Path(temporary)
            with made(place) as (root, servers):
                soak(kind, root, servers, kills, options.seed)


if __name__ == "__main__":
    main()
