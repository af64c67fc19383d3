"""How a promise is printed: the figure, the limit beside it, and what it is a multiple of."""

from __future__ import annotations


def promise(
    what: str, value: float, limit: float | None, unit: str, base: float, yardstick: str
) -> None:
    """One line. ``base`` is what ``yardstick`` took in the same run, in the same ``unit``; without
    a ``limit`` nothing is promised."""
    verdict = ""
    if limit is not None:
        verdict = f"; {'within' if value <= limit else 'OVER'} {limit:g} {unit}"
    ratio = f"{value / base:.1f} × {yardstick}" if base else yardstick
    print(f"{what}: {value:.3g} {unit}{verdict} ({ratio})", flush=True)
