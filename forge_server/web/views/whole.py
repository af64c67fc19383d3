"""Pages about the whole registry: its log, reviews, what was taken back, figures, and what the
words for trust mean here."""

from __future__ import annotations

from flask import Response

from ...api.requests import registry
from .. import charts, languages
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
    """What reviewers approved: nothing yet, and the page says so."""
    return page("reviews.html")


def tombstones() -> Response:
    """What was taken back, by whom and why."""
    return page("tombstones.html", tombstones=registry().registry_pages.tombstones())


def trust() -> Response:
    """What each state means."""
    return page("trust.html")


def statistics() -> Response:
    """Figures, as charts and as tables."""
    figures = registry().registry_pages.figures()
    months = list(figures.releases)
    chart = charts.bars(
        list(figures.releases.values()),
        languages.month(months[0]),
        languages.month(months[-1]),
        mirrored=languages.direction() == "rtl",
    )
    return page("statistics.html", figures=figures, chart=chart)
