"""Formats whose loaders execute what is in the file, told by what the bytes are and not by what
the file is called.

``pickle``: protocols 0 to 5, alone, in a zip as PyTorch writes it, in a tar, compressed with zlib,
gzip, bzip2 or xz as joblib does, and in a NumPy file with objects. ``keras-lambda``: a model of
Keras, archive or HDF5, with a layer that carries Python code. One archive or compression inside
another is looked into, and no deeper: what lies deeper is not told here.

Only the places that matter are read: the first bytes, the directory of an archive and the first
bytes of its members. What is not recognised here is *unknown*, never safe: the registry's scanners
look at more, and at their leisure.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from .opcodes import Effort, ReadAt, is_pickle
from .unpacking import STORED, unpack_member, unpacker
from .zips import Member, members

PICKLE: Final = "pickle"
KERAS_LAMBDA: Final = "keras-lambda"
FORMATS: Final = (PICKLE, KERAS_LAMBDA)

_UNPACKED: Final = 2**20  # of something compressed
_HEAD: Final = 65536
_MAX_MEMBERS: Final = 4096  # of an archive, looked into; of the others only the names count
_MAX_CONFIG: Final = 16 * 2**20
_NPY: Final = b"\x93NUMPY"
_NUMBERS: Final = re.compile(r"[<>|=]?(?:[?bBhHiIlLqQefdgFDGSaUVc]\d*|[mM]8(?:\[\w+(?:/\d+)?\])?)")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_EDGE: Final = 4 * 2**20  # of an HDF5 file, at both ends
_PICKLE_NAMES: Final = (".pkl", ".pickle", ".joblib")
_TAR_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Executable:
    """A format that executes code on loading; ``where`` is a member of an archive, or empty."""

    format: str
    where: str = ""


def executable(read_at: ReadAt, size: int, effort: Effort | None = None) -> Executable | None:
    """What in a file of ``size`` bytes would be executed by what usually loads it; None where
    nothing was recognised. ``effort`` bounds the work, for several files together where they share
    it. Never raises, whatever the bytes."""
    return _look(read_at, size, 2, effort or Effort())


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


def _look(read_at: ReadAt, size: int | None, depth: int, effort: Effort) -> Executable | None:
    head = read_at(0, 512)
    if head.startswith(_NPY):
        return Executable(PICKLE) if is_numpy_with_objects(read_at) else None
    if size is not None and _is_hdf5(read_at, head) and _has_lambda(_edges(read_at, size)):
        return Executable(KERAS_LAMBDA)
    if depth and size is not None:
        found = _in_zip(read_at, size, depth, effort) or _in_tar(read_at, size, head, depth, effort)
        if found is not None:
            return found
    unpack = unpacker(head) if depth else None
    if unpack is not None:
        inner = unpack(read_at(0, _UNPACKED), _UNPACKED)
        found = _look(
            _over(inner), len(inner) if len(inner) < _UNPACKED else None, depth - 1, effort
        )
        if found is not None:
            return found
    return Executable(PICKLE) if is_pickle(read_at, size, effort) else None


def _over(data: bytes) -> ReadAt:
    return lambda at, count: data[at : at + count]


def is_numpy_with_objects(read_at: ReadAt) -> bool:
    """Whether a NumPy file holds Python objects, and so a pickle; also where nobody can tell."""
    # numpy.lib.format: version, length of the header in 2 or 4 bytes, then a literal with `descr`.
    head = read_at(0, _HEAD)
    wide = head[6:7] != b"\x01"
    start = 12 if wide else 10
    length = int.from_bytes(head[8:start], "little")
    try:
        header = ast.literal_eval(head[start : start + length].decode("latin-1").strip())
        descr = header["descr"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        return True  # NumPy reads some that Python does not (numbers with an L)
    return length > _HEAD - start or not _is_numeric(descr, 16)


def _is_numeric(descr: object, depth: int) -> bool:
    """Whether a NumPy type consists of numbers and texts. What is not known holds objects: there
    are many ways to say so ('O', 'object', 'i4,O')."""
    if isinstance(descr, str):
        return _NUMBERS.fullmatch(descr) is not None
    if isinstance(descr, list) and depth:  # (name, type) or (name, type, shape)
        return all(
            isinstance(each, tuple) and len(each) > 1 and _is_numeric(each[1], depth - 1)
            for each in descr
        )
    if isinstance(descr, tuple) and len(descr) == 2 and depth:  # (type, shape)
        return _is_numeric(descr[0], depth - 1)
    return False


def _is_hdf5(read_at: ReadAt, head: bytes) -> bool:
    """HDF5 file format §II.A: at 0, 512, 1024, 2048 and so on, behind a block of the user's."""
    return head.startswith(_HDF5) or any(read_at(512 << n, 8) == _HDF5 for n in range(4))


def _edges(read_at: ReadAt, size: int) -> bytes:
    """Where Keras has the configuration: attributes are not compressed, and are written first."""
    first = read_at(0, min(size, _EDGE))
    return first + read_at(max(len(first), size - _EDGE), _EDGE)


def _in_zip(read_at: ReadAt, size: int, depth: int, effort: Effort) -> Executable | None:
    for number, member in enumerate(members(read_at, size)):
        if member.name.lower().endswith(_PICKLE_NAMES):
            return Executable(PICKLE, member.name)
        if number >= _MAX_MEMBERS:
            continue
        found = _in_member(member, read_at, depth, effort)
        if found is not None:
            return found
    return None


def _in_member(member: Member, read_at: ReadAt, depth: int, effort: Effort) -> Executable | None:
    is_config = member.name.rpartition("/")[2] == "config.json"
    if member.method == STORED:
        start = member.start

        def inside(at: int, count: int) -> bytes:
            return read_at(start + at, max(0, min(count, member.size - at)))

        inner: ReadAt = inside
        whole: int | None = member.size
    else:
        unpack = unpack_member(member.method)
        if unpack is None:
            return None
        most = _MAX_CONFIG if is_config else _UNPACKED
        data = unpack(read_at(member.start, min(member.packed, most)), most)
        inner, whole = _over(data), len(data) if len(data) < most else None
    if is_config and _has_lambda(inner(0, _MAX_CONFIG)):
        return Executable(KERAS_LAMBDA, member.name)
    found = _look(inner, whole, depth - 1, effort)
    if found is None:
        return None
    return Executable(found.format, f"{member.name}/{found.where}".rstrip("/"))


def _has_lambda(data: bytes) -> bool:
    if _LAMBDA.search(data):
        return True
    try:
        value = json.loads(data)  # also in UTF-16, as Keras reads it
    except (ValueError, RecursionError):
        return False
    return any(each.get("class_name") in _LAMBDAS for each in json_objects(value))


def _json_text(text: str) -> str:
    """A pattern of a JSON text, whichever of its characters are escaped."""
    return '"' + "".join(rf"(?:{re.escape(c)}|\\u00(?i:{ord(c):02x}))" for c in text) + '"'


_LAMBDAS: Final = ("Lambda", "__lambda__")  # the layer; any function that Keras 3 serialised
_LAMBDA: Final = re.compile(
    rf"{_json_text('class_name')}\s*:\s*(?:{'|'.join(map(_json_text, _LAMBDAS))})".encode()
)


def json_objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value, however deep."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)


def _in_tar(
    read_at: ReadAt, size: int, head: bytes, depth: int, effort: Effort
) -> Executable | None:
    for name, start, length in tar_members(read_at, size, head):

        def inside(at: int, count: int, start: int = start, length: int = length) -> bytes:
            return read_at(start + at, max(0, min(count, length - at)))

        found = _look(inside, length, depth - 1, effort) if length else None
        if found is not None:
            return Executable(found.format, f"{name}/{found.where}".rstrip("/"))
    return None


def tar_members(read_at: ReadAt, size: int, head: bytes) -> Iterator[tuple[str, int, int]]:
    """``(name, start, length)`` of the first members of a tar, one after another (POSIX.1-1988
    ustar), as old PyTorch wrote models; nothing where ``head`` does not begin one."""
    if not is_tar(head):
        return
    at = 0
    for _ in range(_MAX_MEMBERS):
        header = read_at(at, _TAR_BLOCK)
        length = _number(header[124:136])
        if len(header) < _TAR_BLOCK or not header[0] or length is None:
            return
        yield header[:100].rstrip(b"\x00").decode("utf-8", "replace"), at + _TAR_BLOCK, length
        at += _TAR_BLOCK + -(-length // _TAR_BLOCK) * _TAR_BLOCK
        if at >= size:
            return


def is_tar(head: bytes) -> bool:
    """Whether a tar begins so. Older ones have no magic, and Python's `tarfile` asks for none."""
    if len(head) < _TAR_BLOCK or not head[0]:
        return False
    rest = head[:148] + b" " * 8 + head[156:_TAR_BLOCK]
    signed = sum(rest) - 256 * sum(byte > 127 for byte in rest)
    return _number(head[148:156]) in (sum(rest), signed)


def _number(field: bytes) -> int | None:
    """POSIX's octal digits up to a NUL, or GNU's big-endian bytes behind 0x80."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.partition(b"\x00")[0].strip() or b"0", 8)
    except ValueError:
        return None
