"""Neither side holds a file in memory: one of 1.25 GiB goes through, both ways, within 150 MiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from live_registry import BIN, LiveRegistry

MIB = 1 << 20
LIMIT_MIB = 150
SERVER_LIMIT_MIB = 200
FILE_MIB = 1280

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads peaks of other processes from /proc"
)


def peak_of_server(pid: int) -> float:
    """The highest resident memory of the server's processes so far, in MiB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max(
        int(line.split()[1]) / 1024
        for one in (str(pid), *children)
        for line in Path(f"/proc/{one}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )


# Linux counts what a process held before it became another program. Started by pytest itself, the
# client would be charged with all that pytest holds; so a small process starts it.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def peak_of_client(registry: LiveRegistry, *arguments: str) -> float:
    """The highest resident memory of `forge ARGUMENTS`, which must succeed, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(BIN / "forge"), *arguments],
        env=registry.environment,
        cwd=registry.place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(done.stdout) / 1024


def test_a_file_larger_than_the_limit_stays_out_of_memory(tmp_path: Path) -> None:
    with LiveRegistry(tmp_path) as registry:
        registry.register("minds-lab")
        folder = registry.new_component("minds-lab", "sparse")
        with (folder / "weights.bin").open("wb") as file:
            file.truncate(FILE_MIB * MIB)
        published = peak_of_client(registry, "publish", str(folder))
        installed = peak_of_client(registry, "install", "minds-lab/sparse", "--into", "out")
        server = peak_of_server(registry.server.pid)
        size = (tmp_path / "out/forge_components/minds-lab/sparse/weights.bin").stat().st_size
    assert size == FILE_MIB * MIB
    assert published < LIMIT_MIB
    assert installed < LIMIT_MIB
    assert server < SERVER_LIMIT_MIB


def test_the_largest_chunks_and_lists_stay_within_the_limit_too() -> None:
    """Cutting as a file of 200 GB is cut (chunks up to 16 MiB), two at a time."""
    program = f"""
import threading
from forge_cli.chunking import cut
class Zeros:
    def __init__(self): self.at = 0
    def seek(self, at): self.at = at
    def readinto(self, buffer):
        count = min(len(buffer), {FILE_MIB} * 2**20 - self.at)
        self.at += count
        return count
def work(): cut(Zeros(), {FILE_MIB} * 2**20, average=4 << 20)
threads = [threading.Thread(target=work) for _ in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(done.stdout) / 1024 < LIMIT_MIB
