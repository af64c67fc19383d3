"""Access tokens: 32 random bytes and a checksum behind a prefix that scanners recognise.

``forge_`` and 58 letters of RFC 4648 §6 base32 in lower case. The checksum (CRC-32) lets a
secret scanner tell a token from any other word, and lets the server refuse a mistyped one
without asking the database. Only the SHA-256 of a token is ever stored: with 256 random bits
there is nothing to guess, so no slow hash is needed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib

PREFIX = "forge_"
_RANDOM_BYTES = 32
_PATTERN = re.compile(r"forge_[a-z2-7]{58}")
# Looser on purpose: a token that was cut or miscopied is still a secret.
_LIKE_TOKEN = re.compile(r"forge_[A-Za-z2-7]{8,}")


def new_token(random_bytes: bytes) -> str:
    """The token for 32 ``random_bytes``."""
    if len(random_bytes) != _RANDOM_BYTES:
        raise ValueError(f"expected {_RANDOM_BYTES} random bytes, found {len(random_bytes)}")
    data = random_bytes + zlib.crc32(random_bytes).to_bytes(4, "big")
    return PREFIX + base64.b32encode(data).decode().rstrip("=").lower()


def is_well_formed(text: str) -> bool:
    """Whether ``text`` is a token: prefix, alphabet, length, checksum, and one spelling only."""
    if not _PATTERN.fullmatch(text):
        return False
    try:
        data = base64.b32decode(text.removeprefix(PREFIX).upper() + "======")
    except binascii.Error:
        return False
    return len(data) == _RANDOM_BYTES + 4 and new_token(data[:_RANDOM_BYTES]) == text


def token_digest(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def redact(text: str) -> str:
    """``text`` with everything that looks like a token blotted out."""
    return _LIKE_TOKEN.sub(f"{PREFIX}[redacted]", text)


def contains_token(text: str) -> bool:
    """Whether something in ``text`` looks like a token."""
    return _LIKE_TOKEN.search(text) is not None
