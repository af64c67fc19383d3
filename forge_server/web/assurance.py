"""In plain words: who looked at a release and until when that counts, what is open against it, and
what scanners say. Whole sentences, because languages build them of different pieces, and with the
plural forms that each of them has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from babel.lists import format_list
from flask_babel import npgettext, pgettext
from markupsafe import Markup

from signing.assessment import APPROVED, COMMUNITY

from ..services.assurance import NOT_SCANNED, Assurance
from . import languages
from .rendering import bdi


def sentences(known: Assurance) -> Iterator[Markup]:
    """Reviews, then findings, then scans; each says as well that there is nothing."""
    yield reviews(known)
    if known.findings or known.scanned_at is not None:
        yield from findings(known)
        yield scans(known)
    else:
        yield filled(
            pgettext("trust", "No finding against it is known here; nobody has scanned it.")
        )


def reviews(known: Assurance) -> Markup:
    """Who looked at it, and until when that counts."""
    assessment = known.assessment
    if assessment.rejected_by:
        return filled(
            pgettext("trust", "%(bodies)s looked at it and decided against it."),
            bodies=named(known, assessment.rejected_by),
        )
    if assessment.level != COMMUNITY and assessment.until is not None:
        text = (
            pgettext("trust", "Approved by %(bodies)s until %(until)s.")
            if assessment.level == APPROVED
            else pgettext("trust", "Reviewed by %(bodies)s until %(until)s.")
        )
        return filled(
            text, bodies=named(known, known.passed_by), until=languages.day(assessment.until)
        )
    lapsed = sorted({lapse.body for lapse in assessment.lapsed})
    if lapsed:
        return filled(
            pgettext("trust", "What %(bodies)s said about it does not count any more."),
            bodies=named(known, lapsed),
        )
    return filled(pgettext("trust", "Nobody has reviewed it."))


def findings(known: Assurance) -> Iterator[Markup]:
    """How many are open, and how grave."""
    count = len(known.open_findings)
    if not count:
        yield filled(pgettext("trust", "No open finding counts against it."))
        return
    text = npgettext(
        "trust",
        "%(shown)s open finding counts against it.",
        "%(shown)s open findings count against it.",
        count,
        shown=languages.number(count),
    )
    yield filled(text.replace("%", "%%"))
    if known.gravest == "critical":
        yield filled(pgettext("trust", "The gravest is critical."))
    elif known.gravest == "high":
        yield filled(pgettext("trust", "The gravest is of high severity."))


def scans(known: Assurance) -> Markup:
    """When it was scanned, and how far that goes."""
    at = known.scanned_at
    if at is None:
        return filled(pgettext("trust", "Nobody has scanned it."))
    text = {
        "failed": pgettext(
            "trust", "A scan on %(when)s failed: what it would have found is not known."
        ),
        "stale": pgettext("trust", "It was last scanned on %(when)s, with knowledge too old."),
        NOT_SCANNED: pgettext("trust", "It was scanned on %(when)s, but not by every scanner."),
    }.get(known.scan_state, pgettext("trust", "It was scanned on %(when)s."))
    return filled(text, when=languages.day(at))


def named(known: Assurance, bodies: Sequence[str]) -> Markup:
    """Bodies by the names that people know, joined as the language joins them."""
    names = [str(bdi(known.body(each))) for each in bodies]
    return Markup(format_list(names, locale=languages.locale()))  # noqa: S704  # bdi escaped them


def filled(words: str, **values: Markup) -> Markup:
    """Words of a catalogue, which are ours, with values that are escaped already."""
    return Markup(words) % values  # noqa: S704
