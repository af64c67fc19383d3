"""Making text from strangers harmless where it is shown.

Control characters drive terminals and split log lines; bidirectional overrides make a reader
see another order than the bytes have (Unicode TR 36 §3). Letters of every script stay.
"""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff") | frozenset(
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xFFF9, 0xFFFC))
)
_CONTROL = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff{''.join(sorted(_INVISIBLE))}]")


def harmless(text: str) -> str:
    """``text`` with control characters and bidirectional overrides shown as U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\ufffd" if char in _INVISIBLE or unicodedata.category(char) in ("Cc", "Cs") else char
        for char in text
    )


def one_log_line(text: str) -> str:
    """``text`` on one line, with control characters and bidirectional overrides spelled out as
    escapes."""
    return _CONTROL.sub(lambda match: ascii(match.group())[1:-1], text)
