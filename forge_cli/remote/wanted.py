"""What is to be fetched, and how fetching fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import NetworkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """A file on this disk whose chunks may be of use: ``chunks`` names its list, if it has one.

    ``untouched``: it was verified once and looks as it did then, so its chunks are not hashed again
    before the whole of what is made of them is.
    """

    path: Path
    size: int
    chunks: str | None = None
    untouched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A blob to fetch: ``label`` is what messages call it, such as a path.

    ``chunks`` names its chunk list, where it has one; ``olds`` are files to take chunks from.
    """

    digest: str
    size: int
    label: str
    chunks: str | None = None
    olds: tuple[Old, ...] = field(default=())


class OtherRangeError(NetworkError):
    """A 206 that brings another range than was asked for."""


def other_range(label: str) -> OtherRangeError:
    return OtherRangeError(f"{label}: the registry sent another range than was asked for")


ANOTHER_MIRROR = "nothing of it was kept; try another mirror and tell the operator"
