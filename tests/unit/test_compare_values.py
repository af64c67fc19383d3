"""How far numbers moved: against the same sums done plainly, in every format."""

from __future__ import annotations

import math
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_cli.compare import values
from forge_cli.compare.document import RefusedError
from forge_cli.compare.values import Moved, measure, same, width

_CODES = {"F64": "d", "F32": "f", "F16": "e", "I8": "b", "U8": "B", "I16": "h", "I32": "i"}


def reader(data: bytes) -> values.Read:
    return lambda at, size: data[at : at + size]


def packed(kind: str, numbers: list[float]) -> bytes:
    if kind == "BF16":
        return b"".join(struct.pack("<f", each)[2:] for each in numbers)
    return struct.pack(f"<{len(numbers)}{_CODES[kind]}", *numbers)


def moved(kinds: tuple[str, str], old: list[float], new: list[float]) -> Moved:
    data = packed(kinds[0], old), packed(kinds[1], new)
    return measure(kinds, reader(data[0]), reader(data[1]), len(old))


@pytest.mark.parametrize("kind", ["F64", "F32", "F16", "BF16", "I8", "U8", "I16", "I32"])
def test_every_format_is_measured(kind: str) -> None:
    found = moved((kind, kind), [3, 4, 0], [3, 4, 2])
    assert found == Moved(relative_l2=0.4, max_abs=2, not_finite=(0, 0))


@pytest.mark.parametrize(
    ("kind", "data", "numbers"),
    [
        ("F8_E4M3", b"\x00\x38\xb8\x7e\x01", [0, 1, -1, 448, 2**-9]),
        ("F8_E5M2", b"\x00\x3c\xbc\x7b\x01", [0, 1, -1, 57344, 2**-16]),
        ("BOOL", b"\x00\x01\x01\x00\x01", [0, 1, 1, 0, 1]),
    ],
    ids=["E4M3", "E5M2", "BOOL"],
)
def test_small_formats_mean_what_their_standard_says(
    kind: str, data: bytes, numbers: list[float]
) -> None:
    assert width(kind) == 1
    found = measure((kind, "F64"), reader(data), reader(packed("F64", numbers)), 5)
    assert found.max_abs == 0


def test_another_format_with_the_same_numbers_moved_nothing() -> None:
    assert moved(("F16", "BF16"), [1, -2.5, 0], [1, -2.5, 0]).relative_l2 == 0
    assert moved(("F32", "I8"), [1, -2, 7], [1, -2, 8]).max_abs == 1


def test_from_zero_there_is_no_relative_figure() -> None:
    assert moved(("F32", "F32"), [0, 0], [0, 3]) == Moved(
        relative_l2=None, max_abs=3, not_finite=(0, 0)
    )
    assert moved(("F32", "F32"), [0, 0], [0, 0]).relative_l2 == 0


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_counted_and_left_out(odd: float) -> None:
    found = moved(("F32", "F32"), [3, 4, odd, 1], [3, 2, 1, odd])
    assert found == Moved(relative_l2=2 / 5, max_abs=2, not_finite=(1, 1))
    assert moved(("F32", "F32"), [odd, 1], [odd, 2]).not_finite == (1, 1)
    # Also in a block that did not change at all, where nothing is subtracted.
    assert moved(("F32", "F32"), [odd, 2], [odd, 2]).not_finite == (1, 1)


def test_large_numbers_do_not_overflow() -> None:
    assert moved(("F64", "F64"), [1e300, 1e300], [1e300, 2e300]).relative_l2 == pytest.approx(
        1 / math.sqrt(2)
    )


@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
            st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_blocks_add_up_to_the_plain_sums(pairs: list[tuple[float, float]]) -> None:
    old, new = [one for one, _ in pairs], [other for _, other in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "BLOCK_NUMBERS", 7)
        found = moved(("F32", "F32"), old, new)
    norm = math.sqrt(math.fsum(one * one for one in old))
    distance = math.sqrt(math.fsum((one - other) ** 2 for one, other in pairs))
    assert found.max_abs == max(abs(one - other) for one, other in pairs)
    if norm > 1e-3:
        assert found.relative_l2 == pytest.approx(distance / norm, rel=1e-9)


def test_quantised_blocks_have_no_numbers_of_their_own() -> None:
    assert width("Q4_K") is None
    assert width("F4") is None


def test_a_file_that_became_shorter_is_refused() -> None:
    data = packed("F32", [1, 2, 3])
    for old, new in ((data, data[:-1]), (data[:-1], data)):
        with pytest.raises(RefusedError, match="bytes of a tensor"):
            measure(("F32", "F32"), reader(old), reader(new), 3)
    with pytest.raises(RefusedError, match="bytes of a tensor"):
        same(reader(data), reader(data[:-1]), len(data))


def test_memory_does_not_grow_with_the_tensor() -> None:
    """Two tensors of 4 MiB each, made up as they are read; as Python's numbers they are 32."""
    block = bytes(range(256)) * 1024

    def endless(shift: int) -> values.Read:
        return lambda at, size: (block[shift:] + block)[:size]

    tracemalloc.start()
    try:
        found = measure(("I8", "I8"), endless(0), endless(1), 4 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.max_abs == 255
    assert peak < 16 << 20
