"""Promise: publishing and installing 2 GiB in 20 files costs at most 1.25 × the floor.

Each round moves new content four times, interleaved: floor up, `forge publish`, floor down,
`forge install`. Whole commands are timed, with the start of the interpreter, signing, metadata
and verification in them. Ratios are of medians within this run. Beside them is what the processors
worked, of both sides together, for machines that others use meanwhile.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import floor, warm
from .registry import Registry
from .warm import UsedMemory

LIMIT = 1.25


@dataclass
class Taken:
    """Seconds by the clock, and of processors, of each round."""

    clock: list[float] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(
    registry: Registry, memory: UsedMemory | None, taken: Taken, work: Callable[[], object]
) -> None:
    if memory is not None:
        memory.refill()
    os.sync()  # what came before leaves the disk no work that would be counted here
    worked = _worked(registry)
    taken.clock.append(timed(work))
    taken.worked.append(_worked(registry) - worked)


def _worked(registry: Registry) -> float:
    """Processor seconds of this process, of those it has waited for, and of the server."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    seconds = sum(used.ru_utime + used.ru_stime for used in (own, children))
    return seconds + registry.server_processor_ms() / 1000


def fill(folder: Path, files: int, file_bytes: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(files):
        with (folder / f"part-{number:02}.bin").open("wb") as file:
            for _ in range(file_bytes // (1 << 20)):
                file.write(os.urandom(1 << 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--used-memory", action="store_true", help=warm.HELP)
    options = parser.parse_args()
    taken = {name: Taken() for name in ("floor up", "up", "floor down", "down")}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with Registry(place) as registry:
            folder = registry.component("big")
            memory = UsedMemory(place) if options.used_memory else None
            for number in range(options.rounds):
                # All of it new: of what had changed in places only those would be sent.
                fill(folder / "data", options.files, options.mib * (1 << 20) // options.files)
                registry.set_version(folder, f"1.0.{number}")
                one_round(registry, memory, folder, number, taken)
    for mine, base in (("up", "floor up"), ("down", "floor down")):
        ours, least = (statistics.median(taken[name].clock) for name in (mine, base))
        cost, least_cost = (statistics.median(taken[name].worked) for name in (mine, base))
        name = {"up": "publish", "down": "install"}[mine]
        verdict = "within" if ours / least <= LIMIT else "OVER"
        print(
            f"{name} {options.mib} MiB in {options.files} files: {ours / least:.2f} × the floor "
            f"({ours:.2f} s / {least:.2f} s; {verdict} {LIMIT}); processors "
            f"{cost / least_cost:.2f} × ({cost:.1f} s / {least_cost:.1f} s)"
        )


def one_round(
    registry: Registry,
    memory: UsedMemory | None,
    folder: Path,
    number: int,
    taken: dict[str, Taken],
) -> None:
    place = registry.place
    out = place / "out"
    wanted = f"bench/big==1.0.{number}"
    for name, work in (
        ("floor up", lambda: floor.measure("up", folder / "data", place)),
        ("up", lambda: registry.forge("publish", str(folder))),
        ("floor down", lambda: floor.measure("down", folder / "data", place)),
        ("down", lambda: registry.forge("install", wanted, "--into", str(out))),
    ):
        measure(registry, memory, taken[name], work)
    shutil.rmtree(out)
    shutil.rmtree(place / "home" / "cache", ignore_errors=True)


if __name__ == "__main__":
    main()
