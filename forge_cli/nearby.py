"""What somebody may have meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# What reviewers say of a release, by its level; of others `NOT_REVIEWED`.
REVIEWS: Final = {"approved": "approved by reviewers", "reviewed": "reviewed"}
NOT_REVIEWED: Final = "not reviewed"


def close_to(name: str, known: Iterable[str], most: int) -> list[str]:
    """Those of ``known`` that are spelt nearly like ``name``, the nearest first."""
    from difflib import get_close_matches  # only where something went wrong already

    return get_close_matches(name, list(known), n=most, cutoff=0.7)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``did you mean NAME?`` for the nearest of ``known``; None when nothing is near."""
    close = close_to(name, known, 1)
    return f"did you mean {close[0]}?" if close else None
