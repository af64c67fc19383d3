"""From a word in any script to the consonants that one hears: how scripts meet.

سلام, "salam" and "slam" are ``slm``; ⵜⴰⵛⵍⵃⵉⵜ and "tachelhit" are ``tclht``, where ``c`` is what
English writes sh; حكومة and Arabizi "7okouma" are ``hkm``. Vowels go, because one script writes
them and the other does not, and so do hamza and ayn, which Latin spelling leaves out as often as
not. Letters that are one for a reader of the other script become one. Much is lost, so a word that
was found by its sound comes after every other.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .folding import ARABIC, LATIN, TIFINAGH, bare

_SHORTEST: Final = 3
_CONSONANTS: Final = {
    **dict(zip("بتثجحخدذرزسشصضطظغفقكلمنه", "bttjhxddrzsCsdtzGfkklmnh", strict=True)),
}
_GROUPS: Final = re.compile(r"tch|tc|ch|sh|kh|gh|th|dh|dj|ph|ck|qu|ou")
_SOUND_OF_GROUP: Final = {
    "tch": "C", "tc": "C", "ch": "C", "sh": "C", "kh": "x", "gh": "G", "th": "t", "dh": "d",
    "dj": "j", "ph": "f", "ck": "k", "qu": "k", "ou": "u",
}  # fmt: skip
_SOFT_C: Final = re.compile(r"c(?=[eiy])")
_LETTERS: Final = str.maketrans({"c": "k", "q": "k", "g": "k", "v": "f", "p": "b"})
# Arabizi: the digit that looks like the letter.
_ARABIZI: Final = str.maketrans(
    {"2": "", "3": "", "5": "x", "6": "t", "7": "h", "8": "h", "9": "k"}
)
_IS_ARABIZI: Final = re.compile(r"(?=.*[a-z])(?=.*[2356789])[a-z2356789]+")
_FIRST_U: Final = re.compile(r"^u(?=[aeiou])")
_NOT_HEARD: Final = re.compile(r"(?<!^)[wy]|[aeiou0-9]")
_TWICE: Final = re.compile(r"(.)\1+")
_LAST_H: Final = re.compile(r"(?<=..)h$")


@lru_cache(maxsize=20_000)
def sound(word: str, script: str) -> str | None:
    """The consonants of a folded word of ``script``; None where too few are left to mean anything.

    Two are enough where the word was written to be heard: in Arabizi, or in a script that writes
    consonants anyway.
    """
    arabizi = script == LATIN and is_arabizi(word)
    if script == ARABIC:
        heard = _of_arabic(bare(word))
    elif script in (LATIN, TIFINAGH):
        heard = _of_latin(word.translate(_ARABIZI) if arabizi else word, script)
    else:
        return None
    least = _SHORTEST if script == LATIN and not arabizi else 2
    return heard.lower() if len(heard) >= least else None


def is_arabizi(word: str) -> bool:
    """Whether digits stand for letters in ``word``, or could."""
    return _IS_ARABIZI.fullmatch(word) is not None


def _of_arabic(word: str) -> str:
    # A waw or ya at the beginning is a consonant; elsewhere it may as well be a vowel.
    first = {"و": "w", "ي": "y"}.get(word[:1], "")
    return _LAST_H.sub("", first + "".join(_CONSONANTS.get(each, "") for each in word))


def _of_latin(word: str, script: str) -> str:
    if script == TIFINAGH:
        word = word.replace("tc", "C").replace("c", "C")
    word = _TWICE.sub(r"\1", word)
    word = _GROUPS.sub(lambda found: _SOUND_OF_GROUP[found.group()], word)
    word = _SOFT_C.sub("s", word).translate(_LETTERS)
    word = _FIRST_U.sub("w", word)
    return _LAST_H.sub("", _NOT_HEARD.sub("", word))
