"""Errors of this package.

LidError
 └ MalformedModelError    a file of the model is not what its format says: get another copy

A file that is missing or unreadable is left as the `OSError` that it is.
"""

from __future__ import annotations


class LidError(Exception):
    """Root of everything that this package raises on purpose."""


class MalformedModelError(LidError):
    """A model file breaks its format. ``where`` names the file and the field."""

    def __init__(self, where: str, expected: str, found: object) -> None:
        self.where = where
        self.expected = expected
        self.found = str(found)[:200]
        super().__init__(f"{where}: expected {expected}, found {self.found}")
