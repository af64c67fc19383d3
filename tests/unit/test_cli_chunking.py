"""Cutting: what did not change gives the chunks it gave before, and lists stay small."""

from __future__ import annotations

import hashlib
import io
import random

import pytest
from tensors import chunks_of, replaced, safetensors, tensors

from forge_cli.chunking import MIN_FILE_BYTES, average_for, cut
from signing.chunks import MAX_CHUNKS, MAX_LIST_BYTES

OLD = tensors(1, count=30)
CHANGED = ("layer.3", "layer.14", "layer.25")  # a tenth


def to_fetch(old: bytes, new: bytes) -> float:
    """The share of ``new`` whose chunks ``old`` does not have."""
    have = {chunk.digest for chunk in chunks_of(old)}
    return sum(c.length for c in chunks_of(new) if c.digest not in have) / len(new)


def test_the_chunks_are_the_file() -> None:
    data, whole = safetensors(OLD), hashlib.sha256()
    made = cut(io.BytesIO(data), len(data), whole=whole.update)
    assert made is not None
    assert made.size == len(data)
    assert all(hashlib.sha256(data[c.start : c.end]).digest() == c.digest for c in made)
    assert whole.hexdigest() == hashlib.sha256(data).hexdigest()


def test_a_tenth_of_the_tensors_changed_is_a_tenth_of_the_chunks() -> None:
    assert to_fetch(safetensors(OLD), safetensors(replaced(OLD, CHANGED))) <= 0.11


def test_a_longer_header_that_shifts_everything_costs_the_header_alone() -> None:
    assert to_fetch(safetensors(OLD), safetensors(OLD, "x" * 777)) <= 0.01


def test_a_new_tensor_in_front_costs_itself() -> None:
    new = {"front": random.Random(5).randbytes(512 << 10)} | OLD
    assert to_fetch(safetensors(OLD), safetensors(new)) <= 0.05


def test_bytes_that_moved_in_a_file_of_another_kind_are_found_again() -> None:
    old = random.Random(2).randbytes(8 << 20)
    assert to_fetch(old, old[:1000] + b"inserted" + old[1000:]) <= 0.05


def test_the_cuts_of_this_library_are_those_of_the_next() -> None:
    """A change here is no fault, but no chunk of a published release would be found again."""
    made = chunks_of(random.Random(3).randbytes(4 << 20))
    assert made.digest == ("f6528d81f56a74bfd2286c3feb170bef298bd66b6bd0a77cf99dbc20101b87ae")
    assert chunks_of(safetensors(OLD)).digest == (
        "224bb6041a5814c4508c5e6b853a91d703be4c5afe6d4f74747038f80249eb44"
    )


@pytest.mark.parametrize(
    ("size", "average"),
    [(1 << 20, 64 << 10), (4 << 30, 64 << 10), ((4 << 30) + 1, 128 << 10), (70 * 10**9, 2 << 20),
     (200 * 10**9, 4 << 20), (500 * 10**9, 4 << 20)],
)  # fmt: skip
def test_the_average_grows_with_the_file(size: int, average: int) -> None:
    assert average_for(size) == average
    assert average & (average - 1) == 0


def test_a_list_of_200_gb_stays_within_4_mib() -> None:
    # Chunks are on average no shorter than the average that was asked for.
    data = random.Random(4).randbytes(32 << 20)
    made = chunks_of(data, average=64 << 10)
    assert len(data) / len(made) >= 64 << 10
    assert 16 + 36 * (200 * 10**9 // average_for(200 * 10**9)) <= MAX_LIST_BYTES


def test_many_tiny_tensors_do_not_make_many_tiny_chunks() -> None:
    many = {f"t{number}": bytes([number % 251]) * 40 for number in range(60_000)}
    data = safetensors(many)
    assert len(chunks_of(data)) < len(data) // (16 << 10) + 2


def test_too_many_chunks_are_made_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge_cli.chunking.MAX_CHUNKS", 40)
    data = random.Random(6).randbytes(8 << 20)
    assert len(chunks_of(data)) <= 40
    assert MAX_CHUNKS > 100_000


def test_small_files_have_none() -> None:
    assert cut(io.BytesIO(b""), 0) is None
    assert cut(io.BytesIO(bytes(MIN_FILE_BYTES - 1)), MIN_FILE_BYTES - 1) is None


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        (2**63).to_bytes(8, "little") + b"{",
        (10**8).to_bytes(8, "little") + b"{",
        (64).to_bytes(8, "little") + b'{"a":{"data_offsets":[999999999999999,5]}}',
        (64).to_bytes(8, "little") + b'{"a":{"data_offsets":[-5,5]}}',
        (64).to_bytes(8, "little") + b"{" * 63,
        b"\xff" * 64,
    ],
    ids=["none", "endless header", "100 MB header", "beyond the file", "negative", "deep", "noise"],
)
def test_a_header_of_lies_costs_nothing(begin: bytes) -> None:
    data = begin + random.Random(7).randbytes(2 << 20)
    assert chunks_of(data).size == len(data)


@pytest.mark.parametrize("length", [0, 1, 100_000, (2 << 20) - 1])
def test_a_file_that_became_shorter_has_no_list(length: int) -> None:
    assert cut(io.BytesIO(random.Random(8).randbytes(length)), 2 << 20) is None
