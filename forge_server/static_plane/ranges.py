"""The ``Range`` header (RFC 9110 §14), as far as a file needs it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import RegistryError

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` bytes from offset ``start`` on, of a file of ``size`` bytes."""

    start: int
    count: int
    size: int

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.start + self.count - 1}/{self.size}"


def parse_range(header: str | None, size: int) -> Span | None:
    """What ``header`` asks for of a file of ``size`` bytes; None means all of it.

    A header that is not a range of bytes is ignored, as RFC 9110 §14.2 allows. Several ranges
    at once are refused rather than answered in a multipart body: no client of ours asks for
    them, and overlapping ones are a known way to make a server work hard for little.

    Raises:
        RegistryError: ``range-not-satisfiable`` (with ``size``).
    """
    if header is None:
        return None
    text = header.replace(" ", "").replace("\t", "")
    if text.lower().startswith("bytes=") and "," in text:
        raise _unsatisfiable("one range", "several", size)
    match = _RANGE.fullmatch(text)
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        start, last = size - count, size - 1
    else:
        start = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < start:
            return None  # RFC 9110 §14.1.1: an invalid range is ignored
    if start >= size or last < start:
        raise _unsatisfiable(f"a start below {size}", header, size)
    return Span(start, last - start + 1, size)


def _unsatisfiable(expected: str, found: str, size: int) -> RegistryError:
    return RegistryError(
        "range-not-satisfiable", f"Range: expected {expected}, found {found[:60]}", size=size
    )


def etag_matches(header: str | None, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names ``etag`` (without quotes), or ``*``.

    The comparison is the weak one (RFC 9110 §13.1.2).
    """
    if header is None:
        return False
    names = {item.strip().removeprefix("W/").strip('"') for item in header.split(",")}
    return etag in names or "*" in names


def range_is_wanted(if_range: str | None, etag: str) -> bool:
    """Whether a ``Range`` counts: without ``If-Range``, or when that names this very file.

    The comparison is the strong one, and a date never matches (RFC 9110 §13.1.5).
    """
    return if_range is None or if_range.strip() == f'"{etag}"'
