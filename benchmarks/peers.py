"""Promise: faster than other programs at moving 2 GiB in 20 files there and back, on one machine.

Each round lets every program in turn send and fetch the same files, and then a second version in
which a tenth of the bytes of every file is new; so all suffer alike from whatever else the machine
does. A server runs only for its own turn. Whole commands are timed; what arrived is compared with
what was sent. Ratios are of medians within this run. Beside them is what the processors worked, for
command and server together: that is what remains of a figure on a machine that others use.

With ``--line-mbit`` the servers are at the other end of a slow line, where most of the regions are.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from . import warm
from .programs import PROGRAMS, Forge, Program
from .transfer import fill
from .warm import UsedMemory

ACTS = ("up", "down", "second up", "second down")
Taken = tuple[float, float]
"""Seconds by the clock, and of processors."""
# How many times as long as ours another program must take, at least, in each of `ACTS`.
PROMISED: dict[str, tuple[float | None, ...]] = {
    "mlflow": (1, 1, 5, 5),
    "docker-registry + skopeo": (2, 2, 5, 5),
    "dvc, a local folder": (None, 1, None, 5),
    "hf, from our registry": (None, 1, None, 5),
}


def lacking() -> list[str]:
    """What has to be installed before all programs can be compared."""
    return sorted({need for program in PROGRAMS if (need := program.lacking()) is not None})


def change_a_tenth(folder: Path, target: Path, chance: random.Random) -> None:
    """Copies of the files of ``folder`` with new bytes in a tenth of each, in one place."""
    target.mkdir()
    for path in sorted(folder.iterdir()):
        data = bytearray(path.read_bytes())
        count = len(data) // 10
        at = chance.randrange(len(data) - count)
        data[at : at + count] = os.urandom(count)
        (target / path.name).write_bytes(data)


def digests(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                found.add(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def one_turn(
    kind: type[Program],
    place: Path,
    versions: Iterable[Path],
    memory: UsedMemory | None,
    mbit: float | None,
) -> list[Taken]:
    """What each of `ACTS` took."""
    taken: list[Taken] = []

    with kind(place, mbit) as program:

        def timed(act: Callable[[], object]) -> None:
            if memory is not None:
                memory.refill()
            os.sync()
            began, worked = time.perf_counter(), program.worked()
            act()
            taken.append((time.perf_counter() - began, program.worked() - worked))

        for version, folder in enumerate(versions, 1):
            program.prepare(folder, version)
            timed(lambda f=folder, v=version: program.up(f, v))  # type: ignore[misc]
            timed(lambda v=version: program.down(v))  # type: ignore[misc]
            if not digests(folder) <= digests(program.files(version)):
                raise RuntimeError(f"{program.name}: other files came than were sent")
    return taken


def report(taken: dict[str, list[list[Taken]]]) -> None:
    """Tables of medians with the ratios to ours, and the promises that were not kept."""
    medians = _table("by the clock", taken, 0)
    _table("processors", taken, 1)
    ours = medians[Forge.name]
    for name, least in PROMISED.items():
        if name not in medians:
            continue
        for act, wanted, value, our in zip(ACTS, least, medians[name], ours, strict=True):
            if wanted is not None:
                verdict = "kept" if value / our >= wanted else "NOT KEPT"
                print(f"{verdict}: {act}, {name}: {value / our:.2f} × ours (promised {wanted} ×)")


def _table(title: str, taken: dict[str, list[list[Taken]]], which: int) -> dict[str, list[float]]:
    """Prints and returns the medians of one of the figures."""
    medians = {
        name: [statistics.median(each[which] for each in act) for act in zip(*rounds, strict=True)]
        for name, rounds in taken.items()
    }
    print(f"{title:26}" + "".join(f"{act:>18}" for act in ACTS))
    for name, values in medians.items():
        cells = (
            f"{v:.1f} s ({v / o:.2f} ×)" for v, o in zip(values, medians[Forge.name], strict=True)
        )
        print(f"{name:26}" + "".join(f"{cell:>18}" for cell in cells))
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--used-memory", action="store_true", help=warm.HELP)
    parser.add_argument("--line-mbit", type=float, help="Mbit/s each way; without it the loopback")
    parser.add_argument("--only", nargs="+", help="programs by the beginnings of their names")
    options = parser.parse_args()
    if needs := lacking():
        print(f"not compared with other programs; to do so: {'; '.join(needs)}")
    chosen = [
        program
        for program in PROGRAMS
        if program.lacking() is None
        and (program.has_server or options.line_mbit is None)
        and (program is Forge or program.name.startswith(tuple(options.only or [""])))
    ]
    if chosen == [Forge]:
        return
    chance = random.Random(1)
    taken: dict[str, list[list[Taken]]] = {program.name: [] for program in chosen}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        first, second = place / "first", place / "second"
        memory = UsedMemory(place) if options.used_memory else None
        for number in range(options.rounds):
            fill(first, options.files, options.mib * (1 << 20) // options.files)
            change_a_tenth(first, second, chance)
            for turn in range(len(chosen)):  # another one begins in each round
                program = chosen[(turn + number) % len(chosen)]
                acts = one_turn(program, place / "turn", (first, second), memory, options.line_mbit)
                taken[program.name].append(acts)
                shown = ", ".join(
                    f"{name} {clock:.1f} ({worked:.1f})"
                    for name, (clock, worked) in zip(ACTS, acts, strict=True)
                )
                print(f"round {number + 1}, {program.name}: {shown}", flush=True)
            for path in second.iterdir():
                path.unlink()
            second.rmdir()
    print(f"\n{options.mib} MiB in {options.files} files, medians of {options.rounds} rounds")
    report(taken)


if __name__ == "__main__":
    main()
