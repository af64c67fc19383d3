"""The bytes inside a compression, unpacked as leniently as loaders do it, and no more than asked.

Loaders read every stream of several that stand behind each other: gzip (RFC 1952 §2.2), bzip2 and
xz allow it, and an empty first one hides the second from whoever stops there.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14  # APPNOTE §4.4.5
_FIRST_STEP: Final = 4096  # bytes, so that thousands of empty streams cost little
# What liblzma may reserve. The file says how large its dictionary is; of what is reserved only as
# much is touched as is unpacked, and a smaller limit would let a file hide by asking for more.
_MEMORY: Final = 2**33
_ZF: Final = b"ZF0x"  # joblib before 0.10: the length in 19 characters, then zlib

Unpack = Callable[[bytes, int], bytes]
"""From packed bytes and a number to at most so many unpacked ones; none where they are not what
they seemed to be."""


def unpacker(head: bytes) -> Unpack | None:
    """What unpacks a file that begins with ``head``; None where it is not compressed."""
    if head.startswith(b"\x1f\x8b"):
        return _all_streams(lambda: zlib.decompressobj(31))
    if head.startswith(b"BZh"):
        return _all_streams(bz2.BZ2Decompressor)
    if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00")):
        return _all_streams(lambda: lzma.LZMADecompressor(memlimit=_MEMORY))
    if head.startswith(_ZF):
        plain = _all_streams(zlib.decompressobj)
        # Some versions wrote one more blank.
        return lambda data, most: plain(data[21:], most) or plain(data[22:], most)
    if is_zlib(head):
        return _all_streams(zlib.decompressobj)
    return None


def is_zlib(head: bytes) -> bool:
    """RFC 1950 §2.2: deflate, a window of at most 32 KiB, and a check of both bytes."""
    if len(head) < 3 or head[0] & 15 != DEFLATED or head[0] >> 4 > 7:
        return False
    return not int.from_bytes(head[:2], "big") % 31


def unpack_member(method: int) -> Unpack | None:
    """What unpacks a member of a zip archive; None for a method that no loader here knows."""
    if method == DEFLATED:
        return _all_streams(lambda: zlib.decompressobj(-15))
    if method == BZIP2:
        return _all_streams(bz2.BZ2Decompressor)
    if method == LZMA:
        alone = _all_streams(lambda: lzma.LZMADecompressor(memlimit=_MEMORY))
        # APPNOTE §5.8.8: version, length of the properties, properties; the length is not said.
        return lambda data, most: alone(data[4:9] + b"\xff" * 8 + data[9:], most)
    return None


def _all_streams(begin: Callable[[], Any]) -> Unpack:
    def unpack(data: bytes, most: int) -> bytes:
        view, at, out = memoryview(data), 0, bytearray()
        while at < len(view) and len(out) < most:
            stream, step = begin(), _FIRST_STEP
            try:
                while not stream.eof and at < len(view) and len(out) < most:
                    out += stream.decompress(view[at : at + step], most - len(out))
                    at, step = min(at + step, len(view)), step * 2
            except (OSError, EOFError, ValueError, MemoryError, zlib.error, lzma.LZMAError):
                break  # what came before it was unpacked all the same
            if not stream.eof:
                break
            at -= len(stream.unused_data)
            while at < len(view) and not view[at]:  # between streams there may be zeros
                at += 1
        return bytes(out)

    return unpack
