"""Charts as SVG, made on the server: no script, no style of their own, readable in both schemes.

A chart repeats the table beneath it, which is what a screen reader gets; so the picture is hidden
from it. Time runs in the direction of the text. What is written beside the picture is no part of
it: letters keep their size where the picture shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

_WIDTH: Final = 640
_HEIGHT: Final = 180


def bars(values: Sequence[int], first: str, last: str, *, mirrored: bool) -> Markup:
    """A bar for each of ``values``; ``first`` and ``last`` are written beneath the ends."""
    if not values:
        return Markup("")
    top = max([1, *values])
    drawn = Markup("").join(
        _bar(at, value, len(values), top, mirrored) for at, value in enumerate(values) if value
    )
    return _frame(drawn, max(values), first, last)


def steps(values: Sequence[int], first: str, last: str, *, mirrored: bool) -> Markup:
    """A filled line through ``values``."""
    count, top = max(1, len(values) - 1), max([1, *values])
    points = [
        (_x(at * _WIDTH / count, mirrored), _HEIGHT - value * _HEIGHT / top)
        for at, value in enumerate(values)
    ]
    if not points:
        return Markup("")
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    area = f"{points[0][0]:.1f},{_HEIGHT} {line} {points[-1][0]:.1f},{_HEIGHT}"
    drawn = Markup(
        '<polygon class="area" points="{}"/><polyline class="line" points="{}"/>'
    ).format(area, line)
    return _frame(drawn, max(values), first, last)


def _bar(at: int, value: int, count: int, top: int, mirrored: bool) -> Markup:
    step = _WIDTH / count
    high = value * _HEIGHT / top
    wide = max(2.0, step * 0.72)
    x = _x(at * step + (step - wide) / 2 + (wide if mirrored else 0), mirrored)
    return Markup(
        '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    ).format(x, _HEIGHT - high, wide, high)


def _frame(drawn: Markup, top: int, first: str, last: str) -> Markup:
    return Markup(
        '<div class="chart" aria-hidden="true"><p>{top}</p>'
        '<svg viewBox="0 0 {w} {h}" preserveAspectRatio="none">{drawn}</svg>'
        "<p><span>{first}</span> <span>{last}</span></p></div>"
    ).format(w=_WIDTH, h=_HEIGHT, drawn=drawn, top=top, first=first, last=last)


def _x(x: float, mirrored: bool) -> float:
    return _WIDTH - x if mirrored else x
