"""Cutting files into chunks, at places that their content decides.

FastCDC finds the cuts, so bytes that moved are cut as they were before. In a safetensors file
there is also a cut at the beginning of each tensor, so that a tensor that did not change gives
the chunks that it gave before, wherever it lies now.

The average chunk grows with the file, as a power of two, so that a list stays small: 64 KiB up
to 4 GiB, 1 MiB up to 64 GiB, 4 MiB above 128 GiB. A chunk is a quarter of that to four times as
long.
Two files of different averages share few chunks; who holds one of them can cut it again with
the other's average (`cut` takes it), which the signed list of neither has to know.

Nothing here is a check. A file that only looks like safetensors is cut at odd places, no more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from signing.chunks import MAX_CHUNKS, ChunkList, build_chunk_list

MIN_FILE_BYTES: Final = 1 << 20
_SMALLEST: Final = 64 << 10
_LARGEST: Final = 4 << 20
_AIM: Final = 1 << 16  # chunks in a file, as long as the average can grow
_MAX_HEADER_BYTES: Final = 16 << 20
_OFFSETS: Final = re.compile(rb'"data_offsets"\s*:\s*\[\s*(\d{1,15})\s*,\s*\d{1,15}\s*\]')
_WINDOW_BYTES: Final = 4 << 20


class Source(Protocol):
    """What is cut: a file opened unbuffered."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...

    def seek(self, offset: int, /) -> int: ...


def average_for(size: int) -> int:
    """The average chunk of a file of ``size`` bytes, in bytes."""
    average = _SMALLEST
    while average < _LARGEST and average * _AIM < size:
        average *= 2
    return average


def cut(
    file: Source,
    size: int,
    *,
    average: int | None = None,
    whole: Callable[[memoryview], object] | None = None,
) -> ChunkList | None:
    """The chunk list of ``file``, read once from its beginning; None where it has none.

    ``whole`` is handed every byte in order, for the digest of the file. None also for a file
    that ends before ``size`` bytes: it changed, as the caller finds out from what ``whole`` got.
    A file too small or too large to be cut is not read.
    """
    if size < MIN_FILE_BYTES:
        return None
    average = average or average_for(size)
    chunks: list[tuple[bytes, int]] = []
    for piece in _pieces(file, size, average, whole):
        chunks.append((hashlib.sha256(piece).digest(), len(piece)))
    if sum(length for _, length in chunks) != size:
        return None
    if len(chunks) <= MAX_CHUNKS:
        return build_chunk_list(chunks)
    # Very many small tensors, or a file beyond 400 GB.
    return cut(file, size, average=average * 2) if average < _LARGEST else None


def _pieces(
    file: Source, size: int, average: int, whole: Callable[[memoryview], object] | None
) -> Iterator[memoryview]:
    """Views of the chunks; each is valid until the next one is asked for."""
    from pyfastcdc import FastCDC

    least, most = average // 4, average * 4
    cutter = FastCDC(average, min_size=least, max_size=most, normalized_chunking=1, seed=0)
    forced = iter(_boundaries(_tensors(file, size), size, least))
    file.seek(0)
    buffer = memoryview(bytearray(max(_WINDOW_BYTES, 2 * most)))
    begin = end = 0  # what of the buffer is filled and not yet cut
    at = 0  # the place of buffer[begin] in the file
    border = next(forced)
    while at < size:
        if end - begin < min(most, border - at):
            buffer[: end - begin] = bytes(buffer[begin:end])
            begin, end = 0, end - begin
            count = _fill(file, buffer[end : size - at])
            if whole is not None:
                whole(buffer[end : end + count])
            end += count
            if end - begin < min(most, border - at):
                yield buffer[begin:end]  # the file became shorter
                return
        view = buffer[begin : min(end, begin + border - at)]
        closed = at + len(view) == border  # the cut that the view's end makes is a true one
        for chunk in cutter.cut_buf(view):
            if not closed and len(view) - chunk.offset < most:
                break  # more bytes may change where this one ends
            yield view[chunk.offset : chunk.offset + chunk.length]
            begin += chunk.length
            at += chunk.length
        if at == border:
            border = next(forced, size)


def _fill(file: Source, room: memoryview) -> int:
    count = 0
    while count < len(room) and (more := file.readinto(room[count:])):
        count += more
    return count


def _boundaries(places: list[int], size: int, least: int) -> Iterator[int]:
    """Those of ``places`` that are at least ``least`` bytes apart; at the end, the size."""
    last = 0
    for place in places:
        if place - last >= least and size - place >= least:
            yield place
            last = place
    yield size


def _tensors(file: Source, size: int) -> list[int]:
    """The places of the tensors of a safetensors file; empty for any other.

    The header is searched, not parsed: JSON of this size would take many times its bytes.
    """
    file.seek(0)
    prefix = memoryview(bytearray(9))
    if _fill(file, prefix) < len(prefix) or prefix[8] != ord("{"):
        return []
    length = int.from_bytes(prefix[:8], "little")
    begin = 8 + length
    if length > _MAX_HEADER_BYTES or begin > size:
        return []
    header = memoryview(bytearray(length))
    file.seek(8)
    if _fill(file, header) < length:
        return []
    offsets = {begin + int(match[1]) for match in _OFFSETS.finditer(header)}
    return sorted(place for place in offsets | {begin} if place < size)
