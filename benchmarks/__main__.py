"""`make bench`: every promise in turn, with sizes that keep the whole below some minutes.

`python -m benchmarks.<name>` measures one of them at the size it is promised for.
"""

import sys

from . import (
    catalogue,
    collect,
    downloads,
    facades,
    log,
    memory,
    peers,
    policy,
    publish,
    scanning,
    snapshot,
    startup,
    stress,
    transfer,
)

SMALLER = {
    log: ["--leaves", "100000"],
    collect: ["--blobs", "50000"],
    catalogue: ["--components", "5000"],
    facades: ["--requests", "4000", "--rounds", "1"],
    downloads: ["--mib", "256", "--rounds", "1"],
    peers: ["--mib", "512", "--rounds", "2"],
    stress: ["--components", "500"],
    scanning: ["--model-mib", "256", "--pickle-mib", "256"],
}

ALL = (
    startup, policy, snapshot, publish, log, collect, catalogue, stress, transfer, peers, facades,
    downloads, memory, scanning,
)  # fmt: skip
for module in ALL:
    sys.argv[1:] = SMALLER.get(module, [])
    print(f"\n{module.__name__}", flush=True)
    module.main()
