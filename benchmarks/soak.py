"""kill -9 of the client at random moments of downloads and uploads, hundreds of times.

    python -m benchmarks.soak --rounds 500

Each round publishes or installs a file that changes, kills the command after a random number of
bytes, and goes on until a command ends by itself. Afterwards every installed file must be the one
that was published, every blob in the cache what its name says, and the registry whole (`check
--deep`). Prints how many kills were tried, and fails when anything is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from .registry import BIN, Registry

MIB = 1 << 20


class Soak:
    """One registry, one component, and a count of what was tried."""

    def __init__(self, registry: Registry, place: Path, seed: int, mib: int) -> None:
        self.registry = registry
        self.place = place
        self.chance = random.Random(seed)
        self.size = mib * MIB
        self.kills = {"publish": 0, "install": 0}
        self.finished = {"publish": 0, "install": 0}
        self.usual = {"publish": 2.0, "install": 2.0}  # seconds that a whole command takes

    def until_done(self, name: str, *arguments: str, kills: int) -> int:
        """Runs the command, killing it up to ``kills`` times; returns how often it was killed."""
        killed = 0
        while True:
            began = time.monotonic()
            process = subprocess.Popen(
                [str(BIN / "forge"), name, *arguments],
                env=self.registry.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            timer = None
            if killed < kills:
                # Beyond the usual time too: the last steps are where a lie would be told.
                timer = threading.Timer(
                    self.chance.uniform(0.05, 1.1) * self.usual[name], process.kill
                )
                timer.start()
            _, err = process.communicate()
            if timer is not None:
                timer.cancel()
            if process.returncode == 0:
                self.finished[name] += 1
                self.usual[name] = max(0.5, time.monotonic() - began)
                return killed
            if process.returncode != -9:
                raise SystemExit(f"forge {name}: exit {process.returncode}: {err}")
            killed += 1
            self.kills[name] += 1

    def one_version(self, folder: Path, number: int) -> None:
        data = folder / "weights.bin"
        with data.open("r+b") as file:  # a tenth changes
            for _ in range(3):
                file.seek(self.chance.randrange(self.size))
                file.write(os.urandom(self.size // 30))
            file.truncate(self.size)
        self.registry.set_version(folder, f"1.0.{number}")
        self.until_done("publish", str(folder), kills=5)
        out = self.place / "out"
        wanted = f"bench/soak==1.0.{number}"
        self.until_done("install", wanted, "--into", str(out), kills=5)
        installed = out / "forge_components/bench/soak/weights.bin"
        if digest(installed) != digest(data):
            raise SystemExit(f"{installed}: another file than was published")
        if self.chance.random() < 0.3:
            subprocess.run(
                [str(BIN / "forge"), "cache", "prune", "--all"],
                env=self.registry.environment, check=True, capture_output=True,
            )  # fmt: skip


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500, help="kills to try, at least")
    parser.add_argument("--mib", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with Registry(place) as registry:
            folder = registry.component("soak")
            (folder / "weights.bin").write_bytes(os.urandom(options.mib * MIB))
            soak = Soak(registry, place, options.seed, options.mib)
            number = 0
            while sum(soak.kills.values()) < options.rounds:
                soak.one_version(folder, number)
                number += 1
                print(f"{sum(soak.kills.values())} kills, {number} versions", file=sys.stderr)
            for path in (place / "home" / "cache" / "blobs").glob("??/*"):
                if digest(path) != path.name:
                    raise SystemExit(f"{path}: not what its name says")
        check = [str(BIN / "forge-server"), "check", str(place / "reg"), "--deep"]
        if subprocess.run(check, env=registry.environment, check=False).returncode:
            raise SystemExit("the registry is not whole")
    for name, count in soak.kills.items():
        print(f"{name}: killed {count} times, ended {soak.finished[name]} times")
    print(f"{number} versions published and installed, each as it was; check --deep is clean")


if __name__ == "__main__":
    sys.exit(main())
