"""Pages about the whole registry: its log, reviews, what was taken back, figures, and what the
words for trust mean here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from flask import Response
from markupsafe import Markup

from ...api.requests import registry
from .. import charts, languages
from ..meanings import sections
from ..rendering import page


def log() -> Response:
    """The checkpoint of the public log, who cosigned it, and how it grew."""
    state = registry().registry_pages.log()
    chart = None
    if state is not None and len(state.growth) > 1:
        days = [at for at, _ in state.growth]
        chart = charts.steps(
            [size for _, size in state.growth],
            languages.plain_day(days[0]),
            languages.plain_day(days[-1]),
            mirrored=languages.direction() == "rtl",
        )
    return page("log.html", log=state, chart=chart)


def reviews() -> Response:
    """Who may review, what waits for them, and what ends soon."""
    return page("reviews.html", reviews=registry().assurances.reviews())


def tombstones() -> Response:
    """What was taken back, by whom and why."""
    return page("tombstones.html", tombstones=registry().registry_pages.tombstones())


def trust() -> Response:
    """What each state means."""
    return page("trust.html", sections=sections())


def statistics() -> Response:
    """Figures, as charts and as tables."""
    figures = registry().registry_pages.figures()
    months = list(figures.releases)
    chart, decisions_chart = (
        charts.bars(
            list(counted.values()),
            languages.month(months[0]),
            languages.month(months[-1]),
            mirrored=languages.direction() == "rtl",
        )
        for counted in (figures.releases, figures.decisions)
    )
    downloads = registry().downloads.recent()
    return page(
        "statistics.html", figures=figures, chart=chart, decisions_chart=decisions_chart,
        downloads=downloads,
        downloads_chart=_by_day(downloads.by_day),
    )  # fmt: skip


def _by_day(counted: Sequence[tuple[date, int]]) -> Markup:
    """A bar for each day from the first on which something was counted; days without are there."""
    if not counted:
        return Markup("")
    by_day, first, last = dict(counted), counted[0][0], counted[-1][0]
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    return charts.bars(
        [by_day.get(day, 0) for day in days],
        languages.plain_day(first),
        languages.plain_day(last),
        mirrored=languages.direction() == "rtl",
    )
