"""What somebody may have meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``did you mean NAME?`` for the nearest of ``known``; None when nothing is near."""
    from difflib import get_close_matches  # only where something went wrong already

    close = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else None
