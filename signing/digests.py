"""SHA-256, the only digest of this project, as 64 lower-case hexadecimal digits."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from .errors import MalformedError

BUFFER_BYTES = 1024 * 1024
_HEX = re.compile(r"[0-9a-f]{64}")


class Readable(Protocol):
    """Anything with ``readinto``: a file opened unbuffered, a BytesIO."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


def sha256_hex(data: bytes) -> str:
    """The digest of ``data``."""
    return hashlib.sha256(data).hexdigest()


def parse_digest(text: object, where: str) -> str:
    """``text`` if it is a SHA-256 in lower-case hexadecimal.

    Raises:
        MalformedError: it is anything else. Upper case too: one digest has one spelling.
    """
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise MalformedError(where, "64 lower-case hexadecimal digits (SHA-256)", text)
    return text


def hash_stream(stream: Readable) -> tuple[int, str]:
    """``(size in bytes, digest)`` of all that is left in ``stream``; constant memory."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(BUFFER_BYTES))
    size = 0
    while count := stream.readinto(buffer):
        hasher.update(buffer[:count])
        size += count
    return size, hasher.hexdigest()


def fingerprint(root: bytes) -> str:
    """What people compare over another channel: ``sha256:`` and the digest of ``1.root.json``."""
    return f"sha256:{sha256_hex(root)}"


def parse_fingerprint(text: str, where: str = "fingerprint") -> str:
    """``text`` in its full form. Spaces and colons that help the eye are let through.

    Raises:
        MalformedError: not a whole SHA-256; a shortened one would be easy to forge.
    """
    plain = re.sub(r"[\s:]", "", text.strip().lower().removeprefix("sha256:"))
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise MalformedError(where, "sha256: and 64 hexadecimal digits", repr(text.strip()))
    return f"sha256:{plain}"
