"""`make bench`: every promise in turn, with sizes that keep the whole below some minutes.

`python -m benchmarks.<name>` measures one of them at the size it is promised for.
"""

import sys

from . import (
    catalogue,
    collect,
    log,
    memory,
    peers,
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
    peers: ["--mib", "512", "--rounds", "2"],
    stress: ["--components", "500"],
    scanning: ["--model-mib", "256", "--pickle-mib", "256"],
}

ALL = (
    startup,
    snapshot,
    publish,
    log,
    collect,
    catalogue,
    stress,
    transfer,
    peers,
    memory,
    scanning,
)
for module in ALL:
    sys.argv[1:] = SMALLER.get(module, [])
    print(f"\n{module.__name__}", flush=True)
    module.main()
