"""Cards: Markdown that a publisher wrote, as HTML that can do nothing but be read.

Three fences, each enough by itself: HTML in the text is shown as text, what the renderer makes is
cleaned against a list of what may remain, and the page's Content-Security-Policy lets nothing else
run or load. Images come from the release itself or not at all; a link leads to the web or into the
release.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from ..domain.text import harmless

MAX_BYTES: Final = 200_000
IMAGE_TYPES: Final[Mapping[str, str]] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}
_TAGS: Final = frozenset(
    (
        *("a", "blockquote", "br", "code", "em", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li"),
        *("ol", "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    )
)
_ATTRIBUTES: Final = {
    "a": {"href"},
    "img": {"src", "alt"},
    "ol": {"start"},
}
_MAX_NESTING: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where paths of the release lead: ``image`` and ``file`` give an address, or None where the
    release holds no such thing. ``folder`` is the card's own."""

    folder: str
    image: Callable[[str], str | None]
    file: Callable[[str], str | None]


def paths_in(text: str) -> set[str]:
    """Every path of the release that a card may refer to, as written."""
    found: set[str] = set()
    for token in _parser().parse(_plain(text)):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if isinstance(target, str) and (path := _path(target)) is not None:
                found.add(path)
    return found


def render(text: str, places: Places) -> Markup:
    """``text`` as HTML that is safe to put into a page. Its headings begin at the second level."""
    parser = _parser()
    tokens = parser.parse(_plain(text))
    for token in tokens:
        _adapt(token)
        token.children = _children(token.children or [], places) if token.children else None
    html = parser.renderer.render(tokens, parser.options, {})
    cleaned = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes={"https", "http", "mailto"},
        link_rel="nofollow noopener noreferrer ugc",
    )
    # On a narrow screen a table moves sideways by itself, by keyboard too. The cleaned tag has no
    # attributes, and no text can look like it.
    cleaned = cleaned.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    return Markup(cleaned.replace("</table>", "</table></div>"))  # noqa: S704


@cache  # it keeps nothing of what it reads
def _parser() -> MarkdownIt:
    options = {"html": False, "linkify": False, "typographer": False, "maxNesting": _MAX_NESTING}
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough"])


def _plain(text: str) -> str:
    """The text without what drives terminals or turns its direction; lines and tabs stay."""
    return "\n".join(harmless(line.replace("\t", "    ")) for line in text.splitlines())


def _adapt(token: Token) -> None:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    token.attrs.pop("style", None)  # the alignment of a table's column


def _children(children: list[Token], places: Places) -> list[Token]:
    """Inline tokens with every address replaced by one that may be followed."""
    kept: list[Token] = []
    refused = 0
    for token in children:
        if token.type == "image":
            kept.append(_image(token, places))
        elif token.type == "link_open":
            href = _link(str(token.attrs.get("href", "")), places)
            if href is None:
                refused += 1
                continue
            token.attrs["href"] = href
            kept.append(token)
        elif token.type == "link_close" and refused:
            refused -= 1
        else:
            kept.append(token)
    return kept


def _image(token: Token, places: Places) -> Token:
    path = _path(str(token.attrs.get("src", "")))
    inside = None if path is None else _inside(path, places.folder)
    source = None if inside is None else places.image(inside)
    if source is None:
        words = Token("text", "", 0)
        words.content = token.content  # its alternative text
        return words
    token.attrs["src"] = source
    return token


def _link(href: str, places: Places) -> str | None:
    try:
        parts = urlsplit(href)
    except ValueError:
        return None
    if (parts.scheme in ("http", "https") and parts.netloc) or parts.scheme == "mailto":
        return href
    path = _path(href)
    inside = None if path is None else _inside(path, places.folder)
    return None if inside is None else places.file(inside)


def _path(target: str) -> str | None:
    """The relative path that ``target`` is, if it is one."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not parts.path or target.startswith(("/", "\\")):
        return None
    return unquote(parts.path)


def _inside(path: str, folder: str) -> str | None:
    """``path`` from the root of the release; None when it leads out of it."""
    whole = posixpath.normpath(posixpath.join(folder, path))
    return None if whole.startswith(("../", "/")) or whole == ".." else whole


def image_type(path: str, data: bytes) -> str | None:
    """The media type of an image, where the name and the first bytes agree on it."""
    begins = {
        "image/png": b"\x89PNG\r\n\x1a\n",
        "image/jpeg": b"\xff\xd8\xff",
        "image/gif": b"GIF8",
        "image/webp": b"RIFF",
    }
    kind = IMAGE_TYPES.get(path.rpartition(".")[2].lower())
    return kind if kind is not None and data.startswith(begins[kind]) else None
