"""Models of Keras 3: what their configuration would have the loader import or run.

``config.json`` of a ``.keras`` archive is a tree of objects, each with the module and the class or
function to make it of (keras.io/api/models/model_saving_apis/serialization_utils). A loader that is
not in safe mode imports whatever is named there. HDF5 is not read here but for functions in plain
sight: what is in it is unknown, never clean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from signing.formats import KERAS_LAMBDA, executable, json_objects
from signing.opcodes import ReadAt
from signing.unpacking import STORED, unpack_member
from signing.zips import members

from .base import (
    CLEAN,
    CRITICAL,
    FINDINGS,
    HIGH,
    MAX_FINDINGS,
    NOT_SCANNED,
    Answer,
    FoundItem,
    Target,
    limited,
)
from .slim import reading

_MAX_CONFIG: Final = 16 * 2**20
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_LAMBDAS: Final = ("Lambda", "__lambda__")
_OWN: Final = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")


class Keras:
    name = "keras"
    version = "1"
    header_only = False

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        if head.startswith(_HDF5) or path.lower().endswith((".keras", ".h5", ".hdf5")):
            return True
        return head.startswith(b"PK") and b"config.json" in tail and b"metadata.json" in tail

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        read_at = reading(file)
        config = _config(read_at, target.file.size)
        if config is None:
            found = executable(read_at, target.file.size)
            if found is not None and found.format == KERAS_LAMBDA:
                item = _item(target, "lambda", CRITICAL, "a layer that carries Python code", "")
                return Answer(state=FINDINGS, items=[item])
            return Answer(state=NOT_SCANNED, detail="no archive of Keras 3 that can be read")
        try:
            value = json.loads(config)
        except (ValueError, RecursionError):
            return Answer(state=NOT_SCANNED, detail="config.json cannot be read")
        items = list(_odd(value, target))
        if items:
            return Answer(state=FINDINGS, items=items[:MAX_FINDINGS])
        return Answer(state=CLEAN)


def _config(read_at: ReadAt, size: int) -> bytes | None:
    """The configuration; None where there is none, several, or a longer one than is looked at."""
    found = [each for each in members(read_at, size) if each.name == "config.json"]
    if len(found) != 1 or found[0].size > _MAX_CONFIG:
        return None
    data = read_at(found[0].start, min(found[0].packed, _MAX_CONFIG))
    if found[0].method == STORED:
        return data
    unpack = unpack_member(found[0].method)
    return None if unpack is None else unpack(data, _MAX_CONFIG)


def _odd(value: Any, target: Target) -> Iterator[FoundItem]:
    for each in json_objects(value):
        kind, module = each.get("class_name"), each.get("module")
        if kind in _LAMBDAS:
            yield _item(target, "lambda", CRITICAL, f"{kind}: Python code in the file", str(kind))
        elif isinstance(module, str) and not _is_own(module):
            named = each.get("config") if kind == "function" else kind
            place = f"{module}.{named if isinstance(named, str) else kind}"
            yield _item(target, "import", HIGH, f"loading it imports {place}", place)


def _is_own(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in _OWN)


def _item(target: Target, rule: str, severity: str, title: str, place: str) -> FoundItem:
    return FoundItem(
        rule=rule,
        severity=severity,
        title=limited(title),
        path=target.file.path,
        location=limited(place),
    )
