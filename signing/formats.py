"""Formats whose loaders execute what is in the file, told by what the bytes are and not by what
the file is called.

``pickle``: protocols 0 to 5, alone, in a zip as PyTorch writes it, in a tar, compressed with zlib,
gzip, bzip2 or xz as joblib does, and in a NumPy file with objects. ``keras-lambda``: a Keras
archive with a layer that carries Python code. One archive or compression inside another is looked
into, and no deeper: what lies deeper is not told here.

Only the places that matter are read: the first bytes, the directory of an archive and the first
bytes of its members. What is not recognised here is *unknown*, never safe: the registry's scanners
look at more, and at their leisure.
"""

from __future__ import annotations

import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from .opcodes import ReadAt, is_pickle
from .zips import Member, members

PICKLE: Final = "pickle"
KERAS_LAMBDA: Final = "keras-lambda"
FORMATS: Final = (PICKLE, KERAS_LAMBDA)

_UNPACKED: Final = 2**20  # of something compressed
_HEAD: Final = 65536
_MAX_MEMBERS: Final = 512  # of an archive, looked into; of the others only the names count
_MAX_CONFIG: Final = 4 * 2**20
_NPY: Final = b"\x93NUMPY"
_OBJECTS: Final = re.compile(rb"""['"][|<>=]?O\d*['"]""")
_LAMBDA: Final = re.compile(rb'"class_name"\s*:\s*"Lambda"')
_PICKLE_NAMES: Final = (".pkl", ".pickle", ".joblib")
_TAR_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Executable:
    """A format that executes code on loading; ``where`` is a member of an archive, or empty."""

    format: str
    where: str = ""


def executable(read_at: ReadAt, size: int) -> Executable | None:
    """What in a file of ``size`` bytes would be executed by what usually loads it; None where
    nothing was recognised. Never raises, whatever the bytes."""
    return _look(read_at, size, 2)


def how_to_convert(kind: str) -> str:
    """What a publisher does about it."""
    if kind == KERAS_LAMBDA:
        return (
            "write the Lambda layer as a class of a library component that the model requires, and "
            "save the weights alone: "
            "safetensors.numpy.save_file({v.path: v.numpy() for v in model.weights}, "
            "'model.safetensors')"
        )
    return (
        "publish the weights as safetensors, which holds numbers and nothing else: "
        "safetensors.torch.save_file(model.state_dict(), 'model.safetensors'), or "
        "safetensors.numpy.save_file(arrays, 'model.safetensors')"
    )


def _look(read_at: ReadAt, size: int | None, depth: int) -> Executable | None:
    head = read_at(0, 512)
    if head.startswith(_NPY):
        return Executable(PICKLE) if is_numpy_with_objects(read_at) else None
    if depth and size is not None:
        found = _in_zip(read_at, size, depth) or _in_tar(read_at, size, head)
        if found is not None:
            return found
    unpack = _unpacker(head) if depth else None
    if unpack is not None:
        inner = _unpacked(unpack, read_at)
        found = _look(_over(inner), len(inner) if len(inner) < _UNPACKED else None, depth - 1)
        if found is not None:
            return found
    return Executable(PICKLE) if is_pickle(read_at, size) else None


def _over(data: bytes) -> ReadAt:
    return lambda at, count: data[at : at + count]


def is_numpy_with_objects(read_at: ReadAt) -> bool:
    """Whether a NumPy file holds Python objects, and so a pickle."""
    # numpy.lib.format: version, length of the header in 2 or 4 bytes, then a literal with `descr`.
    return _OBJECTS.search(read_at(0, _HEAD)) is not None


Unpack = Callable[[bytes], bytes]


def _unpacker(head: bytes) -> Unpack | None:
    """What unpacks the first MiB of what begins so."""
    if head.startswith(b"\x1f\x8b"):
        return lambda data: zlib.decompressobj(47).decompress(data, _UNPACKED)
    if head.startswith(b"BZh"):
        return lambda data: bz2.BZ2Decompressor().decompress(data, _UNPACKED)
    if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        # Without a limit the file says how much memory its dictionary takes.
        return lambda data: lzma.LZMADecompressor(memlimit=2**27).decompress(data, _UNPACKED)
    if (
        len(head) > 2
        and head[0] & 15 == 8
        and head[0] >> 4 < 8
        and not int.from_bytes(head[:2]) % 31
    ):
        return lambda data: zlib.decompressobj().decompress(data, _UNPACKED)
    return None


def _unpacked(unpack: Unpack, read_at: ReadAt) -> bytes:
    """The first bytes; none where they are not what they seemed to be."""
    try:
        return unpack(read_at(0, _UNPACKED))
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return b""


def _in_zip(read_at: ReadAt, size: int, depth: int) -> Executable | None:
    for number, member in enumerate(members(read_at, size)):
        if member.name.lower().endswith(_PICKLE_NAMES):
            return Executable(PICKLE, member.name)
        if number >= _MAX_MEMBERS:
            continue
        found = _in_member(member, read_at, depth)
        if found is not None:
            return found
    return None


def _in_member(member: Member, read_at: ReadAt, depth: int) -> Executable | None:
    if member.method == 0:
        start = member.start

        def inside(at: int, count: int) -> bytes:
            return read_at(start + at, max(0, min(count, member.size - at)))

        inner: ReadAt = inside
        whole: int | None = member.size
    elif member.method == 8:
        data = _inflated(read_at(member.start, min(member.packed, _UNPACKED)))
        inner, whole = _over(data), len(data) if len(data) < _UNPACKED else None
    else:
        return None
    if member.name.rpartition("/")[2] == "config.json" and _has_lambda(inner(0, _MAX_CONFIG)):
        return Executable(KERAS_LAMBDA, member.name)
    found = _look(inner, whole, depth - 1)
    if found is None:
        return None
    return Executable(found.format, f"{member.name}/{found.where}".rstrip("/"))


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(-15).decompress(data, _UNPACKED)
    except zlib.error:
        return b""


def _has_lambda(data: bytes) -> bool:
    if _LAMBDA.search(data):
        return True
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return any(each.get("class_name") == "Lambda" for each in _objects(value))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)


def _in_tar(read_at: ReadAt, size: int, head: bytes) -> Executable | None:
    for name, start, length in tar_members(read_at, size, head):

        def inside(at: int, count: int, start: int = start, length: int = length) -> bytes:
            return read_at(start + at, max(0, min(count, length - at)))

        if length and is_pickle(inside, length):
            return Executable(PICKLE, name)
    return None


def tar_members(read_at: ReadAt, size: int, head: bytes) -> Iterator[tuple[str, int, int]]:
    """``(name, start, length)`` of the first members of a tar, one after another (POSIX.1-1988
    ustar), as old PyTorch wrote models; nothing where ``head`` does not begin one."""
    if head[257:262] != b"ustar" and not head.startswith(b"sys_info\x00"):
        return
    at = 0
    for _ in range(_MAX_MEMBERS):
        header = read_at(at, _TAR_BLOCK)
        length = _octal(header[124:136])
        if len(header) < _TAR_BLOCK or not header[0] or length is None:
            return
        yield header[:100].rstrip(b"\x00").decode("utf-8", "replace"), at + _TAR_BLOCK, length
        at += _TAR_BLOCK + -(-length // _TAR_BLOCK) * _TAR_BLOCK
        if at >= size:
            return


def _octal(field: bytes) -> int | None:
    try:
        return int(field.strip(b" \x00") or b"0", 8)
    except ValueError:
        return None
