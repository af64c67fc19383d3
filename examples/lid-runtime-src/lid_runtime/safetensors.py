"""Reads and writes safetensors files: float32 tensors, nothing that executes.

The layout: eight bytes, little endian, that give the length of a header; the header, a JSON
object ``{name: {"dtype", "shape", "data_offsets": [begin, end]}}`` with an optional
``__metadata__`` of strings; then the data, to which the offsets refer. The header was written
by a stranger. Hence nothing in it is used before it is checked: its length against a limit and
the file, each tensor's bytes against its shape, and all of them against each other. They must
cover the data exactly once: an overlap or a hole would give the same file two readings.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MalformedModelError
from .strict_json import is_count, parse_object

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_HEADER_BYTES = 1024 * 1024  # the format allows 100 MB; a header for a few tensors is tiny
MAX_TENSORS = 1000
MAX_DIMENSIONS = 8

_FLOAT32_BYTES = 4
_PREFIX_BYTES = 8


@dataclass(frozen=True)
class Tensor:
    """A float32 tensor in row-major order: ``len(values)`` is the product of ``shape``."""

    shape: tuple[int, ...]
    values: array[float]


@dataclass(frozen=True)
class _Span:
    begin: int
    end: int
    name: str
    shape: tuple[int, ...]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of the file at ``path``. At most `MAX_FILE_BYTES` are read.

    Raises:
        MalformedModelError: see `parse_tensors`, or the file is larger than the limit.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise MalformedModelError(path.name, f"at most {MAX_FILE_BYTES} bytes", "more")
    return parse_tensors(data, path.name)


def parse_tensors(data: bytes, where: str = "model.safetensors") -> dict[str, Tensor]:
    """All tensors in ``data``, in the order in which their bytes lie.

    Raises:
        MalformedModelError: the header is too long, not JSON, repeats a name or describes a
            tensor that is not float32, is out of bounds, overlaps another or leaves a hole;
            or a value is not finite.
    """
    header, body = _split(data, where)
    spans = [_parse_span(name, entry, len(body), where) for name, entry in header.items()]
    spans.sort(key=lambda span: (span.begin, span.end))
    _check_cover(spans, len(body), where)
    return {span.name: _read(span, body, where) for span in spans}


def write_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; the same tensors and metadata give the same bytes."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    parts: list[bytes] = []
    offset = 0
    for name, tensor in sorted(tensors.items()):
        part = _little_endian(tensor.values).tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(part)],
        }
        offset += len(part)
        parts.append(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data begins on a multiple of eight
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _split(data: bytes, where: str) -> tuple[dict[str, Any], memoryview]:
    """The header without ``__metadata__``, and the bytes behind it."""
    if len(data) < _PREFIX_BYTES:
        raise MalformedModelError(where, f"at least {_PREFIX_BYTES} bytes", f"{len(data)} bytes")
    (length,) = struct.unpack_from("<Q", data)
    limit = min(MAX_HEADER_BYTES, len(data) - _PREFIX_BYTES)
    if length > limit:
        raise MalformedModelError(f"{where}: header", f"at most {limit} bytes", f"{length} bytes")
    header = parse_object(data[_PREFIX_BYTES : _PREFIX_BYTES + length], f"{where}: header")
    _check_metadata(header.pop("__metadata__", {}), f"{where}: __metadata__")
    if not 1 <= len(header) <= MAX_TENSORS:
        raise MalformedModelError(f"{where}: header", f"1 to {MAX_TENSORS} tensors", len(header))
    return header, memoryview(data)[_PREFIX_BYTES + length :]


def _check_metadata(metadata: object, where: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise MalformedModelError(where, "an object of strings", type(metadata).__name__)


def _parse_span(name: str, entry: object, body_bytes: int, where: str) -> _Span:
    where = f"{where}: {name!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise MalformedModelError(where, "dtype, shape and data_offsets", entry)
    if entry["dtype"] != "F32":
        raise MalformedModelError(f"{where}.dtype", "F32", entry["dtype"])
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(is_count, shape)):
        raise MalformedModelError(f"{where}.shape", f"up to {MAX_DIMENSIONS} sizes", shape)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_count, offsets)):
        raise MalformedModelError(f"{where}.data_offsets", "[begin, end]", offsets)
    begin, end = offsets
    if not begin <= end <= body_bytes:
        raise MalformedModelError(f"{where}.data_offsets", f"begin <= end <= {body_bytes}", offsets)
    size = math.prod(shape) * _FLOAT32_BYTES  # Python integers: a product cannot overflow
    if end - begin != size:
        raise MalformedModelError(f"{where}.data_offsets", f"{size} bytes", f"{end - begin} bytes")
    return _Span(begin, end, name, tuple(shape))


def _check_cover(spans: list[_Span], body_bytes: int, where: str) -> None:
    """Requires that ``spans``, sorted, follow each other from the first byte to the last."""
    position = 0
    for span in spans:
        if span.begin != position:
            kind = "an overlap" if span.begin < position else "a hole"
            raise MalformedModelError(
                f"{where}: {span.name!r}.data_offsets",
                f"to begin at byte {position}",
                f"{kind}: byte {span.begin}",
            )
        position = span.end
    if position != body_bytes:
        raise MalformedModelError(where, f"{position} bytes of data", f"{body_bytes} bytes")


def _read(span: _Span, body: memoryview, where: str) -> Tensor:
    values = array("f")
    values.frombytes(body[span.begin : span.end])
    values = _little_endian(values)
    if not all(map(math.isfinite, values)):
        raise MalformedModelError(f"{where}: {span.name!r}", "finite numbers", "NaN or infinity")
    return Tensor(span.shape, values)


def _little_endian(values: array[float]) -> array[float]:
    """``values`` between the machine's byte order and the file's (its own inverse)."""
    if sys.byteorder == "little":
        return values
    swapped = array("f", values)
    swapped.byteswap()
    return swapped
