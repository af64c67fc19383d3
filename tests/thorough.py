"""How much of a long walk a run of the tests takes.

`make test` takes every second or third step of the walks that cost minutes, and fewer examples of
what must hold for all inputs; `make soak` takes all of them, by FORGE_TEST_EVERY_STEP=1.
"""

from __future__ import annotations

import os

EVERY_STEP = os.environ.get("FORGE_TEST_EVERY_STEP") == "1"


def steps(most: int, *, every: int, first: int = 1) -> range:
    """The numbers below ``most`` of the steps to break or to be killed at. Tests of the same walk
    that differ in ``first`` look at different steps."""
    return range(1, most) if EVERY_STEP else range(first, most, every)


def examples(number: int) -> int:
    """How many examples stand for all inputs, where ``number`` are wanted in the long run."""
    return number if EVERY_STEP else max(20, number // 3)
