"""Starting scanners in processes of their own, and believing little of what comes back."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from .base import (
    CLEAN,
    FAILED,
    FINDINGS,
    MAX_FINDINGS,
    MAX_TITLE,
    NOT_SCANNED,
    SEVERITIES,
    Answer,
    File,
    FoundItem,
    limited,
)

_MAX_OUTPUT: Final = 8 * 2**20
_GIB: Final = 2**30
PROGRAM: Final = (sys.executable, "-I", "-m", "forge_server.scans.child")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``seconds`` count for a file, and once more for every begun GiB of it: of the processor and
    of the clock on the wall."""

    memory_bytes: int = _GIB
    seconds: int = 120

    def seconds_for(self, files: Sequence[File]) -> int:
        return self.seconds * sum(1 + each.size // _GIB for each in files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A file and a descriptor of it, which `run` closes."""

    file: File
    descriptor: int


def run(
    scanner: str,
    files: Sequence[Opened],
    release: Mapping[str, Any],
    data: str | None,
    limits: Limits,
    program: Sequence[str] = PROGRAM,
) -> list[Answer]:
    """What the scanner says of each file, in their order. When its process dies over one, that one
    is ``failed`` and the others get another process."""
    answers: list[Answer] = []
    left = list(files)
    try:
        while left:
            said, why = _one_process(scanner, left, release, data, limits, program)
            answers += said
            if len(said) < len(left):
                answers.append(Answer(state=FAILED, detail=why))
            done = min(len(left), len(said) + 1)
            for each in left[:done]:
                os.close(each.descriptor)
            left = left[done:]
    finally:
        for each in left:
            os.close(each.descriptor)
    return answers


def _one_process(
    scanner: str,
    files: Sequence[Opened],
    release: Mapping[str, Any],
    data: str | None,
    limits: Limits,
    program: Sequence[str],
) -> tuple[list[Answer], str]:
    """The answers up to the first that is none, and why there is none."""
    seconds = limits.seconds_for([each.file for each in files])
    request = {
        "scanner": scanner,
        "release": dict(release),
        "data": data,
        "limits": {"memory_bytes": limits.memory_bytes, "seconds": seconds},
        "files": [asdict(each.file) | {"descriptor": each.descriptor} for each in files],
    }
    process = subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        pass_fds=[each.descriptor for each in files],
        start_new_session=True,
    )
    try:
        output, why = _talk(process, json.dumps(request).encode(), seconds)
    finally:
        # All of its group, should it have children nonetheless.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if not why:
        why = "crashed" if code else "answered something else than was asked"
        if code == -signal.SIGXCPU:
            why = "took too long"
    answers = []
    for line, each in zip(output.split(b"\n"), files, strict=False):
        answer = _parsed(line, each.file)
        if answer is None:
            break
        answers.append(answer)
    return answers, f"{scanner} {why}"


def _talk(process: subprocess.Popen[bytes], request: bytes, seconds: int) -> tuple[bytes, str]:
    """What it wrote, and what was wrong with that: too late, or too much."""
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as stdin, process.stdout as stdout:
        try:
            stdin.write(request)
            stdin.close()
        except BrokenPipeError:
            return b"", ""
        deadline = time.monotonic() + seconds
        output = bytearray()
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                return bytes(output), "took too long"
            part = os.read(stdout.fileno(), 65536)
            if not part:
                return bytes(output), ""
            output += part
            if len(output) > _MAX_OUTPUT:
                return bytes(output), "answered without end"


def _parsed(line: bytes, file: File) -> Answer | None:
    try:
        value = json.loads(line)
        items = [_item(each, file) for each in value["items"][:MAX_FINDINGS]]
        state, detail = value["state"], limited(value["detail"])
        facts = value["facts"] | {key: str(value[key])[:20] for key in ("network", "other_files")}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if state not in (CLEAN, FINDINGS, NOT_SCANNED, FAILED) or bool(items) != (state == FINDINGS):
        return None
    return Answer(state=state, detail=detail, items=items, facts=facts)


def _item(value: Mapping[str, str], file: File) -> FoundItem:
    if value["severity"] not in SEVERITIES:
        raise ValueError("no severity")
    return FoundItem(
        rule=limited(value["rule"], 40),
        severity=value["severity"],
        title=limited(value["title"], MAX_TITLE),
        path=file.path,
        location=limited(value["location"]),
    )
