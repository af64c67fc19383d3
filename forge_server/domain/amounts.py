"""Numbers of bytes as people write and read them: ``20M`` is 20,000,000."""

from __future__ import annotations

import re
from typing import Final

from signing.errors import MalformedError

_UNITS: Final = ("", "k", "M", "G", "T", "P")
_FORM: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?([kMGTP]?)B?", re.IGNORECASE)


def parse_bytes(text: str, where: str) -> int:
    """Reads ``500``, ``20M`` or ``1.5TB``; units are powers of 1,000.

    Raises:
        MalformedError: another form; ``where`` names the place.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise MalformedError(where, "a number of bytes like 500, 20M or 1.5T", text)
    whole, part, unit = match.groups()
    thousands = [each.lower() for each in _UNITS].index(unit.lower())
    factor: int = 1000**thousands
    fraction = int((part or "0").ljust(3, "0")) * factor // 1000
    return int(whole) * factor + fraction


def show_bytes(count: int) -> str:
    """``1.5 GB``; exact below 1,000."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS[1:]:
        value /= 1000
        if value < 999.95 or unit == _UNITS[-1]:
            return f"{value:.1f} {unit}B"
    raise AssertionError("the last unit takes everything")
