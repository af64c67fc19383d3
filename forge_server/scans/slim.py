"""Pickles out of whatever they are wrapped in, made small for those who judge them.

Two scanners of others read a pickle whole into memory, and know few wrappings. So the pickles are
looked for here, as leniently as loaders do it, and handed over one by one with their large values
emptied: a gibibyte of weights says nothing about what a pickle calls. Every opcode stays, and every
text that could be a name.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from signing.formats import is_numpy_with_objects, is_tar
from signing.opcodes import NAMING, NUMBERS, OPCODES, ReadAt, is_pickle
from signing.unpacking import STORED, Unpack, unpack_member, unpacker
from signing.zips import members

MAX_OPCODES: Final = 1_000_000
_MAX_KEPT: Final = 4096  # bytes of an argument
_MAX_PICKLES: Final = 64
_MAX_UNPACKED: Final = 2**28
_MAX_DEPTH: Final = 3
_WINDOW: Final = 2**20
_EMPTY_LINES: Final = {"STRING": b"''", "UNICODE": b"", "LONG": b"0L"}


class TooLargeError(Exception):
    """More than is looked at; whatever was not seen is unknown."""


@dataclass(frozen=True, slots=True)
class Slim:
    """``data`` are the opcodes of one pickle; ``broken`` when it ends in what is none; ``imports``
    how many opcodes of it name something to import."""

    where: str
    data: bytes
    broken: bool
    imports: int


class _Bytes:
    """A window that moves over what ``read_at`` gives."""

    def __init__(self, read_at: ReadAt, at: int) -> None:
        self._read_at = read_at
        self.at = at
        self._start, self._window = at, b""

    def take(self, count: int) -> bytes:
        begin = self.at - self._start
        if begin < 0 or begin + count > len(self._window):
            self._start, self._window = self.at, self._read_at(self.at, max(count, _WINDOW))
            begin = 0
        data = self._window[begin : begin + count]
        self.at += len(data)
        return data

    def line(self) -> bytes | None:
        """The first bytes of the rest of the line; None where it does not end."""
        first = b""
        while True:
            begin = self.at - self._start
            end = self._window.find(b"\n", begin) if 0 <= begin < len(self._window) else -1
            if end >= 0:
                self.at = self._start + end + 1
                return first or self._window[begin:end]
            part = self._window[begin:] if 0 <= begin < len(self._window) else b""
            first = (first + part)[: _MAX_KEPT + 1]
            self.at += len(part)
            self._start, self._window = self.at, self._read_at(self.at, _WINDOW)
            if not self._window:
                return None
            if first:
                end = self._window.find(b"\n")
                if end >= 0:
                    self.at = self._start + end + 1
                    return (first + self._window[:end])[: _MAX_KEPT + 1]


@dataclass(slots=True)
class Search:
    """Finds pickles. ``left`` is how many opcodes may still be looked at in all of them."""

    left: int = MAX_OPCODES
    found: int = 0
    _imports: int = 0

    def pickles(
        self, read_at: ReadAt, size: int, where: str = "", depth: int = 0
    ) -> Iterator[Slim]:
        """Every pickle in it.

        Raises:
            TooLargeError: there is more than is looked at.
        """
        head = read_at(0, 512)
        if head.startswith(b"\x93NUMPY"):
            if is_numpy_with_objects(read_at):
                wide = head[6:7] != b"\x01"
                length = int.from_bytes(head[8 : 12 if wide else 10], "little")
                yield from self._stacked(read_at, (12 if wide else 10) + length, size, where)
            return
        before = self.found
        if depth == _MAX_DEPTH and (
            head.startswith(b"PK\x03\x04") or unpacker(head) or is_tar(head)
        ):
            raise TooLargeError(f"{where}: archives in archives, deeper than is looked")
        if depth < _MAX_DEPTH:
            for member in members(read_at, size):
                yield from self._member(read_at, size, member, where, depth)
            yield from self._tar(read_at, size, head, where, depth)
            unpack = unpacker(head)
            if unpack is not None:
                data = _limited(unpack, read_at(0, min(size, _MAX_UNPACKED)))
                if data:
                    inner: ReadAt = lambda at, count: data[at : at + count]  # noqa: E731
                    yield from self.pickles(inner, len(data), _join(where, "unpacked"), depth + 1)
        # What is appended to a pickle does not keep a loader from it; a zip is none itself.
        alone = self.found == before or not head.startswith(b"PK")
        if alone and is_pickle(read_at, size):
            yield from self._stacked(read_at, 0, size, where)

    def _member(
        self, read_at: ReadAt, size: int, member: object, where: str, depth: int
    ) -> Iterator[Slim]:
        from signing.zips import Member

        assert isinstance(member, Member)
        name = _join(where, member.name)
        if member.method == STORED:
            start, length = member.start, min(member.size, max(0, size - member.start))

            def stored(at: int, count: int) -> bytes:
                return read_at(start + at, max(0, min(count, length - at)))

            yield from self.pickles(stored, length, name, depth + 1)
            return
        unpack = unpack_member(member.method)
        if unpack is None:
            raise TooLargeError(f"{name}: packed with method {member.method}")
        data = _limited(unpack, read_at(member.start, min(member.packed, _MAX_UNPACKED)))
        inner: ReadAt = lambda at, count: data[at : at + count]  # noqa: E731
        yield from self.pickles(inner, len(data), name, depth + 1)

    def _tar(
        self, read_at: ReadAt, size: int, head: bytes, where: str, depth: int
    ) -> Iterator[Slim]:
        from signing.formats import tar_members

        for name, start, length in tar_members(read_at, size, head):

            def inside(at: int, count: int, start: int = start, length: int = length) -> bytes:
                return read_at(start + at, max(0, min(count, length - at)))

            if length:
                yield from self.pickles(inside, length, _join(where, name), depth + 1)

    def _stacked(self, read_at: ReadAt, at: int, size: int, where: str) -> Iterator[Slim]:
        """One pickle after another, as `torch.save` wrote them once."""
        while True:
            self.found += 1
            if self.found > _MAX_PICKLES:
                raise TooLargeError(f"more than {_MAX_PICKLES} pickles")
            self._imports = 0
            data, broken, end, nested = self._slim(read_at, at)
            yield Slim(where, data, broken, self._imports)
            for number, inner in enumerate(nested, 1):
                again: ReadAt = lambda a, n, inner=inner: inner[a : a + n]  # type: ignore[misc]  # noqa: E731
                yield from self._stacked(again, 0, len(inner), _join(where, f"nested-{number}"))
            if broken or end >= size or not is_pickle(_from(read_at, end), size - end):
                return
            at = end

    def _slim(  # noqa: PLR0912 -- one case for each shape of an argument
        self, read_at: ReadAt, at: int
    ) -> tuple[bytes, bool, int, list[bytes]]:
        data, out, nested = _Bytes(read_at, at), bytearray(), list[bytes]()
        while True:
            code = data.take(1)
            opcode = OPCODES.get(code[0]) if code else None
            if opcode is None:
                return bytes(out), True, data.at, nested
            self.left -= 1
            if self.left < 0:
                raise TooLargeError(f"more than {MAX_OPCODES} opcodes")
            if opcode.length is None:
                lines = []
                for _ in range(opcode.lines):
                    line = data.line()
                    if line is None:
                        return bytes(out), True, data.at, nested
                    if opcode.name in NUMBERS or opcode.name == "STRING":
                        line = _plain(opcode.name, line)
                    too_long = len(line) > _MAX_KEPT
                    lines.append(_EMPTY_LINES.get(opcode.name, line) if too_long else line)
                # fickling knows no number with a point in text.
                out += (b"I" if opcode.name == "FLOAT" else code) + b"".join(
                    line + b"\n" for line in lines
                )
            elif opcode.length >= 0:
                argument = data.take(opcode.length)
                if opcode.name != "FRAME":
                    out += code + argument
            else:
                width = -opcode.length
                count = int.from_bytes(data.take(width), "little")
                if opcode.name == "FRAME":
                    continue
                if count > _MAX_KEPT:
                    first = data.take(_MAX_KEPT)
                    if first[:1] == b"\x80" and is_pickle(_cut(first), len(first)):
                        data.at -= len(first)
                        nested.append(read_at(data.at, min(count, _WINDOW)))
                        data.at += count
                    else:
                        data.at += count - len(first)
                    out += code + bytes(width)
                else:
                    argument = data.take(count)
                    if len(argument) < count:
                        return bytes(out), True, data.at, nested
                    if argument[:1] == b"\x80" and is_pickle(_cut(argument), count):
                        nested.append(argument)
                    out += code + count.to_bytes(width, "little") + argument
            self._imports += opcode.name in NAMING
            if opcode.name == "STOP":
                return bytes(out), False, data.at, nested


def _plain(opcode: str, line: bytes) -> bytes:
    """A number or text as picklers write it, since scanners do not read all that loaders read. Of
    numbers only a place in the memo matters; of texts ASCII, which names are of."""
    if opcode == "STRING":
        try:
            text = codecs.escape_decode(line.strip()[1:-1])[0].decode("ascii", "replace")
        except ValueError:
            return line
        return ascii(text.replace("\N{REPLACEMENT CHARACTER}", "?")).encode()
    if opcode in ("INT", "LONG", "FLOAT"):
        return b"0L" if opcode == "LONG" else b"0"
    try:
        return b"%d" % int(line.partition(b"\0")[0])
    except ValueError:
        return line


def _from(read_at: ReadAt, start: int) -> ReadAt:
    return lambda at, count: read_at(start + at, count)


def _cut(data: bytes) -> ReadAt:
    return lambda at, count: data[at : at + count]


def _join(where: str, name: str) -> str:
    return f"{where}/{name}" if where else name


def _limited(unpack: Unpack, data: bytes) -> bytes:
    """Unpacked bytes; none where it was not packed so.

    Raises:
        TooLargeError: they are more than is looked at.
    """
    out = unpack(data, _MAX_UNPACKED)
    if len(out) >= _MAX_UNPACKED:
        raise TooLargeError(f"more than {_MAX_UNPACKED} bytes when unpacked")
    return out


def reading(file: BinaryIO) -> ReadAt:
    descriptor = file.fileno()
    return lambda at, count: os.pread(descriptor, count, at) if count > 0 else b""
