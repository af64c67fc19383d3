"""The two codes of a login that is approved on another machine (RFC 8628 §3.2).

The device code is a secret of 256 bits that only the program that logs in ever sees. The user code
is for people: eight consonants, which spell no word and are not taken for each other or for digits
(§6.1). 20^8 codes and few minutes are enough against guessing where attempts are counted.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from ..errors import RegistryError

ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
_USER_CODE_CHARS: Final = 8
_DEVICE_CODE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
# Beyond this a byte would make the first letters likelier than the others.
_FAIR: Final = 256 - 256 % len(ALPHABET)
# The name of a machine, and no sentence that talks anybody into approving.
_DEVICE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def new_device_code(random_bytes: bytes) -> str:
    """The device code for 32 random bytes."""
    return base64.urlsafe_b64encode(random_bytes).decode().rstrip("=")


def device_digest(code: str) -> str | None:
    """What is stored of a device code; None where it is none."""
    if not _DEVICE_CODE.fullmatch(code):
        return None
    return hashlib.sha256(code.encode()).hexdigest()


def user_code_of(random_bytes: bytes) -> str | None:
    """A user code from random bytes; None where too few of them were usable."""
    letters = [ALPHABET[byte % len(ALPHABET)] for byte in random_bytes if byte < _FAIR]
    return "".join(letters[:_USER_CODE_CHARS]) if len(letters) >= _USER_CODE_CHARS else None


def parse_user_code(text: str) -> str | None:
    """``text`` as somebody typed it: any case, with or without hyphen or spaces (§6.1). None where
    it is no user code."""
    letters = "".join(text.split()).replace("-", "").upper()
    if len(letters) != _USER_CODE_CHARS or not set(letters) <= set(ALPHABET):
        return None
    return letters


def shown_user_code(code: str) -> str:
    """The code as people read it: ``WDJB-MJHT``."""
    return f"{code[:4]}-{code[4:]}"


def parse_device(text: str | None) -> str | None:
    """The name of the machine that asks.

    Raises:
        RegistryError: it is no name of a machine (``malformed``).
    """
    if text is None or not text:
        return None
    if not _DEVICE.fullmatch(text):
        raise RegistryError(
            "malformed",
            f"request: device_name: expected the name of a machine (letters, digits and inner . _ "
            f"-, at most 63), found {text!r:.80}",
        )
    return text
