"""Promises: `forge --help` within 6 × a bare interpreter; a warm install within 250 ms more;
`forge-server stats` of a small registry within 30 × a bare interpreter.

Runs are interleaved; figures are medians. The warm install has a lock and a full cache.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from .registry import BIN, Registry
from .transfer import timed

RUNS = 15
HELP_LIMIT = 6.0
WARM_LIMIT_MS = 250
STATS_LIMIT = 30.0


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with Registry(place) as registry:
            folder = registry.component("small")
            for number in range(8):  # and forge.toml and README.md: ten files
                (folder / f"part-{number}.bin").write_bytes(os.urandom(100_000))
            registry.forge("publish", str(folder))
            registry.forge("install", "bench/small", "--into", str(place / "out"))
        bare, help_, stats, warm, again = [], [], [], [], []
        for _ in range(RUNS):
            bare.append(timed(lambda: run([sys.executable, "-c", "pass"], registry)))
            help_.append(timed(lambda: run([str(BIN / "forge"), "--help"], registry)))
            count = [str(BIN / "forge-server"), "stats", str(registry.data)]
            stats.append(timed(lambda: run(count, registry)))  # noqa: B023  # called at once
            install = [str(BIN / "forge"), "install", "bench/small", "--into", str(place / "out")]
            again.append(timed(lambda: run(install, registry)))  # noqa: B023  # called at once
            shutil.rmtree(place / "out" / "forge_components")
            warm.append(timed(lambda: run(install, registry)))  # noqa: B023
    least = statistics.median(bare)
    for command, values, limit in (
        ("forge --help", help_, HELP_LIMIT),
        ("forge-server stats", stats, STATS_LIMIT),
    ):
        ratio = statistics.median(values) / least
        verdict = "within" if ratio <= limit else "OVER"
        print(f"{command}: {ratio:.1f} × a bare interpreter ({verdict} {limit:g})")
    for name, values in (("into an empty folder", warm), ("already in place", again)):
        beyond = (statistics.median(values) - least) * 1000
        verdict = "within" if beyond <= WARM_LIMIT_MS else "OVER"
        print(
            f"warm install of 10 files, {name}, server gone: "
            f"{beyond / 1000 / least:.1f} × a bare interpreter beyond it "
            f"({beyond:.0f} ms; {verdict} {WARM_LIMIT_MS} ms)"
        )


def run(command: list[str], registry: Registry) -> None:
    subprocess.run(command, check=True, capture_output=True, env=registry.environment)


if __name__ == "__main__":
    main()
