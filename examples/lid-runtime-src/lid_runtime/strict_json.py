"""JSON as RFC 8259 §4 wishes it: each name once, and only numbers that JSON has."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from .errors import MalformedModelError


class _RefusedError(ValueError):
    pass


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in ``data``.

    Raises:
        MalformedModelError: not UTF-8, not JSON, not an object, a name twice in one object,
            NaN or an infinity, or nested too deeply to read.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except _RefusedError as error:
        raise MalformedModelError(where, "each name once and finite numbers", error) from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise MalformedModelError(where, "JSON in UTF-8", error) from None
    if not isinstance(value, dict):
        raise MalformedModelError(where, "a JSON object", type(value).__name__)
    return value


def is_count(value: object) -> bool:
    """Whether ``value`` is a JSON integer of zero or more (``true`` is not one)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _RefusedError(f"{name!r} twice")
        result[name] = value
    return result


def _no_constant(text: str) -> NoReturn:
    raise _RefusedError(text)
