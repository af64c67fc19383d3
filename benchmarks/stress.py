"""How a registry of many components holds: sizes and times of the snapshot, of a publish, of
clients, search and pages, of `gc`, `backup` and `check`, with 5,000, 50,000 and 500,000 components
of ten versions.

    python -m benchmarks.stress --components 5000 50000 500000

Nothing is promised but figures for docs/reference/sizing.md. Metadata only, as `made_up` and
`made_up_rows` make it. What lies in files is made up when it is asked for, and no bytes of models
are read: so times of `check`, `gc` and `backup` are those of database and processor, and a disk's
come on top, which `keeping` measures.

With ``--in FOLDER`` a registry is made once, kept there, and found again: then what takes long can
be measured in pieces (``--only``), and a piece that is ended early costs no other. Each piece is
measured in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .stress_asking import figures, index, pages, search
from .stress_keeping import back_up, check, check_log_deep, collect, collect_garbage
from .stress_registry import client, publish, sizes, snapshot
from .stress_stand import Line, Stand, make, opened

# In this order: the index is filled by itself, a publish is measured on what the snapshot left, a
# client on what that published, `check` on all of it.
MEASURES: tuple[Callable[[Stand], Iterator[Line]], ...] = (
    sizes, index, search, snapshot, publish, client, pages, figures, collect, collect_garbage,
    back_up, check_log_deep, check,
)  # fmt: skip


def made(place: Path, components: int, versions: int) -> None:
    """Makes a registry in ``place``, and says what it took."""
    _say(components, "making it", make(place, components, versions))
    _say(components, "making it: memory at the most", _memory())


def measure(place: Path, name: str) -> None:
    """One of `MEASURES`, of the registry in ``place``."""
    stand = opened(place)
    (each,) = (each for each in MEASURES if each.__name__ == name)
    components = stand.filled.components
    for what, text in each(stand):
        _say(components, what, text)
    stand.world.close()
    _say(components, f"{name}: memory at the most; load", f"{_memory()}; {os.getloadavg()[0]:.0f}")


def _memory() -> str:
    used = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return f"{used >> 10} MiB"


def _say(components: int, what: str, text: str) -> None:
    print(f"| {components} | {what} | {text} |", flush=True)


def main() -> None:
    names = [each.__name__ for each in MEASURES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, nargs="+", default=[5000, 50_000, 500_000])
    parser.add_argument("--versions", type=int, default=10, help="of each component")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--in", dest="place", type=Path, help="where registries are kept")
    options = parser.parse_args()
    print("| components | what | seen |\n|---|---|---|")
    temporary = contextlib.nullcontext(options.place)
    with temporary if options.place else tempfile.TemporaryDirectory() as folder:
        for components in options.components:
            place = Path(folder) / f"{components}-{options.versions}"
            if not place.exists():
                _alone(made, place, components, options.versions)
            for name in names:
                if name in options.only:
                    _alone(measure, place, name)
            if not options.place:
                shutil.rmtree(place)


def _alone(work: Callable[..., None], *arguments: object) -> None:
    """In a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(work, arguments)


if __name__ == "__main__":
    main()
