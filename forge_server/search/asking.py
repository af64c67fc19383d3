"""From what somebody typed to the patterns that are looked up, and what each is worth. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .documents import FOREIGN, LATIN_SOUND, NAME, TEXT, WHOLE
from .engine import Pattern
from .folding import LATIN, folded, split, stem
from .sounds import is_arabizi, sound
from .vocabulary import NOTHING_SAID

MAX_WORDS: Final = 8
IS_NAME, IN_NAME, NAME_BEGINS, IN_TEXT, TEXT_BEGINS, SOUNDS, IS_NEAR = 13, 12, 8, 6, 3, 2, 1
_SHORTEST_NEAR: Final = 4


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a question: its stem, and ``{pattern: points}`` of what matches it."""

    stem: str
    patterns: Mapping[Pattern, int]

    @property
    def may_be_mistyped(self) -> bool:
        return len(self.stem) >= _SHORTEST_NEAR


def words_of(text: str) -> list[Word]:
    """The words of a question that count."""
    found = dict.fromkeys(split(text))
    telling = [each for each in found if each[0] not in NOTHING_SAID] or list(found)
    return [_word(*each) for each in telling[:MAX_WORDS]]


def _word(word: str, script: str) -> Word:
    own = stem(word)
    patterns = {
        Pattern(WHOLE + own): IS_NAME, Pattern(NAME + own): IN_NAME, Pattern(TEXT + own): IN_TEXT
    }  # fmt: skip
    if len(own) >= 2:
        patterns[Pattern(NAME + own, True, NAME + own)] = NAME_BEGINS
    if len(own) >= 3:
        patterns[Pattern(TEXT + own, True, TEXT + own)] = TEXT_BEGINS
    for heard in _heard(word, script):
        patterns[Pattern(FOREIGN + heard, False, TEXT + own)] = SOUNDS
        if script != LATIN or is_arabizi(word):
            patterns[Pattern(LATIN_SOUND + heard, False, TEXT + own)] = SOUNDS
    return Word(own, patterns)


def _heard(word: str, script: str) -> set[str]:
    """How a word sounds; a ta marbuta that is heard before another word (wizarat) is not written
    as a t in Arabic."""
    spoken = {sound(word, script)}
    if script == LATIN and word.endswith("at"):
        spoken.add(sound(word[:-1], script))
    return {each for each in spoken if each is not None}


def name_asked(text: str) -> tuple[str, str]:
    """(name, ``org/name``) that ``text`` would be: ``Darija LID`` is ``darija-lid``."""
    organisation, slash, name = text.strip().partition("/")
    if not slash:
        plain = "-".join(folded(text).split())
        return plain, ""
    return "", "/".join("-".join(folded(part).split()) for part in (organisation, name))


def near_patterns(words: Iterable[str]) -> dict[Pattern, int]:
    """What finds the components that hold one of these words instead of a mistyped one."""
    points = {WHOLE: IS_NEAR + 1, NAME: IS_NEAR, TEXT: IS_NEAR}
    return {Pattern(kind + word): each for word in words for kind, each in points.items()}


def nearest(word: str, candidates: Iterable[str], most: int = 4) -> list[str]:
    """Those of ``candidates`` that are one slip of the finger from ``word``, or two where it is
    long; the nearest alone."""
    allowed = 1 if len(word) < 6 else 2
    found: dict[int, list[str]] = {}
    for each in candidates:
        slips = distance(word, each, allowed)
        if slips <= allowed:
            found.setdefault(slips, []).append(each)
    return found[min(found)][:most] if found else []


def distance(one: str, other: str, most: int) -> int:
    """How many letters must be put in, left out, exchanged or swapped with their neighbour to make
    the one of the other; anything above ``most`` when it is more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        last, before, row = before, row, [at]
        for to, wanted in enumerate(other, start=1):
            cost = min(before[to] + 1, row[to - 1] + 1, before[to - 1] + (letter != wanted))
            if at > 1 and to > 1 and letter == other[to - 2] and one[at - 2] == wanted:
                cost = min(cost, last[to - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
