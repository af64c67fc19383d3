"""How far the numbers of a tensor moved, in bounded memory and without any library.

Two streams of bytes go through in blocks of the same count of numbers. `math.dist` and
`math.hypot` do the sums in C, scaled so that nothing overflows on the way; 64 Ki numbers are in
memory at a time, whatever the size of the tensor.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import sub
from typing import Final

from .document import refused

BLOCK_NUMBERS: Final = 1 << 16
# The names that safetensors and GGUF give them, and what `array` and `struct` do.
_NATIVE: Final[Mapping[str, str]] = {
    "I8": "b", "U8": "B", "BOOL": "B", "I16": "h", "U16": "H", "I32": "i", "U32": "I", "I64": "q",
    "U64": "Q", "F32": "f", "F64": "d",
}  # fmt: skip
_WIDTHS: Final[Mapping[str, int]] = {
    **{kind: struct.calcsize(code) for kind, code in _NATIVE.items()},
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
Read = Callable[[int, int], bytes]  # from where, how many bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """``relative_l2`` is the norm of the difference over the norm of the old numbers, None where
    those are all zero. Numbers that are NaN or infinite on either side count in neither figure;
    ``not_finite`` says how many there were before and are now."""

    relative_l2: float | None
    max_abs: float
    not_finite: tuple[int, int]


def width(kind: str) -> int | None:
    """Bytes of one number of this format; None for formats that are not measured (quantised
    blocks, packed fours)."""
    return _WIDTHS.get(kind)


def same(old: Read, new: Read, size: int, start: int = 0) -> bool:
    """Whether two ranges of ``size`` bytes from ``start`` on hold the same."""
    step = 1 << 20
    return all(
        _exactly(old, at, min(step, start + size - at))
        == _exactly(new, at, min(step, start + size - at))
        for at in range(start, start + size, step)
    )


def _exactly(read: Read, at: int, size: int) -> bytes:
    data = read(at, size)
    if len(data) != size:  # a file of a folder that somebody is writing
        raise refused(f"{size} bytes of a tensor", len(data))
    return data


def measure(kinds: tuple[str, str], old: Read, new: Read, count: int) -> Moved:
    """How far ``count`` numbers of the formats ``kinds`` moved. Both must have a `width`."""
    sums = _Sums()
    widths = (_WIDTHS[kinds[0]], _WIDTHS[kinds[1]])
    for at in range(0, count, BLOCK_NUMBERS):
        number = min(BLOCK_NUMBERS, count - at)
        before = _exactly(old, at * widths[0], number * widths[0])
        after = _exactly(new, at * widths[1], number * widths[1])
        numbers = _numbers(kinds[0], before)
        if before == after and kinds[0] == kinds[1]:
            sums.add_same(numbers)
        else:
            sums.add(numbers, _numbers(kinds[1], after))
    return sums.result()


@dataclass(slots=True)
class _Sums:
    """Of each block the norm; the norm of those is the norm of all."""

    norms: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    max_abs: float = 0.0
    odd: list[int] = field(default_factory=lambda: [0, 0])

    def add_same(self, numbers: Sequence[float]) -> None:
        norm = math.hypot(*numbers)
        if math.isfinite(norm):
            self.norms.append(norm)
        else:
            self.add(numbers, numbers)

    def add(self, old: Sequence[float], new: Sequence[float]) -> None:
        distance, norm = math.dist(old, new), math.hypot(*old)
        if not (math.isfinite(distance) and math.isfinite(norm)):
            self.odd[0] += sum(not math.isfinite(each) for each in old)
            self.odd[1] += sum(not math.isfinite(each) for each in new)
            pairs = [
                (one, other)
                for one, other in zip(old, new, strict=True)
                if math.isfinite(one) and math.isfinite(other)
            ]
            old, new = [one for one, _ in pairs], [other for _, other in pairs]
            distance, norm = math.dist(old, new), math.hypot(*old)
        self.norms.append(norm)
        if distance:
            self.distances.append(distance)
            largest = max(map(abs, map(sub, old, new)))
            self.max_abs = max(self.max_abs, largest)

    def result(self) -> Moved:
        norm, distance = math.hypot(*self.norms), math.hypot(*self.distances)
        return Moved(
            relative_l2=distance / norm if norm else None if distance else 0.0,
            max_abs=self.max_abs,
            not_finite=(self.odd[0], self.odd[1]),
        )


def _numbers(kind: str, data: bytes) -> Sequence[float]:
    """The numbers in ``data``, little-endian as in both formats."""
    if kind == "F16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    if kind == "BF16":  # the upper half of an F32
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        return _native("f", bytes(wide))
    if kind in ("F8_E4M3", "F8_E5M2"):
        return tuple(map(_eighths(kind).__getitem__, data))
    return _native(_NATIVE[kind], data)


def _native(code: str, data: bytes) -> Sequence[float]:
    numbers: array[float] = array(code, data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


_EIGHTHS: dict[str, tuple[float, ...]] = {}


def _eighths(kind: str) -> tuple[float, ...]:
    """The 256 numbers of an 8-bit format (OCP 8-bit Floating Point Specification, §5)."""
    if kind not in _EIGHTHS:
        if kind == "F8_E5M2":  # the upper half of an F16
            _EIGHTHS[kind] = struct.unpack("<256e", bytes(b for n in range(256) for b in (0, n)))
        else:
            _EIGHTHS[kind] = tuple(map(_e4m3, range(256)))
    return _EIGHTHS[kind]


def _e4m3(number: int) -> float:
    exponent, fraction = number >> 3 & 15, number & 7
    if (exponent, fraction) == (15, 7):
        return math.nan
    size = (fraction / 8 + 1) * 2.0 ** (exponent - 7) if exponent else fraction / 8 * 2.0**-6
    return -size if number & 128 else size
