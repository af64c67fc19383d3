"""A registry of many components to measure: made, kept in a folder, and opened again."""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from server_fixtures import World

from forge_server.operate.initialise import initialise
from forge_server.wiring import Registry
from signing.keys import load_private_key

from .made_up import Pattern
from .made_up_rows import Filled
from .made_up_stores import MadeUpBlobs, MadeUpTree

Line = tuple[str, str]
"""(what was measured, what was seen)"""


@dataclass
class Stand:
    """A registry to measure, with what stands in for its files. ``place`` is the folder that holds
    both."""

    world: World
    filled: Filled
    token: str
    place: Path

    @property
    def registry(self) -> Registry:
        real = self.world.registry
        blobs = MadeUpBlobs(real.blobs, self.filled.digests)
        tree = MadeUpTree(real.tree, self.filled.pattern, real)
        leases = replace(real.collection.leases, blobs=blobs)
        collection = replace(real.collection, blobs=blobs, leases=leases)
        return real.differing(blobs=blobs, tree=tree, collection=collection)


def took(work: Callable[[], object]) -> str:
    """Seconds by the clock and of the processor."""
    worked, began = time.process_time(), time.perf_counter()
    work()
    clock, processor = time.perf_counter() - began, time.process_time() - worked
    return f"{clock:.3g} s ({processor:.3g} s of a processor)"


def make(place: Path, components: int, versions: int) -> str:
    """A registry in ``place``, which must not be there; returns what it took. When this was ended
    early ``place`` is not there."""
    half = place.with_name(f"{place.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    initialise(half / "reg", dev=True)
    world = World(half / "reg")
    token = world.user("sara")
    world.organisation(token)
    filled = Filled(components, Pattern(versions), half / "digests")
    user = world.registry.accounts.authenticate(token).user_id
    seconds = took(lambda: filled.fill(world, user))
    _sort(filled.digests)
    world.close()
    filled.digests = place / "digests"
    kept = (filled, token, {name: key.to_pem(None) for name, key in world.keys.items()})
    (half / "made.pickle").write_bytes(pickle.dumps(kept))
    half.rename(place)
    return seconds


def opened(place: Path) -> Stand:
    """What `make` has left in ``place``."""
    filled, token, keys = pickle.loads((place / "made.pickle").read_bytes())
    world = World(place / "reg")
    world.keys.update((name, load_private_key(pem)) for name, pem in keys.items())
    return Stand(world, filled, token, place)


def _sort(path: Path) -> None:
    """By blocks: all of them at once may be 20 million."""
    lines: list[bytes] = []
    with path.open("rb") as file:
        while block := list(islice(file, 1_000_000)):
            lines += block
    lines.sort()
    path.write_bytes(b"".join(lines))
