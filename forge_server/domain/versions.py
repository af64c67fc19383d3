"""Which of a component's versions is shown as its latest."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.version import Version


def latest_version(versions: Iterable[tuple[str, bool]]) -> str | None:
    """The latest of ``(version, yanked)``: the highest final one that is not yanked, else the
    highest pre-release that is not yanked, else the highest of all; None when there is none."""
    ranked = [
        (not yanked, not yanked and not Version(text).is_prerelease, Version(text), text)
        for text, yanked in versions
    ]
    return max(ranked)[3] if ranked else None
