"""A program that says how it was started, for tests of `programs`."""

from __future__ import annotations

import json
import locale
import logging
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    if sys.argv[1] == "end":
        sys.exit(sys.argv[2] if len(sys.argv) == 3 else int(sys.argv[3]))
    if sys.argv[1] == "wait":
        print("waiting", flush=True)
        time.sleep(600)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    os.umask(mask := os.umask(0))
    here = {
        "arguments": sys.argv[1:],
        "folder": str(Path.cwd()),
        "mask": mask,
        "environment": {k: v for k, v in os.environ.items() if k != "LC_CTYPE"},
        "zone": [time.tzname, time.localtime(1_750_000_000)[:6]],
        "locale": locale.setlocale(locale.LC_CTYPE),
        "files": [(f.encoding, f.errors, f.isatty()) for f in (sys.stdin, sys.stdout, sys.stderr)],
        "given": sys.stdin.read(),
        "signals": [
            str(signal.getsignal(each)) if callable(signal.getsignal(each)) else
            int(signal.getsignal(each) or 0)
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)
        ],
        "opened": sorted(file for file in os.listdir("/proc/self/fd")),
        "logging": [str(each) for each in logging.getLogger().handlers],
    }  # fmt: skip
    print(json.dumps(here))


if __name__ == "__main__":
    main()
