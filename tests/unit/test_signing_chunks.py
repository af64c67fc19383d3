"""Chunk lists: one form, strictly read, and no byte of a file passes a list of another."""

from __future__ import annotations

import contextlib
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.chunks import (
    MAGIC,
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    MAX_LIST_BYTES,
    ChunkCheck,
    ChunkList,
    build_chunk_list,
    parse_chunk_list,
)
from signing.errors import MalformedError, VerificationError

DATA = random.Random(1).randbytes(1000)
LENGTHS = (300, 1, 699)


def listed(data: bytes = DATA, lengths: tuple[int, ...] = LENGTHS) -> ChunkList:
    at, chunks = 0, []
    for length in lengths:
        chunks.append((hashlib.sha256(data[at : at + length]).digest(), length))
        at += length
    return build_chunk_list(chunks)


def test_a_list_is_read_as_it_was_written() -> None:
    made = listed()
    read = parse_chunk_list(made.raw, len(DATA), "list")
    assert [(chunk.start, chunk.length) for chunk in read] == [(0, 300), (300, 1), (301, 699)]
    assert all(hashlib.sha256(DATA[c.start : c.end]).digest() == c.digest for c in read)
    assert (read.size, len(read), read.digest) == (1000, 3, made.digest)
    assert made.raw.startswith(b"forge-chunks-1\n\n")
    assert len(made.raw) == 16 + 3 * 36


def test_the_form_never_changes() -> None:
    """Signed lists exist: these very bytes must be made and read for ever."""
    assert listed(b"abcabc", (3, 3)).digest == (
        "490135e15a54f5da7cf5f1ce8c4f39f70490ad898ecef96031c5c13bd0c66c27"
    )


@pytest.mark.parametrize("offset", [0, 299, 300, 301, 999])
def test_the_chunk_at_an_offset(offset: int) -> None:
    chunk = listed()[listed().at(offset)]
    assert chunk.start <= offset < chunk.end


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"", 0),
        (MAGIC, 0),
        (listed().raw[:-1], 1000),
        (listed().raw + b"\0", 1000),
        (listed().raw[:-36], 1000),
        (listed().raw, 999),
        (listed().raw, 1001),
        (b"forge-chunks-2\n\n" + listed().raw[16:], 1000),
        (MAGIC + bytes(36), 0),
        (MAGIC + bytes(32) + (MAX_CHUNK_BYTES + 1).to_bytes(4, "big"), MAX_CHUNK_BYTES + 1),
        (MAGIC + b"\xff" * 36, 2**32 - 1),
        (listed().raw + bytes(MAX_LIST_BYTES), 1000),
    ],
    ids=[
        "empty", "no chunk", "cut", "trailing byte", "one chunk less", "longer than the file",
        "shorter than the file", "another version", "an empty chunk", "a chunk too long",
        "a length beyond all", "too many bytes",
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(data: bytes, size: int) -> None:
    with pytest.raises(MalformedError):
        parse_chunk_list(data, size, "list")


@given(st.binary(max_size=300), st.integers(0, 10**6))
def test_only_the_own_error_comes_out(data: bytes, size: int) -> None:
    with contextlib.suppress(MalformedError):
        parse_chunk_list(MAGIC + data, size, "list")


def test_the_largest_list_stays_within_its_limit() -> None:
    made = build_chunk_list((bytes(32), MAX_CHUNK_BYTES) for _ in range(MAX_CHUNKS))
    assert len(made.raw) <= MAX_LIST_BYTES
    with pytest.raises(MalformedError):
        build_chunk_list((bytes(32), 1) for _ in range(MAX_CHUNKS + 1))


def passed(data: bytes, block: int) -> None:
    check = ChunkCheck(listed(), "blob")
    for at in range(0, len(data), block):
        check.update(memoryview(data)[at : at + block])
    check.finish()


@pytest.mark.parametrize("block", [1, 7, 300, 301, 5000])
def test_the_file_passes_in_blocks_of_any_size(block: int) -> None:
    passed(DATA, block)


def test_what_is_known_to_be_right_passes_unread_and_nothing_else() -> None:
    chunks = listed()
    spoilt = bytearray(DATA)
    spoilt[chunks[1].start] ^= 1
    check = ChunkCheck(chunks, "blob", known={1})
    check.update(memoryview(spoilt))
    check.finish()
    spoilt[chunks[2].start] ^= 1
    with pytest.raises(VerificationError):
        ChunkCheck(chunks, "blob", known={1}).update(memoryview(spoilt))


@pytest.mark.parametrize(
    "other",
    [DATA[:-1], DATA + b"x", b"", bytes([DATA[0] ^ 1]) + DATA[1:], DATA[:-1] + b"\0", DATA[::-1]],
    ids=["shorter", "longer", "empty", "first bit", "last byte", "reordered"],
)
def test_another_file_does_not_pass(other: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        passed(other, 64)
    assert caught.value.code == "digest-mismatch"
