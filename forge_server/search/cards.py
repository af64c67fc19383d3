"""What a component's card says at its top, in each language that it is written in. Pure.

The card is Markdown, or what a publisher takes for it; here it is read for its first heading and
its first paragraph alone, as plain text. Nothing of it is ever shown as markup from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from signing.encoding import is_plain

MAX_CARD_BYTES: Final = 64 * 1024
LANGUAGES: Final = ("ar", "fr", "zgh", "en")
_MAX_TITLE: Final = 120
_MAX_SUMMARY: Final = 300
_FRONT_MATTER: Final = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_MARKUP: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]{0,200}>|[*_`]{1,3}")
_FENCES: Final = ("```", "~~~")
_NO_TEXT: Final = ("#", "|", ">", "```", "~~~", "- ", "* ", "+ ", "<", "![", "[![")


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """The first heading and the first paragraph; None where there is none that can be shown."""

    title: str | None
    summary: str | None


def translations(card: str) -> Mapping[str, str]:
    """``{language: path}`` where translations of ``card`` would be."""
    path = PurePosixPath(card)
    return {each: str(path.with_name(f"{path.stem}.{each}{path.suffix}")) for each in LANGUAGES}


def top_of(data: bytes) -> Top:
    """The top of a card, of which ``data`` is at least the beginning."""
    text = data.decode("utf-8", "replace").lstrip("\ufeff").replace("\r\n", "\n")
    text = _FRONT_MATTER.sub("", text)
    title: str | None = None
    paragraph: list[str] = []
    fenced = False
    for line in (each.strip() for each in text.split("\n")):
        fenced ^= line.startswith(_FENCES)
        if fenced:
            continue
        if line.startswith("# ") and title is None:
            title = line[2:].rstrip("# ")
        elif paragraph and not line:
            break
        elif line and not line.startswith(_NO_TEXT) and not set(line) <= set("-=*_ "):
            paragraph.append(line)
        elif paragraph:
            break
    return Top(
        title=_shown(title or "", _MAX_TITLE), summary=_shown(" ".join(paragraph), _MAX_SUMMARY)
    )


def _shown(text: str, most: int) -> str | None:
    plain = " ".join(_MARKUP.sub(r"\1", text[: 4 * most]).split())
    if len(plain) > most:
        plain = plain[: most - 1].rsplit(" ", 1)[0] + "…"
    return plain if plain and is_plain(plain) else None
