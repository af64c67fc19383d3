"""The process in which scanners run: ``python -I -m forge_server.scans.child``.

It reads one request from standard input, gives up what it does not need (memory, processor time,
files, processes, the network) and answers with one line of JSON for each file, in the order of the
request. Whoever started it takes everything but a well-formed line for a failure.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from .landlock import confine

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    cut_off, confined = _leave_network(), _leave_files(request["data"])
    _limit(request["limits"], len(request["files"]))
    from .base import File, Target
    from .known import known

    scanner = known()[request["scanner"]]
    for each in request["files"]:
        target = Target(
            file=File(path=each["path"], size=each["size"], sha256=each["sha256"]),
            release=request["release"],
            data=request["data"],
        )
        with os.fdopen(each["descriptor"], "rb") as file:
            answer = scanner.scan(file, target)
        value: dict[str, Any] = asdict(answer)
        value["network"] = "none" if cut_off else "not-cut"
        value["other_files"] = "none" if confined else "not-cut"
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def _leave_network() -> bool:
    """Into a network of one's own with nothing in it, where the kernel permits that."""
    libc = ctypes.CDLL(None, use_errno=True)
    return any(
        libc.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET)
    )


def _leave_files(data: str | None) -> bool:
    """Only programs and the scanner's data can still be read, where the kernel permits that."""
    packages = Path(__file__).parents[2]
    ours = [str(packages / name) for name in ("forge_server", "signing", "storage")]
    programs = [sys.prefix, sys.base_prefix, "/usr/lib", "/lib", "/lib64", "/usr/share/zoneinfo"]
    readable = [*ours, *programs, "/dev/null", "/dev/urandom", *([data] if data else [])]
    return confine(readable, sys.path)


def _limit(limits: dict[str, int], files: int) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["seconds"]),
        (resource.RLIMIT_NOFILE, 32 + files),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
