"""A badge, and the QR code of a release's digest, as SVG. Pure.

A badge says what is so on a day and where the evidence is; it is a link to that page where the SVG
is a document of its own. There is none for "nothing known": a release that is only signed says that
it is signed. Without a font of ours the width of letters is a guess, which ``textLength`` holds.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import segno

from ..search.folding import ARABIC, script_of
from .xml import element, leaf

_COLOURS: Final = {
    "good": "#1b5e3f", "reviewed": "#1b5e3f", "approved": "#1b5e3f", "rejected": "#a11616",
    "yanked": "#8a5a00", "expired": "#8a5a00", "quarantined": "#a11616", "deprecated": "#8a5a00",
    "revoked": "#a11616", "held": "#a11616", "removed": "#a11616",
}  # fmt: skip
_BETWEEN: Final = " · "
_HEIGHT: Final = 20
_LETTER: Final = 6.6
_PADDING: Final = 8
_SVG: Final = "http://www.w3.org/2000/svg"


def badge(
    *, left: str, right: Sequence[str], state: str, evidence: str, direction: str = "ltr"
) -> bytes:
    """``left`` names the component, the parts of ``right`` say what is so and since when;
    ``evidence`` is the address of the page that shows it."""
    first, second = _width(left), _width(_BETWEEN.join(right))
    label = f"{left}: {_BETWEEN.join(right)}"
    boxes = element("rect", width=first, height=_HEIGHT, fill="#3b4248") + element(
        "rect", x=first, width=second, height=_HEIGHT, fill=_COLOURS[state]
    )
    words = _words([left], 0, first) + _words(right, first, second)
    inside = leaf("title", label) + element("a", boxes + words, href=evidence, target="_top")
    return element(
        "svg", inside, xmlns=_SVG, width=first + second, height=_HEIGHT, role="img",
        aria_label=label, direction=direction,
    ).encode()  # fmt: skip


def _width(words: str) -> int:
    return round(len(words) * _LETTER) + 2 * _PADDING


def _words(parts: Sequence[str], start: int, width: int) -> str:
    # Each part by itself: beside Arabic a date would be read backwards.
    shown = _BETWEEN.join(
        leaf(
            "tspan", part, unicode_bidi="isolate",
            direction="rtl" if script_of(part) == ARABIC else "ltr",
        )
        for part in parts
    )  # fmt: skip
    return element(
        "text", shown, x=start + width // 2, y=14, fill="#fff", text_anchor="middle",
        font_family="Verdana,DejaVu Sans,sans-serif", font_size=11,
        textLength=width - 2 * _PADDING,
    )  # fmt: skip


def qr_code(words: str) -> bytes:
    """The QR code of ``words``, with room for a quarter of it to be unreadable."""
    out = io.BytesIO()
    segno.make(words, micro=False, error="q", boost_error=False).save(
        out, kind="svg", scale=4, border=4, dark="#000", light="#fff", title=words, xmldecl=False,
        svgclass=None, lineclass=None,
    )  # fmt: skip
    return out.getvalue()
