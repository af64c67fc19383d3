"""What a publisher may say about a finding, and which of it settles one once it is verified."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from signing.encoding import is_plain
from signing.errors import MalformedError

TYPES: Final = (
    "false-positive",
    "mitigated",
    "not-affected",
    "no-fix-available",
    "wont-fix",
    "pending",
)
SETTLING: Final = frozenset(("false-positive", "mitigated", "not-affected"))
"""A finding that is answered so, and verified, is no longer open. The others only inform."""
VERIFIED: Final = "verified"
REJECTED: Final = "rejected"
VERDICTS: Final = (VERIFIED, REJECTED)
MAX_TEXT: Final = 4000
MAX_LINKS: Final = 10


def check_answer(type_: str, text: str, links: tuple[str, ...]) -> None:
    """Raises MalformedError unless a publisher may answer so."""
    if type_ not in TYPES:
        raise MalformedError("request: type", f"one of {', '.join(TYPES)}", repr(type_)[:60])
    check_text(text, "request: text")
    if len(links) > MAX_LINKS:
        raise MalformedError("request: links", f"at most {MAX_LINKS}", len(links))
    for at, link in enumerate(links):
        check_link(link, f"request: links[{at}]")


def check_text(text: str, where: str) -> None:
    """Raises MalformedError unless ``text`` says something, in plain characters."""
    if not text.strip() or len(text) > MAX_TEXT or not is_plain(text, many_lines=True):
        raise MalformedError(
            where, f"1 to {MAX_TEXT} characters of plain text", f"{len(text)} characters"
        )


def check_link(link: str, where: str) -> None:
    """Raises MalformedError unless ``link`` is an address that a page may lead to."""
    try:
        parts = urlsplit(link)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        sound = False
    if not sound or len(link) > 500 or not link.isascii() or not link.isprintable() or " " in link:
        raise MalformedError(where, "an http or https address", repr(link)[:80])
