"""JSON as it is signed here: strict on the way in, deterministic on the way out.

Two parsers that disagree about the same signed bytes are a forgery waiting to happen, so what
parsers are known to disagree about is refused: duplicate keys, numbers beyond 2^53, fractions, lone
surrogates, bytes that are not UTF-8, a byte order mark, and depth beyond any honest document.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import MalformedError

MAX_INTEGER = 2**53 - 1  # RFC 8259 §6: what every implementation reads alike
MAX_DEPTH = 32
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MAX_JSON_BYTES = 64 * 1024 * 1024


class _Refused(ValueError):
    """Raised inside the json module's callbacks, turned into MalformedError outside."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused("every key once", f"the key {key!r} twice")
            seen.add(key)
    return members


def _integer(text: str) -> int:
    # The length test comes first: int() of a million digits would take its time.
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise _Refused("an integer of at most 2^53-1", text[:24])
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise _Refused("a JSON number", text)


def _no_float(text: str) -> NoReturn:
    # No format here has fractions; 1e400 would become infinity, 1.0 another spelling of 1.
    raise _Refused("an integer", text[:24])


def parse_json(data: bytes, where: str, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value that ``data`` encodes. Only `MalformedError` comes out, whatever the bytes."""
    if len(data) > max_bytes:
        raise MalformedError(where, f"at most {max_bytes} bytes", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(where, "UTF-8 text", f"something else at byte {error.start}") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_no_float,
            parse_constant=_no_constant,
        )
    except _Refused as error:
        raise MalformedError(where, error.expected, error.found) from None
    except RecursionError:
        raise MalformedError(where, f"at most {MAX_DEPTH} levels", "many more") from None
    except ValueError as error:
        raise MalformedError(where, "JSON", f"something else: {error}") from None
    _check_values(value, where)
    return value


def _check_values(value: Any, where: str) -> None:
    """Refuses depth beyond `MAX_DEPTH` and lone surrogates (which UTF-8 cannot carry back)."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                _check_text("".join(item), where)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                _check_text(item, where)
        if not below:
            return
        level = below
    raise MalformedError(where, f"at most {MAX_DEPTH} levels", "more")


def _check_text(text: str, where: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedError(where, "Unicode text", "a lone surrogate") from None


def canonical_json(value: Any) -> bytes:
    """The one encoding of ``value``: keys sorted by code point, no spaces, UTF-8, no escapes
    but those JSON demands. Floats are refused: their text differs between languages.

    Raises:
        TypeError: ``value`` holds something that JSON has no form for, or a float.
    """
    _refuse_floats(value)
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("a float has no canonical form")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object being read field by field; knows its own path for the error messages.

    Unknown members are refused unless `only` is never called; call it first.
    """

    value: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, value: Any, where: str) -> Fields:
        if not isinstance(value, dict):
            raise MalformedError(where, "an object", type_name(value))
        return cls(value, where)

    def path(self, key: str) -> str:
        return f"{self.where}.{key}" if ":" in self.where else f"{self.where}: {key}"

    def only(self, known: Iterable[str], *, optional: Iterable[str] = ()) -> Fields:
        """Refuses members that are missing or unknown."""
        required = set(known)
        missing = sorted(required - self.value.keys())
        unknown = sorted(self.value.keys() - required - set(optional))
        # A misspelt key is both missing and unknown: say the one that shows the mistake.
        misspelt = [key for key in unknown[:20] if missing and nearest(key, missing)]
        for key in [] if misspelt else missing:
            raise MalformedError(self.path(key), "a value", "nothing: the field is missing")
        for key in misspelt or unknown:
            names = ", ".join(sorted(required | set(optional)))
            raise MalformedError(
                self.path(key),
                f"one of the known fields ({names})",
                key,
                nearest(key, missing if misspelt else required | set(optional)),
            )
        return self

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        if key not in self.value:
            raise MalformedError(self.path(key), expected, "nothing: the field is missing")
        item = self.value[key]
        if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
            raise MalformedError(self.path(key), expected, type_name(item))
        return item

    def text(self, key: str, *, max_chars: int = 4096) -> str:
        item: str = self._typed(key, str, "a string")
        if len(item) > max_chars:
            raise MalformedError(
                self.path(key), f"at most {max_chars} characters", f"{len(item)} characters"
            )
        return item

    def optional_text(self, key: str, *, max_chars: int = 4096) -> str | None:
        return self.text(key, max_chars=max_chars) if key in self.value else None

    def literal(self, key: str, expected: str) -> str:
        item = self.text(key)
        if item != expected:
            raise MalformedError(self.path(key), repr(expected), repr(item))
        return item

    def integer(self, key: str, *, low: int = 0) -> int:
        item: int = self._typed(key, int, "an integer")
        if item < low:
            raise MalformedError(self.path(key), f"an integer of at least {low}", item)
        return item

    def items(self, key: str) -> list[Any]:
        item: list[Any] = self._typed(key, list, "a list")
        return item

    def texts(self, key: str, *, max_items: int = 200) -> tuple[str, ...]:
        """A list of strings; absent counts as empty."""
        if key not in self.value:
            return ()
        items = self.items(key)
        if len(items) > max_items:
            raise MalformedError(self.path(key), f"at most {max_items} entries", len(items))
        for number, item in enumerate(items):
            if not isinstance(item, str):
                raise MalformedError(f"{self.path(key)}[{number}]", "a string", type_name(item))
        return tuple(items)

    def object(self, key: str) -> Fields:
        return Fields(self._typed(key, dict, "an object"), self.path(key))

    def objects(self, key: str) -> list[Fields]:
        return [
            Fields.of(item, f"{self.path(key)}[{number}]")
            for number, item in enumerate(self.items(key))
        ]


def nearest(text: str, known: Iterable[str]) -> str | None:
    """A hint naming the one of ``known`` that ``text`` may have been meant as, if one is near."""
    from difflib import get_close_matches

    close = get_close_matches(text[:100], sorted(known), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def type_name(value: Any) -> str:
    """How JSON and TOML call the type of ``value``; the value itself where it is short."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    if type(value) in names:
        return names[type(value)]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "an integer beyond 2^53"  # str() refuses the really long ones
    kind = "an integer" if isinstance(value, int) else "a number"
    return f"{kind if isinstance(value, int | float) else type(value).__name__} {value}"


def is_plain(text: str, *, many_lines: bool = False) -> bool:
    """Whether ``text`` shows what it holds: no controls, no line breaks (with ``many_lines``,
    newlines and tabs may stand), nothing that turns the direction of what follows it.

    Marks that Arabic script needs for its spelling (ZWNJ, ZWJ, LRM, RLM) may stand.
    """
    if many_lines:
        text = text.replace("\n", "").replace("\t", "")
    return not any(
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _TURNING for char in text
    )
