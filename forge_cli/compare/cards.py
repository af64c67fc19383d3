"""Texts for people by their sections: which headings came, went, or say something else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from .document import NOTICE, Found, Remark, refused, short

MAX_BYTES: Final = 4 << 20
MAX_LINES: Final = 100_000
_MAX_SHOWN: Final = 8  # lines of each section in the document
_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE: Final = re.compile(r" {0,3}(```|~~~)")
_BEFORE: Final = "(the beginning)"


def is_card(path: str) -> bool:
    return path.lower().endswith((".md", ".markdown"))


def sections(data: bytes) -> dict[str, list[str]]:
    """``{heading: lines}``, a heading that stands there again with its number. Front matter between
    ``---`` lines is a section of its own.

    Raises:
        RefusedError: too long.
    """
    if len(data) > MAX_BYTES:
        raise refused(f"at most {MAX_BYTES} bytes of text", len(data))
    lines = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise refused(f"at most {MAX_LINES} lines", len(lines))
    found: dict[str, list[str]] = {}
    seen: Counter[str] = Counter()
    current: list[str] = []
    for heading, line in _headed(lines):
        if heading is None:
            current.append(line.rstrip())
            if not seen and line.strip():
                found[_BEFORE] = current
            continue
        seen[heading] += 1
        name = heading if seen[heading] == 1 else f"{heading} ({seen[heading]})"
        current = found.setdefault(name, [])
    return found


def _headed(lines: list[str]) -> Iterator[tuple[str | None, str]]:
    """``(heading, line)``: the heading where the line is one, else None."""
    fence = ""
    front = bool(lines) and lines[0].strip() == "---" and "---" in map(str.strip, lines[1:200])
    if front:
        yield "(front matter)", ""
        lines = lines[1:]
    for line in lines:
        if front:
            front = line.strip() != "---"
            yield (None, line) if front else (_BEFORE, "")
            continue
        match = _FENCE.match(line)
        if match and (not fence or line.strip() == fence):
            fence = "" if fence else match[1]
        heading = None if fence else _HEADING.fullmatch(line[:1000])
        yield (None, line) if heading is None else (short(f"{heading[1]} {heading[2]}"), line)


def compare(path: str, old: bytes | None, new: bytes | None) -> Found:
    """Sections that differ, with the first lines that came and went."""
    before = {} if old is None else sections(old)
    after = {} if new is None else sections(new)
    members = [
        _section(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*after, *before])
        if before.get(name) != after.get(name)
    ]
    if not members:
        return Found()
    names = ", ".join(str(each["section"]) for each in members[:10])
    more = f" and {len(members) - 10} more" if len(members) > 10 else ""
    return Found(
        members=[{"path": path, "sections": members}],
        remarks=[
            Remark(level=NOTICE, code="text-changed", text=f"{names}{more}", path=path),
        ],
    )


def _section(name: str, old: list[str] | None, new: list[str] | None) -> dict[str, Any]:
    # As multisets: the time of a real diff of hostile lines grows with their square.
    before, after = Counter(old or ()), Counter(new or ())
    came, went = after - before, before - after
    how = "added" if old is None else "removed" if new is None else "changed"
    return {
        "section": name,
        "change": how,
        "lines_added": came.total(),
        "lines_removed": went.total(),
        "first_added": _first(new, came),
        "first_removed": _first(old, went),
    }


def _first(lines: list[str] | None, among: Counter[str]) -> list[str]:
    found = dict.fromkeys(line for line in lines or () if line.strip() and among[line])
    return [short(line) for line in list(found)[:_MAX_SHOWN]]
