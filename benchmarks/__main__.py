"""`make bench`: every promise in turn, with sizes that keep the whole below some minutes.

`python -m benchmarks.<name>` measures one of them at the size it is promised for.
"""

import sys

from . import collect, log, memory, peers, publish, snapshot, startup, stress, transfer

SMALLER = {
    log: ["--leaves", "100000"],
    collect: ["--blobs", "50000"],
    peers: ["--mib", "512", "--rounds", "2"],
    stress: ["--components", "500"],
}

for module in (startup, snapshot, publish, log, collect, stress, transfer, peers, memory):
    sys.argv[1:] = SMALLER.get(module, [])
    print(f"\n{module.__name__}", flush=True)
    module.main()
