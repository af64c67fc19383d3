"""The languages of the pages: which one somebody reads, and numbers, dates and sizes in it.

A page's language is in its address. Where the address names none, the cookie that remembers the
last choice decides, then what the browser asks for. A program that names no language gets English,
like everything else here that is for programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from babel import Locale
from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import Translations
from flask import g, request
from flask.sansio.app import App
from flask_babel import Babel, Domain
from markupsafe import Markup

LANGUAGES: Final = ("ar", "fr", "zgh", "en")
NAMES: Final = {"ar": "العربية", "fr": "Français", "zgh": "ⵜⴰⵎⴰⵣⵉⵖⵜ", "en": "English"}
RIGHT_TO_LEFT: Final = frozenset(("ar",))
COOKIE: Final = "lang"
FOLDER: Final = Path(__file__).parent / "translations"
# As they are written in Morocco: Arabic with the digits 0 to 9, English with the day first.
_LOCALES: Final = {"ar": "ar_MA", "fr": "fr_MA", "zgh": "zgh_MA", "en": "en_GB"}
# Where the Tamazight catalogue has no word yet, French stands in, as on other public forms.
_STANDS_IN: Final = {"zgh": "fr"}
_LATIN_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_UNITS: Final = {
    "ar": ("بايت", "كيلوبايت", "ميغابايت", "غيغابايت", "تيرابايت"),
    "fr": ("o", "ko", "Mo", "Go", "To"),
}


class _Catalogues(Domain):  # type: ignore[misc]
    """The catalogues, each compiled once, from the very files that translators edit: there is no
    compiled copy that could be missing or stale."""

    def get_translations(self) -> Translations:
        found: Translations = _catalogue(language())
        return found


@cache
def _catalogue(name: str) -> Translations:
    """The compiled catalogue of a language; what it lacks comes from the one that stands in."""
    with po_file(name).open("rb") as file:
        catalogue = read_po(file, locale=name)
    for message in list(catalogue):
        texts = message.string if isinstance(message.string, tuple | list) else (message.string,)
        if message.id and not any(texts):  # else plurals without words would be compiled as English
            catalogue.delete(message.id, message.context)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    found = Translations(compiled)
    if name in _STANDS_IN:
        found.add_fallback(_catalogue(_STANDS_IN[name]))
    return found


def po_file(name: str) -> Path:
    """Where the catalogue of a language is."""
    return FOLDER / name / "LC_MESSAGES" / "messages.po"


def install(app: App) -> None:
    """Gives the templates of ``app`` their words."""
    babel = Babel(app, locale_selector=locale)
    babel.domain_instance = _Catalogues()
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]
        gettext=lambda text: marked(_words().ugettext(text), None, text),
        ngettext=lambda one, many, n: marked(_words().ungettext(one, many, n), None, one),
        pgettext=lambda context, text: marked(_words().upgettext(context, text), context, text),
        npgettext=lambda context, one, many, n: marked(
            _words().unpgettext(context, one, many, n), context, one
        ),
        newstyle=True,
    )


def _words() -> Translations:
    return _catalogue(language())


def marked(words: str, context: str | None, source: str) -> str:
    """``words``, marked as French where French stands in for another language, so that they are
    read aloud as such (WCAG 2.2 §3.1.2). Never so in an attribute: see `docs/messages.py`."""
    name = language()
    if name not in _STANDS_IN or _has(name, context, source):
        return words
    return f'<span lang="{_STANDS_IN[name]}">{words}</span>'


@cache
def _has(name: str, context: str | None, source: str) -> bool:
    """Whether the catalogue of a language has words of its own for a message."""
    key = source if context is None else f"{context}\x04{source}"
    own: Mapping[Any, str] = _catalogue(name)._catalog
    return key in own or (key, 0) in own or (key, 1) in own


def language() -> str:
    """The language of this answer."""
    found: str | None = g.get("language")
    if found is None:
        found = g.language = _from_address() or preferred()
    return found


def use(chosen: str) -> None:
    """Makes ``chosen`` the language of this answer."""
    g.language = chosen


def preferred() -> str:
    """The language that the reader chose last, or that the browser asks for."""
    chosen = request.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return chosen
    asked = [value.lower() for value, quality in request.accept_languages if quality > 0]
    if not asked or asked == ["*"]:
        return "en"
    for value in asked:
        main = value.partition("-")[0]
        # Browsers know Tamazight by several codes; tzm, shi and rif are its varieties.
        main = "zgh" if main in ("tzm", "shi", "rif", "ber") else "ar" if main == "ary" else main
        if main in LANGUAGES:
            return main
    return "ar"


def direction() -> str:
    return "rtl" if language() in RIGHT_TO_LEFT else "ltr"


def _from_address() -> str | None:
    first = request.path.split("/", 2)[1]
    return first if first in LANGUAGES else None


def locale() -> Locale:
    """The locale of this answer, for numbers and dates."""
    return _locale_of(language())


@cache
def _locale_of(name: str) -> Locale:
    return Locale.parse(_LOCALES[name])


def number(value: int) -> str:
    return format_decimal(value, locale=locale())


def day(at: datetime | date) -> Markup:
    """The date, with its machine-readable form."""
    shown = format_date(at, format="long", locale=locale())
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), shown)


def plain_day(at: date) -> str:
    return format_date(at, format="medium", locale=locale())


def instant(at: datetime) -> Markup:
    """Date and time of day, in UTC."""
    comma = "،" if language() == "ar" else ","
    shown = f"{format_date(at, format='long', locale=locale())}{comma} {at:%H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), shown)


def month(at: date) -> str:
    return format_date(at, format="MMMM y", locale=locale())


def size(value: int) -> Markup:
    """``value`` in bytes as people read it; number and unit stay together in either direction."""
    units = _UNITS.get(language(), _LATIN_UNITS)
    amount = float(value)
    at = 0
    while amount >= 999.5 and at < len(units) - 1:
        amount, at = amount / 1000, at + 1
    digits = "0" if at == 0 or amount >= 99.95 else "0.#"
    shown = format_decimal(amount, format=digits, locale=locale())
    return Markup("<bdi>{}&nbsp;{}</bdi>").format(shown, units[at])
