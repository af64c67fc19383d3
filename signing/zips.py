"""The members of a zip archive, read as leniently as any loader reads them.

`zipfile` refuses what other readers take (an encryption flag without encryption, a local name that
differs), and a check that refuses to look is no check. So flags, checksums and the local header's
name are ignored, and where there is no central directory the local headers are followed.
Numbers of sections are those of PKWARE's APPNOTE 6.3.10.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from .opcodes import ReadAt

_END: Final = b"PK\x05\x06"
_END64_LOCATOR: Final = b"PK\x06\x07"
_END64: Final = b"PK\x06\x06"
_ENTRY: Final = b"PK\x01\x02"
_LOCAL: Final = b"PK\x03\x04"
_TAIL: Final = 65536 + 22 + 20
_WINDOW: Final = 2**20
_LARGEST: Final = 46 + 3 * 65535  # an entry of a directory
_MAX_LOCAL: Final = 100_000
_UNKNOWN: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """``start`` is where its ``packed`` bytes begin; ``size`` is what they become. ``header`` is
    where its local header is, ``flags`` those of the central directory."""

    name: str
    method: int
    packed: int
    size: int
    start: int
    header: int = 0
    flags: int = 0
    external: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Where a central directory is, and where the record that names it ends."""

    start: int
    size: int
    entries: int
    shift: int  # bytes before the archive, which its offsets do not count
    end: int


def members(read_at: ReadAt, size: int) -> Iterator[Member]:
    """What is in an archive of ``size`` bytes, in its directory's order; nothing where it is no
    archive."""
    found = False
    for directory in directories(read_at, size)[:4]:
        for view in _views(directory):
            for member in entries(read_at, view):
                found = True
                yield member
    if not found and read_at(0, 4) == _LOCAL:
        yield from local_members(read_at, size)


def _views(directory: Directory) -> Iterator[Directory]:
    """Where bytes stand before the archive, Python looks for the directory right before its end
    record, and readers in C where the record says it is; both may find one."""
    yield directory
    if directory.shift:
        yield replace(directory, start=directory.start - directory.shift, shift=0)


def directories(read_at: ReadAt, size: int) -> list[Directory]:
    """The directories that any record in the last 64 KiB names, the last record's first."""
    base = max(0, size - _TAIL)
    tail = read_at(base, _TAIL)
    found: list[Directory] = []
    at = tail.rfind(_END)
    while at >= 0 and len(found) < 16:
        record = tail[at : at + 22]
        if len(record) == 22:
            directory = _directory(read_at, record, base + at, tail[max(0, at - 20) : at])
            if directory is not None:
                found.append(directory)
        at = tail.rfind(_END, 0, at) if at else -1
    return found


def _directory(read_at: ReadAt, record: bytes, place: int, before: bytes) -> Directory | None:
    """§4.3.16, and §4.3.14 where its numbers do not suffice."""
    count, length, start, comment = struct.unpack("<H I I H", record[10:22])
    above = place
    if (
        len(before) == 20
        and before.startswith(_END64_LOCATOR)
        and (_UNKNOWN in (length, start) or count == 0xFFFF)
    ):
        (where,) = struct.unpack("<Q", before[8:16])
        large = read_at(where, 56)
        if len(large) < 56 or not large.startswith(_END64):
            return None
        count, length, start = struct.unpack("<Q Q Q", large[32:56])
        above = where
    shift = above - length - start
    if above - length < 0:
        return None
    return Directory(
        start=above - length, size=length, entries=count, shift=shift, end=place + 22 + comment
    )


def entries(read_at: ReadAt, directory: Directory) -> Iterator[Member]:
    """§4.3.12."""
    place, stop = directory.start, directory.start + directory.size
    data, at = b"", 0
    while place + at + 46 <= stop:
        if at + _LARGEST > len(data) and place + len(data) < stop:
            place, at = place + at, 0
            data = read_at(place, min(_WINDOW, stop - place))
        if data[at : at + 4] != _ENTRY or at + 46 > len(data):
            return
        flags, method = struct.unpack("<H H", data[at + 8 : at + 12])
        packed, size, name, extra, comment = struct.unpack("<I I H H H", data[at + 20 : at + 34])
        external, offset = struct.unpack("<I I", data[at + 38 : at + 46])
        begin = at + 46
        more = data[begin + name : begin + name + extra]
        size, packed, offset = _large(more, size, packed, offset)
        header = offset + directory.shift
        local = read_at(header, 30) if header >= 0 else b""
        if len(local) == 30:
            lengths = struct.unpack("<H H", local[26:30])
            yield Member(
                name=data[begin : begin + name].decode("utf-8", "replace"),
                method=method,
                packed=packed,
                size=size,
                start=header + 30 + sum(lengths),
                header=header,
                flags=flags,
                external=external,
            )
        at = begin + name + extra + comment


def _large(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """§4.5.3: what does not fit into 32 bits stands in an extra field, in this order."""
    values = [size, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack("<H H", extra[at : at + 4])
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            for number, value in enumerate(values):
                if value == _UNKNOWN and len(field) >= 8:
                    values[number] = int.from_bytes(field[:8], "little")
                    field = field[8:]
        at += 4 + length
    return values[0], values[1], values[2]


def local_members(read_at: ReadAt, size: int, at: int = 0) -> Iterator[Member]:
    """§4.3.7, one header after another, as long as each says how long its member is."""
    for _ in range(_MAX_LOCAL):
        header = read_at(at, 30)
        if len(header) < 30 or not header.startswith(_LOCAL):
            return
        flags, method = struct.unpack("<H H", header[6:10])
        packed, whole, name, extra = struct.unpack("<I I H H", header[18:30])
        more = read_at(at + 30 + name, extra)
        whole, packed, _ = _large(more, whole, packed, 0)
        start = at + 30 + name + extra
        unsaid = flags & 8 and not packed  # §4.3.9: the lengths come after the bytes
        yield Member(
            name=read_at(at + 30, name).decode("utf-8", "replace"),
            method=method,
            packed=size - start if unsaid else packed,
            size=size - start if unsaid else whole,
            start=start,
            header=at,
            flags=flags,
        )
        if unsaid:
            return
        at = start + packed
