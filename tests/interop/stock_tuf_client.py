"""A TUF client that knows nothing of this project: arguments ROOT URL TARGET OUT.

Fetches one target through python-tuf's own `ngclient`, with every default, and prints what the
index says about it. Imports nothing of ours, and says so by failing when it did.
"""

import json
import sys
import tempfile
from pathlib import Path

from tuf.ngclient import Updater

root, url, target, out = sys.argv[1:]
with tempfile.TemporaryDirectory() as metadata:
    updater = Updater(
        metadata,
        f"{url}/tuf/",
        target_base_url=f"{url}/tuf/targets/",
        bootstrap=Path(root).read_bytes(),
    )
    updater.refresh()
    info = updater.get_targetinfo(target)
    if info is None:
        sys.exit(f"no such target: {target}")
    updater.download_target(info, filepath=out)
    print(json.dumps({"length": info.length, "hashes": info.hashes, "custom": info.custom}))

ours = {"signing", "storage", "forge_cli", "forge_server"} & set(sys.modules)
if ours:
    sys.exit(f"imported {ours}")
