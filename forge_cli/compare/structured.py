"""JSON files by their keys, strictly read: the same bytes may not mean two things.

Values are compared as values: another order of keys or other spaces are no change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from .document import ATTENTION, DANGER, Found, Remark, refused, short

MAX_BYTES: Final = 64 << 20
MAX_LEAVES: Final = 50_000
_MAX_DEPTH: Final = 64
# Loaders fetch or run code that these name; whoever sets them decides what is executed.
_RUNS_CODE: Final = (
    "auto_map", "trust_remote_code", "custom_pipelines", "_target_", "custom_objects", "code",
)  # fmt: skip
_TELLING: Final = (
    "architectures", "model_type", "quantization_config", "_class_name", "license", "id2label",
    "label2id",
)  # fmt: skip


def parse_json(data: bytes) -> Any:
    """The value in ``data``.

    Raises:
        RefusedError: whatever is wrong with it.
    """
    if len(data) > MAX_BYTES:
        raise refused(f"at most {MAX_BYTES} bytes of JSON", len(data))
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_unique,
            parse_int=_whole,
            parse_constant=_no_constant,
        )
    except RecursionError:
        raise refused("JSON", "one nested too deeply") from None
    except ValueError as error:
        raise refused("JSON", short(str(error))) from None
    _require_depth(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key that stands there twice")
    return members


def _whole(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text}, which is no JSON")


def _require_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        if not below:
            return
        level = below
    raise refused(f"at most {_MAX_DEPTH} levels of JSON", "more")


def text_of(value: Any) -> str:
    """A value as it stands in the document."""
    if isinstance(value, str):
        return short(json.dumps(value, ensure_ascii=False))
    return short(json.dumps(value, ensure_ascii=False, sort_keys=True))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``(path, value)`` of everything in ``value`` that holds nothing more. A list of plain values
    is one of them: with an insertion in it every place behind would be another."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from leaves(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for number, each in enumerate(value):
            yield from leaves(each, f"{path}[{number}]")
    else:
        yield path, value


def _flat(value: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, leaf in leaves(value):
        if len(found) >= MAX_LEAVES:
            raise refused(f"at most {MAX_LEAVES} values", "more")
        if path or leaf not in ({}, []):  # nothing at all is no value
            found[path] = text_of(leaf)
    return found


def compare_values(old: Any, new: Any) -> list[dict[str, Any]]:
    """``[{key, old, new}]`` of what differs; None stands for nothing there.

    Raises:
        RefusedError: too many values.
    """
    before, after = _flat(old), _flat(new)
    return [
        {"key": short(key), "old": before.get(key), "new": after.get(key)}
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def compare_json(path: str, old: bytes | None, new: bytes | None) -> Found:
    """The keys of a JSON file that differ; ``old`` or ``new`` is None where there is no file.

    Raises:
        RefusedError: one of the two cannot be read.
    """
    keys = compare_values(
        {} if old is None else parse_json(old), {} if new is None else parse_json(new)
    )
    if not keys:
        return Found()
    return Found(members=[{"path": path, "keys": keys}], remarks=list(remarks_on(path, keys)))


def change_text(old: str | None, new: str | None) -> str:
    """``old → new`` for a remark, where long values are cut: the document has them."""
    return " → ".join(
        "nothing" if each is None else each if len(each) <= 80 else f"{each[:79]}…"
        for each in (old, new)
    )


def remarks_on(path: str, keys: list[dict[str, Any]]) -> Iterator[Remark]:
    """What among changed keys decides how a model is built or what is run for it."""
    seen = set()
    for key in keys:
        parts = key["key"].replace("[", ".").split(".")
        for level, code, names in (
            (DANGER, "remote-code", _RUNS_CODE),
            (ATTENTION, "config-changed", _TELLING),
        ):
            name = next((part for part in parts if part in names), None)
            if name is None or name in seen or (key["new"] is None and level == DANGER):
                continue
            seen.add(name)
            what = "names code to run" if level == DANGER else "changed"
            change = change_text(key["old"], key["new"])
            yield Remark(level=level, code=code, text=f"{key['key']} {what}: {change}", path=path)
            break
