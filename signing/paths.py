"""Paths inside a component: what every filesystem, archive and URL reads as the same place.

A path is accepted only where it can mean nothing but itself: relative, already normalised
(NFC), no name that Windows, a URL decoder or a terminal would read differently, and no second
path in the same tree that a case-folding or normalising filesystem would put in its place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .errors import MalformedError

MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255  # NAME_MAX of every common filesystem, in bytes of UTF-8
MAX_SEGMENTS = 32

_FORBIDDEN_CHARACTERS = '\\:*?"<>|#'  # not portable, or a drive letter, a stream, part of a URL
_PERCENT = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)  # any: %252e is two dots, twice decoded
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{name}{n}" for name in ("com", "lpt") for n in "0123456789¹²³"]
)
# Format characters reorder or hide text (tags, soft hyphens, direction marks), but for those
# that Arabic-script spelling needs (ZWNJ, ZWJ) and the signs that stand under Arabic numbers.
_HARMLESS_FORMATS = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u08e2")
_BLANKS = frozenset("\u034f\u115f\u1160\u3164\uffa0")  # letters by category, seen by nobody
_REFUSED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Not seen, yet harmless where nothing else differs: joiners and variation selectors (emoji).
_UNSEEN = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def check_path(path: object, where: str) -> str:
    """``path`` if it is a safe relative POSIX path of a file in a component.

    Raises:
        MalformedError: it could mean another place than it says, here or elsewhere. Top-level
            names that begin with ``.git`` are refused too: stock OMS verifiers skip them, so
            what lies there would be covered by no signature.
    """
    if not isinstance(path, str) or not path:
        raise MalformedError(where, "a relative path", path)
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        raise MalformedError(where, "Unicode text", path) from None
    if size > MAX_PATH_BYTES:
        raise MalformedError(where, f"a path of at most {MAX_PATH_BYTES} bytes", f"{size} bytes")
    if path != unicodedata.normalize("NFC", path):
        raise MalformedError(where, "a path in Unicode form NFC", path)
    if _PERCENT.search(path):
        raise MalformedError(where, "a path without percent-encodings", path)
    segments = path.split("/")
    if len(segments) > MAX_SEGMENTS:
        raise MalformedError(where, f"at most {MAX_SEGMENTS} folders deep", len(segments))
    for segment in segments:
        _check_segment(segment, path, where)
    if _UNSEEN.sub("", segments[0]).casefold().startswith(".git"):  # HFS+ ignores joiners
        raise MalformedError(where, "no top-level name that begins with .git", path)
    return path


def _check_segment(segment: str, path: str, where: str) -> None:
    if segment in ("", ".", ".."):
        raise MalformedError(where, "a relative path without empty, . or .. parts", path)
    if len(segment.encode("utf-8")) > MAX_SEGMENT_BYTES:
        raise MalformedError(where, f"names of at most {MAX_SEGMENT_BYTES} bytes", path)
    for char in segment:
        if char in _FORBIDDEN_CHARACTERS:
            raise MalformedError(where, f"a path without {_FORBIDDEN_CHARACTERS}", path)
        if char in _BLANKS or (
            unicodedata.category(char) in _REFUSED_CATEGORIES and char not in _HARMLESS_FORMATS
        ):
            raise MalformedError(where, "printable characters", f"{path!r} (U+{ord(char):04X})")
    if segment[-1] in ". " or segment[0] == " ":
        raise MalformedError(where, "names without outer spaces or a final dot", repr(path))
    if segment.split(".", maxsplit=1)[0].rstrip().casefold() in _WINDOWS_DEVICES:
        raise MalformedError(where, "a name that is not a Windows device", path)


def check_paths(paths: Iterable[str], where: str) -> None:
    """Refuses a set of (already checked) paths in which two could fall into one place.

    Two names equal after case folding or compatibility normalisation or but for characters that
    nobody sees, and a file where another path needs a folder.

    Raises:
        MalformedError: with both paths.
    """
    folders: dict[str, str] = {}
    files: dict[str, str] = {}
    for path in paths:
        key = _fold(path)
        if key in files:
            raise MalformedError(
                where, "paths that differ in more than case or form", f"{files[key]!r} and {path!r}"
            )
        files[key] = path
        for folder in _parents(path):
            other = folders.setdefault(_fold(folder), folder)
            if other != folder:
                raise MalformedError(
                    where,
                    "folders that differ in more than case or form",
                    f"{other!r} and {folder!r}",
                )
    for key, folder in folders.items():
        if key in files:
            raise MalformedError(where, "either a file or a folder", f"{folder!r} as both")


def _fold(path: str) -> str:
    if path.isascii():
        return path.casefold()
    seen = unicodedata.normalize("NFKC", _UNSEEN.sub("", path))
    return unicodedata.normalize("NFKC", seen.casefold())


def _parents(path: str) -> Iterable[str]:
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)
