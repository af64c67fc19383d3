"""From text to words that compare equal where people mean the same word.

What is folded: case, accents and Arabic vowel signs, tatweel, the forms of hamza and alef, alef
maqsura and ya, ta marbuta and ha, Persian letters of Arabic keyboards, letters of Darija, digits
of all scripts, Tifinagh into Latin by IRCAM's table, the Greek-looking letters of Latin Tamazight.
Of Arabic words the article, of Latin ones the ending of a plural is left out. Both the documents
and the question go through here, so a rule may be crude, as long as it is the same for both.

Every word that comes out consists of letters and digits alone, so none of them means anything to
the language that a database reads questions in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

MAX_WORD: Final = 40
_REMEMBERED: Final = 20_000  # words; the common ones come again and again
ARABIC, TIFINAGH, LATIN, OTHER = "arabic", "tifinagh", "latin", "other"

# IRCAM's transliteration, its dotted letters without their dots, which are folded away as accents.
_TIFINAGH: Final = {
    **dict(zip("ⴰⴱⴲⴳⴴⴷⴸⴹⴺⴻⴼⴽⴾⴿⵀⵁⵂⵃⵄ", "abbggddddefkkkhhhhe", strict=True)),
    **dict(zip("ⵅⵆⵇⵈⵉⵊⵋⵌⵍⵎⵏⵒⵓⵔⵕⵙⵚⵛⵜⵝⵟ", "xxqqijjjlmnpurrsscttt", strict=True)),
    **dict(zip("ⵠⵡⵢⵣⵤⵥⵦⵧ", "vwyzzzeo", strict=True)),
    "ⵖ": "gh", "ⵗ": "gh", "ⵘ": "gh", "ⴵ": "dj", "ⴶ": "dj", "ⵐ": "ny", "ⵞ": "tc", "ⵯ": "", "⵿": "",
}  # fmt: skip
_ARABIC: Final = {
    "ٱ": "ا", "ى": "ي", "ی": "ي", "ې": "ي", "ة": "ه", "ۃ": "ه", "ہ": "ه", "ھ": "ه", "ە": "ه",
    "ک": "ك", "گ": "ك", "ڭ": "ك", "ݣ": "ك", "ڤ": "ف", "ڥ": "ف", "ڢ": "ف", "پ": "ب", "چ": "ج",
    "ڨ": "ق", "ژ": "ز", "ء": "", "ـ": "",
}  # fmt: skip
_LATIN: Final = {
    "ɣ": "gh", "γ": "gh", "ɛ": "e", "ε": "e", "ʷ": "", "ᵂ": "", "œ": "oe", "æ": "ae", "ø": "o",
    "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "ı": "i", "ʕ": "", "ʔ": "",
    "ʿ": "", "ʾ": "", "ʻ": "", "ʼ": "",
}  # fmt: skip
_HAS_TIFINAGH: Final = re.compile("[\u2d30-\u2d7f]")
_ONE_BY_ONE: Final = str.maketrans(_TIFINAGH | _ARABIC | _LATIN)
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_ARTICLES: Final = re.compile(r"^(?:[وف]?[بك]?ال|[وف]?لل)(?=.{3})")
_ARABIC_ENDINGS: Final = re.compile(r"(?<=.{3})(?:ات|ه)$|(?<=.{4})(?:ون|ين)$")
_PARTICLE: Final = re.compile(r"[ولب](?!ال|لل)[\u0600-\u08ff]{4}")
_LATIN_PLURAL: Final = re.compile(r"(?<=[a-z]{3}[^isu])[sx]$")


def folded(text: str) -> str:
    """``text`` in the form in which its words are compared; other characters became spaces."""
    if text.isascii():
        return _NOT_PLAIN.sub(" ", text.lower())
    # Before the compatibility form, which would make letters of their own of raised ones.
    text = text.casefold().translate(_ONE_BY_ONE)
    text = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(_plain(text)).translate(_ONE_BY_ONE)


def _plain(text: str) -> Iterator[str]:
    for each in text:
        category = unicodedata.category(each)
        if category == "Nd":
            yield str(unicodedata.digit(each))
        elif category[0] in "LN":
            yield each
        elif category[0] != "M" and category != "Cf":  # signs and joiners are within a word
            yield " "


def split(text: str) -> Iterator[tuple[str, str]]:
    """The words of ``text`` with their script, in order: ``(folded word, script)``."""
    for part in text.split():
        yield from _words(part)


@lru_cache(maxsize=_REMEMBERED)
def _words(part: str) -> tuple[tuple[str, str], ...]:
    # Tifinagh is Latin once it is folded; the others are still what they were.
    latin = TIFINAGH if _HAS_TIFINAGH.search(part) else LATIN
    words = [(word, script_of(word)) for word in folded(part).split()]
    return tuple((word[:MAX_WORD], latin if script == LATIN else script) for word, script in words)


def script_of(word: str) -> str:
    """The script of the first letter in a folded word."""
    for each in word:
        if "\u0600" <= each <= "\u08ff":
            return ARABIC
        if each.isalpha():
            return LATIN if each < "\u0250" else OTHER
    return OTHER


def bare(word: str) -> str:
    """A folded word without the Arabic article, where three letters stay."""
    return _ARTICLES.sub("", word)


def without_particle(word: str) -> Iterator[str]:
    """What a long Arabic word may be after "and", "for" or "with", which are written as a part of
    it; only a dictionary would know, so a document is found under both."""
    if _PARTICLE.match(word):
        yield word[1:]


@lru_cache(maxsize=_REMEMBERED)
def stem(word: str) -> str:
    """A folded word without its article and the commonest endings, where three letters stay."""
    if script_of(word) == ARABIC:
        return _ARABIC_ENDINGS.sub("", bare(word))
    single = _LATIN_PLURAL.sub("", word)
    # So that the French word and the English one meet: modèle, model.
    return single[:-1] if single.endswith("e") and len(single) > 4 else single
