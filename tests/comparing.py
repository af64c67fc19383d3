"""Two folders made for a test, and what comparing them finds."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_cli.compare.report import Comparison, compare
from forge_cli.compare.sides import Side

Files = Mapping[str, bytes | str]


def compared(place: Path, old: Files, new: Files, *, measured: bool = True) -> Comparison:
    """The comparison of folders with these files below ``place``."""
    sides = []
    for name, files in (("old", old), ("new", new)):
        folder = place / name
        folder.mkdir(parents=True)
        for path, content in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        sides.append(Side.of_folder(folder))
    return compare(sides[0], sides[1], measured=measured)


def remarks_of(found: Comparison, level: str | None = None) -> list[tuple[str, str | None, str]]:
    """``(code, path, text)`` of the remarks, in their order."""
    return [
        (each.code, each.path, each.text)
        for each in found.remarks
        if level is None or each.level == level
    ]


def codes_of(found: Comparison) -> set[str]:
    return {each.code for each in found.remarks}


def f32(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def only(values: list[Any]) -> Any:
    assert len(values) == 1, values
    return values[0]
