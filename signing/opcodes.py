"""Whether bytes are a pickle, told from its opcodes alone. Nothing is loaded, and nothing is looked
up: the walk only knows how long each opcode's argument is and what it does to the height of the
stack (`pickletools` has the table).

A loader carries out every opcode up to the first that fails. So bytes count as a pickle when the
walk reaches the end of one, or an opcode that calls something, or the limit of what is looked at;
they do not when an opcode is unknown, its argument impossible or the stack too low for it, because
then a loader would have stopped there too.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ReadAt = Callable[[int, int], bytes]
"""From an offset and a length to the bytes there; fewer at the end."""

_MAX_OPCODES: Final = 50_000
_MAX_READS: Final = 64
_WINDOW: Final = 65536
_MAX_LINE: Final = 4096
_CALLS: Final = frozenset(("REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"))
_PERSISTENT: Final = frozenset(("PERSID", "BINPERSID"))
NAMING: Final = frozenset(("GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"))
_NAMES: Final = re.compile(rb"[A-Za-z_][\w.]*\Z")
_OCTAL: Final = re.compile(rb"[-+]?0[0-7]+")  # as C writes it
_LINES: Final = {"GLOBAL": 2, "INST": 2}
NUMBERS: Final = frozenset(("INT", "LONG", "FLOAT", "GET", "PUT"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opcode:
    """``length`` is the argument's, in bytes, or -n: n bytes that say how many follow, or None:
    ``lines``. ``needs`` lie on the stack before, above the last mark where ``to_mark``."""

    name: str
    length: int | None
    lines: int
    needs: int
    to_mark: bool
    gives: int


def _table() -> dict[int, Opcode]:
    counts = {-2: -1, -3: -4, -4: -4, -5: -8}  # pickletools' own signs for counted arguments
    table = {}
    for each in pickletools.opcodes:
        before = [item.name for item in each.stack_before]
        to_mark = "mark" in before
        needs = before.index("mark") if to_mark else len(before)
        kind = each.arg
        length: int | None = 0 if kind is None else kind.n
        lines = 0
        if length == pickletools.UP_TO_NEWLINE:
            length, lines = None, _LINES.get(each.name, 1)
        elif length is not None and length < 0:
            length = counts[length]
        table[ord(each.code)] = Opcode(
            name=each.name,
            length=length,
            lines=lines,
            needs=needs,
            to_mark=to_mark,
            gives=len(each.stack_after),
        )
    return table


OPCODES: Final = _table()


@dataclass(slots=True)
class Effort:
    """How many opcodes may be walked over in all. Whoever needs more made them up to be too many:
    what is not walked over then counts as a pickle."""

    left: int = 1_000_000


def is_pickle(read_at: ReadAt, size: int | None, effort: Effort | None = None) -> bool:
    """Whether a loader of pickles would take what begins at offset 0 of ``size`` bytes for one.
    None: nobody knows how many follow those that can be read, as in what is compressed; then only
    what says itself that it is a pickle counts as one where the walk does not get far enough."""
    return _Walk(read_at, size, effort or Effort()).whole()


def _is_number(line: bytes) -> bool:
    """Whether a loader takes the argument for a number. Loaders stop at a NUL, allow blanks around
    it and every way to write one that C or Python knows."""
    text = line.partition(b"\0")[0].strip()
    if _OCTAL.fullmatch(text):
        return True
    for parse in (lambda: int(text.removesuffix(b"L"), 0), lambda: int(text), lambda: float(text)):
        try:
            parse()
        except ValueError:
            continue
        return True
    return False


class _OddError(Exception):
    """Here a loader would have stopped."""


class _EnoughError(Exception):
    """It went well for as long as we look."""


class _Walk:
    def __init__(self, read_at: ReadAt, size: int | None, effort: Effort) -> None:
        self._effort = effort
        self._read_at, self._size = read_at, 2**62 if size is None else size
        self._known = size is not None
        self._at = 0
        self._window, self._start, self._reads = b"", 0, 0
        self._height, self._marks = 0, list[int]()
        self._binary = self._names = False
        self._opcodes = 0

    def whole(self) -> bool:
        try:
            for _ in range(min(_MAX_OPCODES, self._effort.left)):
                if self._step():
                    return True
        except _OddError:
            return False
        except _EnoughError:
            pass
        finally:
            self._effort.left -= self._opcodes
        return self._known or self._binary

    def _step(self) -> bool:
        """Walks over one opcode; whether that is enough."""
        self._opcodes += 1
        opcode = OPCODES.get(self._take(1)[0])
        if opcode is None:
            raise _OddError
        self._argument(opcode)
        if opcode.name == "STOP":
            if self._height < 1:
                raise _OddError
            # A text may look like a number and an end. Data without a name do nothing either: they
            # count where they fill the file.
            whole = self._at == self._size and self._opcodes > 3
            return self._binary or self._names or whole
        self._stack(opcode)
        self._binary = self._binary or opcode.name == "PROTO"
        self._names = self._names or opcode.name in NAMING
        return opcode.name in _CALLS or (opcode.name in _PERSISTENT and self._binary)

    def _argument(self, opcode: Opcode) -> None:
        if opcode.length is None:
            for _ in range(opcode.lines):
                line = self._line()
                if opcode.name in NUMBERS and not _is_number(line):
                    raise _OddError
                if opcode.lines == 2 and not self._binary and not _NAMES.match(line):
                    raise _OddError
            return
        if opcode.length >= 0:
            data = self._take(opcode.length)
            if opcode.name == "PROTO" and data[0] > 5:
                raise _OddError
            return
        count = int.from_bytes(self._take(-opcode.length), "little")
        if opcode.name == "FRAME":
            return
        if self._at + count > self._size:
            raise _OddError
        self._at += count

    def _stack(self, opcode: Opcode) -> None:
        if opcode.name == "MARK":
            self._marks.append(self._height)
            return
        if opcode.name == "POP":
            if self._marks and self._marks[-1] == self._height:
                self._marks.pop()
                return
        elif opcode.to_mark:
            if not self._marks:
                raise _OddError
            self._height = self._marks.pop()
        floor = self._marks[-1] if self._marks else 0
        if self._height - opcode.needs < floor:
            raise _OddError
        self._height += opcode.gives - opcode.needs

    def _take(self, count: int) -> bytes:
        self._fill(count)
        begin = self._at - self._start
        self._at += count
        return self._window[begin : begin + count]

    def _line(self) -> bytes:
        """The rest of the line, as much of it as anybody looks at; it may be long."""
        first = b""
        while True:
            self._fill(1)
            begin = self._at - self._start
            end = self._window.find(b"\n", begin)
            line = self._window[begin : None if end < 0 else end]
            first = first or line[:_MAX_LINE]
            self._at += len(line)
            if end >= 0:
                self._at += 1
                return first
            if self._at >= self._size:
                raise _OddError

    def _fill(self, count: int) -> None:
        """Makes ``count`` bytes from here on visible."""
        if self._at + count > self._size:
            raise _OddError
        if self._start <= self._at and self._at + count <= self._start + len(self._window):
            return
        if self._reads >= _MAX_READS:
            raise _EnoughError
        self._reads += 1
        self._start, self._window = self._at, self._read_at(self._at, max(count, _WINDOW))
        if len(self._window) < count:
            raise _EnoughError
