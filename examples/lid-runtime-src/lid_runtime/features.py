"""From a text to the features of a model: normalised words, then hashed character n-grams.

Training and use must agree on every step to the letter; both call `features`.

Normalisation ``words-v1``: case folding, then Unicode NFKC (which also undoes Arabic
presentation forms and turns the labialisation marks ``ʷ`` and ``ⵯ`` into plain letters); marks
such as Arabic vowel signs and the tatweel are dropped. What is left are words of letters in the
known scripts. Digits inside a word stay: in ``sba7`` and ``3afak`` they are letters. A number
alone says nothing about the language and is dropped, and so are other scripts.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from math import sqrt
from zlib import crc32

NORMALISATION = "words-v1"
HASH = "crc32-utf8"
SCRIPTS = ("ARABIC", "LATIN", "TIFINAGH")

_TATWEEL = "\u0640"


def words(text: str) -> list[str]:
    """The normalised words of ``text``; none when it has no letter of a known script."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    kept = "".join(map(_keep, folded))
    return [word for word in kept.split() if not word.isdigit()]


def features(text: str, *, min_n: int, max_n: int, buckets: int) -> dict[int, float]:
    """Hashed n-grams of ``text``: ``{bucket: weight}``, a vector of length one.

    An n-gram never reaches over a word's edge, but sees it: each word stands between spaces.
    Empty when `words` finds none.
    """
    counts: Counter[int] = Counter()
    for word in words(text):
        padded = f" {word} "
        for n in range(min_n, max_n + 1):
            for start in range(len(padded) - n + 1):
                gram = padded[start : start + n]
                if gram != " ":
                    counts[crc32(gram.encode("utf-8")) % buckets] += 1
    length = sqrt(sum(count * count for count in counts.values()))
    return {bucket: count / length for bucket, count in counts.items()}


@lru_cache(maxsize=4096)
def _keep(char: str) -> str:
    """``char`` where it belongs to a word, nothing for a mark, a space for anything else."""
    category = unicodedata.category(char)
    if category == "Mn" or char == _TATWEEL:
        return ""
    if category.startswith("L") and unicodedata.name(char, "").startswith(SCRIPTS):
        return char
    return char if char in "0123456789" else " "
