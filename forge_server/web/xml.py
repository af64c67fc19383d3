"""Small XML documents out of strangers' words: Atom, sitemaps, OpenSearch, SVG."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from ..domain.text import harmless

_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'


def text(value: object) -> str:
    """``value`` as text between tags: what XML has no place for, and what would turn the direction
    of the text around it, is shown instead of obeyed."""
    return escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", harmless(str(value))))


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; ``content`` is XML already. In the names of ``attributes`` two underscores stand
    for a colon, and one for a hyphen."""
    shown = "".join(
        f" {key.replace('__', ':').replace('_', '-')}={quoteattr(_NO_XML.sub('', str(value)))}"
        for key, value in attributes.items()
    )
    return f"<{name}{shown}>{content}</{name}>" if content else f"<{name}{shown}/>"


def leaf(name: str, value: object, /, **attributes: object) -> str:
    """An element with a text in it."""
    return element(name, text(value), **attributes)


def document(name: str, parts: Iterable[str], /, **attributes: object) -> bytes:
    """A whole document with the root element ``name``."""
    return (DECLARATION + element(name, "".join(parts), **attributes) + "\n").encode()
