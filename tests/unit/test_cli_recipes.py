"""Recipes: within the limits of any store, never more sent than there is, and always the file."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_cli.recipes import Limits, Segment, part_bytes, plan_recipe, sent_bytes
from signing.chunks import ChunkList, build_chunk_list

LOCAL = Limits(min_bytes=1, max_bytes=2**43, max_segments=10_000)


def listed(lengths: list[int]) -> ChunkList:
    return build_chunk_list(
        (hashlib.sha256(str(number).encode()).digest(), length)
        for number, length in enumerate(lengths)
    )


def check(size: int, segments: list[Segment], limits: Limits) -> None:
    """What `storage.assembly.check_recipe` demands, and that nothing is left out."""
    at = 0
    for number, segment in enumerate(segments):
        assert segment.at == at
        last = number == len(segments) - 1
        assert 1 <= segment.length <= limits.max_bytes
        assert last or segment.length >= limits.min_bytes
        at += segment.length
    assert at == size
    assert len(segments) <= limits.max_segments


@given(
    st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=80),
    st.sampled_from([1, 7, 30, 100]),
    st.sampled_from([10_000, 20]),
)
def test_any_file_within_any_limits(pieces: list[tuple[int, bool]], least: int, most: int) -> None:
    chunks = listed([length for length, _ in pieces])
    old, have = 1000, {}
    for number, (length, known) in enumerate(pieces):
        if known:  # each where the old file had it, sometimes with a gap in between
            old += number % 3
            have[chunks[number].digest] = ("b" * 64, old)
            old += length
    limits = Limits(min_bytes=least, max_bytes=max(60, 2 * least), max_segments=most)
    if chunks.size > limits.max_bytes * most // 2:
        return
    segments = plan_recipe(chunks.size, chunks, have, limits)
    check(chunks.size, segments, limits)
    # What is copied is what the old file has there, byte by byte.
    for segment in segments:
        if segment.source is not None:
            for offset in range(segment.length):
                chunk = chunks[chunks.at(segment.at + offset)]
                place = have[chunk.digest][1] + segment.at + offset - chunk.start
                assert segment.start + offset == place


def test_neighbours_are_one_piece() -> None:
    chunks = listed([10, 10, 10, 10])
    have = {chunks[n].digest: ("b" * 64, 100 + 10 * n) for n in (0, 1, 3)}
    segments = plan_recipe(40, chunks, have, LOCAL)
    assert [(s.length, s.source is None) for s in segments] == [
        (20, False), (10, True), (10, False),
    ]  # fmt: skip
    assert sent_bytes(segments) == 10


def test_a_file_without_anything_known_is_sent_in_parts() -> None:
    size = 100 << 20
    segments = plan_recipe(size, None, {}, LOCAL)
    check(size, segments, LOCAL)
    assert sent_bytes(segments) == size
    assert max(segment.length for segment in segments) <= 8 << 20


@pytest.mark.parametrize("size", [1, 70 * 10**9, 200 * 10**9, 500 * 10**9])
def test_parts_are_never_too_many(size: int) -> None:
    assert size / part_bytes(size) <= 4000


def test_a_store_that_takes_no_small_parts() -> None:
    """One changed chunk in the middle of a file on S3: five MiB are sent, not one chunk."""
    mib = 1 << 20
    s3 = Limits(min_bytes=5 * mib, max_bytes=5 << 30, max_segments=10_000)
    chunks = listed([mib] * 60)
    have = {chunk.digest: ("b" * 64, chunk.start) for chunk in chunks if chunk.number != 30}
    segments = plan_recipe(60 * mib, chunks, have, s3)
    check(60 * mib, segments, s3)
    assert sent_bytes(segments) == 5 * mib
