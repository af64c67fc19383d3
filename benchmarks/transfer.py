"""Promise: publishing and installing 2 GiB in 20 files costs at most 1.6 × the floor.

Each round moves new content four times, interleaved: floor up, `forge publish`, floor down,
`forge install`. Whole commands are timed, with the start of the interpreter, signing, metadata
and verification in them. Ratios are of medians within this run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import floor
from .registry import Registry

LIMIT = 1.6


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def fill(folder: Path, files: int, file_bytes: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(files):
        with (folder / f"part-{number:02}.bin").open("wb") as file:
            for _ in range(file_bytes // (1 << 20)):
                file.write(os.urandom(1 << 20))


def freshen(folder: Path, salt: int) -> None:
    """Changes every file, so that nothing of it is on the server yet."""
    for path in sorted(folder.glob("*.bin")):
        with path.open("r+b") as file:
            file.write(salt.to_bytes(8, "big") + os.urandom(8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {"floor up": [], "up": [], "floor down": [], "down": []}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with Registry(place) as registry:
            folder = registry.component("big")
            fill(folder / "data", options.files, options.mib * (1 << 20) // options.files)
            for number in range(options.rounds):
                freshen(folder / "data", number)
                registry.set_version(folder, f"1.0.{number}")
                one_round(registry, folder, place, number, seconds)
    for mine, base in (("up", "floor up"), ("down", "floor down")):
        ours, least = statistics.median(seconds[mine]), statistics.median(seconds[base])
        name = {"up": "publish", "down": "install"}[mine]
        verdict = "within" if ours / least <= LIMIT else "OVER"
        print(
            f"{name} {options.mib} MiB in {options.files} files: {ours / least:.2f} × the floor "
            f"({ours:.2f} s / {least:.2f} s; {verdict} {LIMIT})"
        )


def one_round(
    registry: Registry, folder: Path, place: Path, number: int, seconds: dict[str, list[float]]
) -> None:
    out = place / "out"
    wanted = f"bench/big==1.0.{number}"
    seconds["floor up"].append(floor.measure("up", folder / "data", place))
    seconds["up"].append(timed(lambda: registry.forge("publish", str(folder))))
    seconds["floor down"].append(floor.measure("down", folder / "data", place))
    seconds["down"].append(timed(lambda: registry.forge("install", wanted, "--into", str(out))))
    shutil.rmtree(out)
    shutil.rmtree(place / "home" / "cache", ignore_errors=True)


if __name__ == "__main__":
    main()
