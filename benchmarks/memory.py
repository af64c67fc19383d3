"""Promise: client and server stay below 200 MiB each for a 20 GB sparse file.

Needs free disk of about twice the size for the copies that are really written.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

from .registry import Registry

LIMIT_MIB = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with Registry(place) as registry:
            folder = registry.component("sparse")
            with (folder / "sparse.bin").open("wb") as file:
                file.truncate(int(options.gb * 10**9))
            registry.forge("publish", str(folder))
            registry.forge("install", "bench/sparse", "--into", str(place / "out"))
            server = registry.server_peak_mib()
            # Before the server ends: afterwards it would count among the children.
            client = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    for who, peak in (("client", client), ("server", server)):
        verdict = "within" if peak <= LIMIT_MIB else "OVER"
        print(
            f"{who}'s peak memory for one file of {options.gb:g} GB: {peak / LIMIT_MIB:.2f} × "
            f"the limit ({peak:.0f} MiB; {verdict} {LIMIT_MIB} MiB)"
        )


if __name__ == "__main__":
    main()
