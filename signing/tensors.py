"""The header of a model file, read with strict limits: which tensors are in it, and how large.

A publisher chooses these bytes, and nothing here trusts them: every length is compared with what is
left before anything is read or made, nesting and counts are bounded, and what does not hold is
refused with a reason. Only the header is read; the tensors themselves never are.

It stands here because the registry that shows and scans a model and the reviewer who compares two
must read the same header alike.

safetensors: 8 bytes of length, then JSON (github.com/huggingface/safetensors, "Format"). GGUF:
github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final, Protocol

MAX_HEADER_BYTES: Final = 16 * 2**20
MAX_TENSORS: Final = 100_000
_MAX_METADATA: Final = 1000
_MAX_NAME: Final = 1024
_MAX_TEXT: Final = 300  # of a value that is shown
_MAX_DIMENSIONS: Final = 8
_MAX_DEPTH: Final = 2  # arrays of arrays
_MAX_ELEMENTS: Final = 2**60

_SAFETENSORS_BITS: Final[Mapping[str, int]] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16,
    "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64,
}  # fmt: skip
_GGUF_TYPES: Final = (
    "F32", "F16", "Q4_0", "Q4_1", "Q4_2", "Q4_3", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K",
    "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S",
    "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M", "BF16",
)  # fmt: skip
_GGUF_NUMBERS: Final[Mapping[int, str]] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_GGUF_TEXT, _GGUF_ARRAY = 8, 9


class HeaderRefusedError(ValueError):
    """The bytes are no such header, or one beyond the limits; the message says what was found."""


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """``kind`` is the name of its number format, as the file gives it. Its bytes are those from
    ``start`` to ``stop`` of the file; in GGUF, where only the start is written down, ``stop`` is
    where the next one begins, or the end of the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int = 0
    stop: int = 0

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """``format`` is ``safetensors`` or ``gguf``; ``metadata`` is cut to what can be shown.
    ``values`` are the same in full, where they were asked for; arrays are lists."""

    format: str
    metadata: Mapping[str, str]
    tensors: Sequence[Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """How many numbers there are in all tensors."""
        return sum(each.elements for each in self.tensors)


def reader_for(path: str) -> Callable[[Source, int], Header] | None:
    """What reads the header of a file with this name; None where nothing here does."""
    lower = path.lower()
    if lower.endswith(".safetensors"):
        return read_safetensors
    return read_gguf if lower.endswith(".gguf") else None


def read_safetensors(file: Source, size: int) -> Header:
    """The header of a safetensors file of ``size`` bytes.

    Raises:
        HeaderRefusedError: too long, not such JSON, tensors that overlap or leave the file.
    """
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise _refused(f"a header of 2 to {min(MAX_HEADER_BYTES, max(size - 8, 2))} bytes", length)
    value = _json(_exactly(file, length))
    metadata = value.pop("__metadata__", {})
    if len(value) > MAX_TENSORS:
        raise _refused(f"at most {MAX_TENSORS} tensors", len(value))
    tensors = tuple(_safetensor(name, each, 8 + length, size) for name, each in value.items())
    end = 0
    for tensor in sorted(tensors, key=lambda each: (each.start, each.stop)):
        if tensor.start < end:
            at = tensor.start - 8 - length
            raise _refused("tensors that do not overlap", f"{tensor.name!r:.80} at {at}")
        end = tensor.stop
    values = metadata if isinstance(metadata, dict) else {}
    return Header(
        format="safetensors", metadata=_shown(values.items()), tensors=tensors, values=values
    )


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), parse_int=_whole, object_pairs_hook=_unique)
    except RecursionError:
        raise _refused("a JSON object", "one nested too deeply") from None
    except ValueError as error:
        raise _refused("a JSON object", f"{error}"[:100]) from None
    if not isinstance(value, dict):
        raise _refused("a JSON object", type(value).__name__)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of a name that stands there twice, one reader takes the first and another the last.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name that stands there twice")
    return members


def _whole(text: str) -> int:
    # Python would take seconds for a number of a million digits, or refuse it with its own error.
    if len(text) > 19:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _safetensor(name: str, value: object, begin: int, size: int) -> Tensor:
    """``begin`` is where the data begin in a file of ``size`` bytes."""
    where = f"tensor {name[:80]!r}"
    if not isinstance(value, dict) or len(name) > _MAX_NAME:
        raise _refused(f"{where}: an object", type(value).__name__)
    kind, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    bits = _SAFETENSORS_BITS.get(kind) if isinstance(kind, str) else None
    if bits is None:
        raise _refused(f"{where}: a known dtype", f"{kind!r:.40}")
    sizes = _numbers(shape, _MAX_DIMENSIONS, f"{where}: shape")
    start, stop = _numbers(offsets, 2, f"{where}: data_offsets", exactly=True)
    if not start <= stop <= size - begin:
        raise _refused(f"{where}: data within the file", f"{start} to {stop} of {size - begin}")
    tensor = Tensor(name=name, kind=str(kind), shape=sizes, start=begin + start, stop=begin + stop)
    if tensor.elements > _MAX_ELEMENTS or -(-tensor.elements * bits // 8) != stop - start:
        raise _refused(f"{where}: as many bytes as its shape needs", stop - start)
    return tensor


def _numbers(value: object, most: int, where: str, *, exactly: bool = False) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
    if not whole or not isinstance(value, list) or len(value) > most:
        raise _refused(f"{where}: at most {most} whole numbers", f"{value!r:.60}")
    if exactly and len(value) != most:
        raise _refused(f"{where}: {most} whole numbers", len(value))
    return tuple(value)


def read_gguf(file: Source, size: int, *, values: bool = False) -> Header:
    """The header of a GGUF file of ``size`` bytes; with ``values`` also its metadata in full.

    Raises:
        HeaderRefusedError: no GGUF of version 2 or 3, or a header beyond the limits.
    """
    data = _Reader(file, min(size, MAX_HEADER_BYTES), values)
    magic, version = data.take(4), data.number("<I")
    if magic != b"GGUF" or version not in (2, 3):
        raise _refused("GGUF of version 2 or 3", f"{magic!r} of version {version}")
    tensors, pairs = data.number("<Q"), data.number("<Q")
    if tensors > MAX_TENSORS or pairs > _MAX_METADATA:
        raise _refused(
            f"at most {MAX_TENSORS} tensors and {_MAX_METADATA} values", f"{tensors} and {pairs}"
        )
    metadata = []
    for _ in range(pairs):
        name = data.text(_MAX_NAME)
        metadata.append((name, data.value(data.number("<I"))))
    found = [_gguf_tensor(data) for _ in range(tensors)]
    kept = dict(metadata) if values else {}
    if values and len(kept) != len(metadata):
        raise _refused("every key once", "one that stands there twice")
    return Header(
        format="gguf",
        metadata=_shown(metadata),
        tensors=_placed(found, data.read, _alignment(metadata), size),
        values=kept,
    )


def _alignment(metadata: Sequence[tuple[str, object]]) -> int:
    """docs/gguf.md, "general.alignment": 32 where it is not given."""
    value = dict(metadata).get("general.alignment", 32)
    if type(value) is not int or not 1 <= value <= MAX_HEADER_BYTES:
        raise _refused("an alignment in bytes", f"{value!r:.40}")
    return value


def _placed(
    tensors: Sequence[Tensor], header: int, alignment: int, size: int
) -> tuple[Tensor, ...]:
    """``tensors``, whose starts count from the data's, with their places in the file."""
    begin = -(-header // alignment) * alignment
    starts = sorted({begin + each.start for each in tensors if begin + each.start <= size})
    stops = dict(zip(starts, [*starts[1:], size], strict=False))
    placed = []
    for each in tensors:
        start = begin + each.start
        if start not in stops:
            raise _refused(f"tensor {each.name[:80]!r}: data within the file", f"{start} of {size}")
        placed.append(replace(each, start=start, stop=stops[start]))
    return tuple(placed)


def _gguf_tensor(data: _Reader) -> Tensor:
    name = data.text(_MAX_NAME)
    dimensions = data.number("<I")
    if dimensions > _MAX_DIMENSIONS:
        raise _refused(f"tensor {name[:80]!r}: at most {_MAX_DIMENSIONS} dimensions", dimensions)
    shape = tuple(data.number("<Q") for _ in range(dimensions))
    kind = data.number("<I")
    tensor = Tensor(
        start=data.number("<Q"),
        name=name,
        kind=_GGUF_TYPES[kind] if kind < len(_GGUF_TYPES) else f"type {kind}",
        shape=shape,
    )
    if tensor.elements > _MAX_ELEMENTS:
        raise _refused(f"tensor {name[:80]!r}: at most {_MAX_ELEMENTS} numbers", shape)
    return tensor


@dataclass(slots=True)
class _Reader:
    """Reads at most ``left`` bytes of a file, front to back; ``read`` of them so far. Values are
    made for showing, or, with ``whole``, as they are."""

    file: Source
    left: int
    whole: bool = False
    read: int = 0
    _buffer: bytes = b""
    _at: int = field(default=0)

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _refused(f"a header of at most {MAX_HEADER_BYTES} bytes", "a longer one")
        self.left -= count
        self.read += count
        if self._at + count > len(self._buffer):
            rest = self._buffer[self._at :]
            wanted = max(count - len(rest), min(65536, self.left + count - len(rest)))
            self._buffer, self._at = rest + self.file.read(wanted), 0
            if len(self._buffer) < count:
                raise _refused("a whole header", "the end of the file within it")
        found = self._buffer[self._at : self._at + count]
        self._at += count
        return found

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, most: int) -> str:
        length = self.number("<Q")
        if length > most:
            raise _refused(f"a name of at most {most} bytes", length)
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> object:
        """A value; for showing, of an array only how many it has: vocabularies are arrays."""
        if kind in _GGUF_NUMBERS:
            return self.number(_GGUF_NUMBERS[kind])
        if kind == _GGUF_TEXT:
            data = self.take(self.number("<Q"))
            # Kept as it is: what is not UTF-8 must not look like something else that is not.
            return (
                data.decode("utf-8", "backslashreplace")
                if self.whole
                else data[: 4 * _MAX_TEXT].decode("utf-8", "replace")
            )
        if kind != _GGUF_ARRAY or depth >= _MAX_DEPTH:
            raise _refused("a value of a known type", f"type {kind}")
        inner, count = self.number("<I"), self.number("<Q")
        if inner in _GGUF_NUMBERS:
            form = _GGUF_NUMBERS[inner]
            data = self.take(count * struct.calcsize(form))
            if self.whole:
                return [number for (number,) in struct.iter_unpack(form, data)]
        else:
            # At least eight bytes each, so a made-up count ends at the limit of bytes.
            if count * 8 > self.left:
                raise _refused("an array within the header", f"{count} values")
            values = (self.value(inner, depth + 1) for _ in range(count))
            if self.whole:
                return list(values)
            for _ in values:
                pass
        return f"{count} values"


def _exactly(file: Source, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _refused("a whole header", "the end of the file within it")
    return data


def _shown(pairs: Any) -> dict[str, str]:
    shown = {}
    for name, value in list(pairs)[:_MAX_METADATA]:
        text = str(value) if isinstance(value, str | int | float | bool) else type(value).__name__
        shown[str(name)[:_MAX_NAME]] = text[:_MAX_TEXT]
    return shown


def _refused(expected: str, found: object) -> HeaderRefusedError:
    return HeaderRefusedError(f"expected {expected}, found {found}")
