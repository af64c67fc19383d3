"""The document that says what changed, and what of it a reviewer should look at first.

It is JSON of texts, whole numbers and lists in a fixed order: the same two releases give the same
bytes on every machine, so its SHA-256 can stand in a decision. Numbers with a fraction stand in it
as texts of four digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from signing.digests import sha256_hex
from signing.encoding import canonical_json

SCHEMA: Final = "forge-diff-1"
DANGER: Final = "danger"  # code comes in, or something that runs code on loading
ATTENTION: Final = "attention"  # it behaves differently, or may be used differently
NOTICE: Final = "notice"  # worth knowing
LEVELS: Final = (DANGER, ATTENTION, NOTICE)
_MAX_TEXT: Final = 200


class RefusedError(ValueError):
    """A file cannot be compared; the message says why, as ``expected …, found …``."""


def refused(expected: str, found: object) -> RefusedError:
    return RefusedError(f"expected {expected}, found {found}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something to look at. ``text`` may hold what a publisher wrote: it is cleaned where it is
    printed."""

    level: str
    code: str
    text: str
    path: str | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"level": self.level, "code": self.code, "text": self.text}
        return value if self.path is None else {**value, "path": self.path}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one part found: members of the document, and remarks."""

    members: Sequence[dict[str, Any]] = ()
    remarks: Sequence[Remark] = ()


def ordered(remarks: Iterable[Remark]) -> list[Remark]:
    """The most dangerous first; equal ones by code, path and text."""
    return sorted(
        remarks,
        key=lambda each: (LEVELS.index(each.level), each.code, each.path or "", each.text),
    )


def digest(document: dict[str, Any]) -> str:
    """What a decision refers to."""
    return sha256_hex(canonical_json(document))


def figure(number: float | None) -> str | None:
    """A measured number as it stands in the document."""
    return None if number is None else f"{number:.3e}"


def short(text: str) -> str:
    """``text`` cut to what a document holds of it. What was cut is told apart by a digest, so that
    two long texts that begin alike do not look alike. Lone surrogates become escapes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[:_MAX_TEXT]}… ({len(text)} characters, sha256 {sha256_hex(text.encode())[:16]})"
