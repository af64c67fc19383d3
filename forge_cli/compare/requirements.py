"""What a release needs of others: requirement lists, `pyproject.toml`, the metadata of wheels."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from email.parser import HeaderParser
from email.policy import compat32
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .document import ATTENTION, DANGER, Found, Remark, refused, short

MAX_BYTES: Final = 1 << 20
_MAX_LINES: Final = 5000
_MAX_DOTS: Final = 200  # tomllib's time grows with the square of a dotted key


def is_list(path: str) -> bool:
    name = path.lower().rpartition("/")[2]
    return name == "pyproject.toml" or (name.startswith("requirements") and name.endswith(".txt"))


def read(path: str, data: bytes) -> list[str]:
    """The requirements in a file that `is_list` knows.

    Raises:
        RefusedError: it cannot be read.
    """
    if len(data) > MAX_BYTES:
        raise refused(f"at most {MAX_BYTES} bytes", len(data))
    text = data.decode("utf-8", "backslashreplace")
    if path.lower().endswith(".toml"):
        return _pyproject(text)
    lines = (line.partition(" #")[0].strip() for line in text.split("\n"))
    return _limited(line for line in lines if line and not line.startswith("#"))


def _pyproject(text: str) -> list[str]:
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):
        raise refused(f"at most {_MAX_DOTS} dots in a line", "more")
    try:
        value = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused("TOML", short(str(error))) from None
    found: list[Any] = []
    for table, key in (("project", "dependencies"), ("build-system", "requires")):
        part = value.get(table)
        each = part.get(key) if isinstance(part, dict) else None
        found += each if isinstance(each, list) else []
    project = value.get("project")
    extras = project.get("optional-dependencies") if isinstance(project, dict) else None
    for each in extras.values() if isinstance(extras, dict) else ():
        found += each if isinstance(each, list) else []
    return _limited(str(each) for each in found)


def of_metadata(data: bytes) -> dict[str, list[str]]:
    """``{header: values}`` of a wheel's METADATA (core metadata, email headers)."""
    if len(data) > MAX_BYTES:
        raise refused(f"at most {MAX_BYTES} bytes of metadata", len(data))
    head = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").partition("\n\n")[0]
    message = HeaderParser(policy=compat32).parsestr(f"{head}\n\n", headersonly=True)
    found: dict[str, list[str]] = {}
    for name, text in message.items()[:_MAX_LINES]:
        found.setdefault(name.lower(), []).append(str(text))
    return found


def _limited(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    if len(found) > _MAX_LINES:
        raise refused(f"at most {_MAX_LINES} requirements", len(found))
    return found


def compare(path: str, old: Sequence[str], new: Sequence[str]) -> Found:
    """Requirements that came, went or have another range."""
    before, after = _named(old), _named(new)
    changes = [
        {"name": name, "old": before.get(name), "new": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if not changes:
        return Found()
    return Found(
        members=[{"path": path, "requirements": changes}],
        remarks=[_remark(path, change) for change in changes if change["new"] is not None],
    )


def _named(lines: Sequence[str]) -> dict[str, str]:
    """``{name: requirements}``; a line that is none stands for itself."""
    found: dict[str, set[str]] = {}
    for line in lines:
        try:
            name = canonicalize_name(Requirement(line).name) if len(line) < 1000 else short(line)
        except (InvalidRequirement, RecursionError):
            name = short(line)
        found.setdefault(name, set()).add(short(line))
    return {name: "; ".join(sorted(each)) for name, each in found.items()}


def _remark(path: str, change: dict[str, str | None]) -> Remark:
    new = change["new"] or ""
    # An address, a local path or another index goes past every registry.
    elsewhere = "://" in new or new.startswith(("-", ".", "/"))
    how = "needs" if change["old"] is None else f"now needs (before: {change['old']})"
    return Remark(
        level=DANGER if elsewhere else ATTENTION,
        code="requirement-elsewhere" if elsewhere else "requirement-changed",
        text=f"{how} {new}",
        path=path,
    )
