"""How much of a long walk a run of the tests takes.

`make test` takes one step of each kind where breaking all of them costs minutes, or every second or
third, and fewer examples of what must hold for all inputs; `make soak` takes all of them, by
FORGE_TEST_EVERY_STEP=1.

Two steps are of one kind when the same lines of ours, from the first to the last, led to the same
system call or commit: the second file of a loop fails as the first one did.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

EVERY_STEP = os.environ.get("FORGE_TEST_EVERY_STEP") == "1"

_ROOT = Path(__file__).parents[1]
_THEN = " < "
_OURS = tuple(f"{_ROOT / part}{os.sep}" for part in ("forge_server", "signing", "storage"))


def kind_of_step(name: str) -> str:
    """What led the calling thread to the step ``name``."""
    lines = []
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OURS):
            lines.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return _THEN.join((name, *lines))


def of_each_kind(kinds: Sequence[str], *, way: int = 0, ways: int = 1) -> list[int]:
    """The numbers, from 1, of the steps to break or to be killed at, of a walk whose steps were of
    these ``kinds``: the first of each. Where there are several ``ways`` to break them, or too many
    kinds, this one takes its share of them, and of what the last line before a step tells apart the
    first."""
    if EVERY_STEP:
        return list(range(1, len(kinds) + 1))
    chosen, seen, number = [], set(), 0
    for at, kind in enumerate(kinds, start=1):
        if kind in seen:
            continue
        number += 1
        last = tuple(kind.split(_THEN)[:2])
        if last not in seen or number % ways == way:
            chosen.append(at)
        seen |= {kind, last}
    return chosen


def steps(most: int, *, every: int, first: int = 1) -> range:
    """The numbers below ``most`` of the steps to break or to be killed at. Tests of the same walk
    that differ in ``first`` look at different steps."""
    return range(1, most) if EVERY_STEP else range(first, most, every)


def examples(number: int) -> int:
    """How many examples stand for all inputs, where ``number`` are wanted in the long run."""
    return number if EVERY_STEP else max(20, number // 3)
