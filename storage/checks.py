"""Checks of arguments, made before any of them becomes part of a file name."""

from __future__ import annotations

import re

from .errors import InvalidArgumentError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")  # 255: NAME_MAX of every common file system
_MAX_PATH = 1024

# Where LocalPublishedTree writes before it publishes. Refused as a published name in every
# implementation, so that a tree can be copied from one to another.
TEMP_SEGMENT = ".tmp"


def is_digest(text: object) -> bool:
    """True for the 64 lower-case hexadecimal digits of a sha256."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def check_digest(digest: str) -> str:
    if not is_digest(digest):
        raise InvalidArgumentError(
            "digest-malformed",
            f"digest: expected 64 lower-case hexadecimal digits, found {_shown(digest)}",
        )
    return digest


def check_size(size: int) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidArgumentError(
            "size-malformed", f"size: expected a number of bytes, found {_shown(size)}"
        )
    return size


def check_start(start: int) -> int:
    if not isinstance(start, int) or isinstance(start, bool) or start < 0:
        raise InvalidArgumentError(
            "start-malformed", f"start: expected an offset in bytes, found {_shown(start)}"
        )
    return start


def check_published_path(path: str) -> str:
    """`path` when it is a relative name of `[A-Za-z0-9._-]` segments joined by `/`.

    This refuses `..`, `.`, absolute and empty names, NUL, backslash, `%2e` and everything
    that is not ASCII, whatever the file system would make of it.
    """
    if not isinstance(path, str) or len(path) > _MAX_PATH:
        raise _path_error(path, f"a text of at most {_MAX_PATH} characters")
    segments = path.split("/")
    for segment in segments:
        if segment in (".", "..") or not _SEGMENT.fullmatch(segment):
            raise _path_error(path, "segments of A-Z a-z 0-9 . _ - joined by single slashes")
    if segments[0] == TEMP_SEGMENT:
        raise _path_error(path, f"a first segment other than the reserved {TEMP_SEGMENT}")
    return path


def _path_error(path: object, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "path-malformed", f"published path: expected {expected}, found {_shown(path)}"
    )


def _shown(value: object) -> str:
    """A short printable form: the value may be hostile, endless or full of control codes."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
