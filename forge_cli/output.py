"""What the person sees: stdout is the answer, stderr is everything else.

Text that a publisher or a registry controls goes through `clean`, so that a component's summary
can neither move the cursor nor hide a line: control, escape and bidirectional characters become
visible escapes.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from .errors import Failure


def clean(text: object) -> str:
    """``text`` on one line, safe to print: nothing in it can steer a terminal.

    Categories Cc, Cf, Cs, Zl and Zp are shown as escapes; the two joiners that Arabic-script and
    Indic spelling needs are left alone.
    """
    return "".join(
        char if _is_plain(char) else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(text)
    )


def _is_plain(char: str) -> bool:
    if char in "\u200c\u200d":
        return True
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def size_text(size: int) -> str:
    """``size`` in bytes as people read it: ``1.5 MiB``."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """``seconds`` as people say it: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count_text(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Progress(Protocol):
    """Something that is told about bytes as they move. Called from several threads."""

    def advance(self, size: int) -> None: ...


class SilentProgress:
    """Progress for pipes and logs: nothing."""

    def advance(self, size: int) -> None:
        pass


@dataclass(slots=True, kw_only=True)
class Output:
    """Where a command writes. ``as_json`` makes `result` the only thing on stdout."""

    stdout: TextIO
    stderr: TextIO
    as_json: bool = False
    quiet: bool = False
    color: bool = False

    @classmethod
    def standard(cls, *, as_json: bool = False, quiet: bool = False) -> Output:
        """The process's own streams; colour only on a terminal and without ``NO_COLOR``."""
        color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        color = color and os.environ.get("TERM") != "dumb"
        return cls(stdout=sys.stdout, stderr=sys.stderr, as_json=as_json, quiet=quiet, color=color)

    def answer(self, line: str = "") -> None:
        """One line of the answer; left out with ``--json``."""
        if not self.as_json:
            self._write(self.stdout, line)

    def result(self, value: Mapping[str, object] | Sequence[object]) -> None:
        """The whole answer as one JSON document; only with ``--json``."""
        if self.as_json:
            self._write(self.stdout, json.dumps(value, indent=2, ensure_ascii=False, default=str))
            self.stdout.flush()

    def say(self, line: str = "") -> None:
        """What is going on, for people."""
        if not self.quiet:
            self._write(self.stderr, line)

    def done(self, line: str) -> None:
        """Something was achieved."""
        self.say(f"{self.paint('✓', 'green')} {line}")

    def warn(self, line: str) -> None:
        self._write(self.stderr, f"{self.paint('warning', 'yellow')}: {line}")

    def next_step(self, *lines: str) -> None:
        """What a person will most likely want to type now."""
        for index, line in enumerate(lines):
            self.say(f"{self.paint('next:', 'cyan') if index == 0 else '     '} {line}")

    def hanging(self, lead: str, text: str) -> None:
        """A line of the answer; on a terminal its further lines begin under ``text``."""
        indent = _width(re.sub("\x1b\\[[0-9]*m", "", lead))
        room = self._columns() - indent
        lines = textwrap.wrap(text, room) if room >= 20 else [text]
        self.answer(lead + (lines[0] if lines else ""))
        for line in lines[1:]:
            self.answer(" " * indent + line)

    def _columns(self) -> int:
        """The width of the terminal; what is not a terminal never needs a line cut."""
        if not self.stdout.isatty():
            return sys.maxsize
        return shutil.get_terminal_size().columns

    def table(self, rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
        """Rows of the answer in aligned columns."""
        for line in align(rows):
            self.answer(indent + line)

    def fail(self, failure: Failure) -> None:
        """The refusal: what, expected, found, what to do."""
        if self.as_json:
            self.result({"error": failure.to_json()})
        self._write(self.stderr, f"{self.paint('error', 'red')}: {_lines(failure.message)}")
        if failure.request_id:
            self._write(self.stderr, f"       request {clean(failure.request_id)}")
        if failure.hint:
            self._write(self.stderr, f"{self.paint('hint', 'cyan')}: {_lines(failure.hint, 6)}")

    def paint(self, text: str, color: str) -> str:
        if not self.color:
            return text
        code = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}[color]
        return f"\x1b[{code}m{text}\x1b[0m"

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """A bar with rate and time left while the block runs, on a terminal only."""
        if self.quiet or self.as_json or not self.stderr.isatty() or total < 1 << 20:
            yield SilentProgress()
            return
        with _bar(self.stderr, label, total, color=self.color) as bar:
            yield bar

    @staticmethod
    def _write(stream: TextIO, line: str) -> None:
        encoding = stream.encoding or "utf-8"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()  # both streams often end in one log, and should stand there in order


@dataclass(slots=True, kw_only=True)
class Collected(Output):
    """Writes nothing; keeps what it was to warn of, for programs that call ours."""

    warnings: list[str]

    @classmethod
    def new(cls) -> Collected:
        return cls(stdout=io.StringIO(), stderr=io.StringIO(), quiet=True, warnings=[])

    def warn(self, line: str) -> None:
        self.warnings.append(line)


def _lines(text: str, indent: int = 7) -> str:
    """Several of our own lines, each made safe, hanging under the first behind its label."""
    return f"\n{' ' * indent}".join(clean(line) for line in text.splitlines())


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """``rows`` with every column but the last padded to its widest cell on screen."""
    if not rows:
        return []
    widths = [0] * max(len(row) for row in rows)
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            widths[index] = max(widths[index], _width(cell))
    return [
        "  ".join(
            cell + " " * (widths[index] - _width(cell) if index < len(row) - 1 else 0)
            for index, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    """Columns on a terminal: combining marks take none, wide East Asian letters two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


@contextmanager
def _bar(stream: TextIO, label: str, total: int, *, color: bool) -> Iterator[Progress]:
    # rich costs more than the rest of the program together: only when a bar is really drawn.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    console = Console(file=stream, no_color=not color)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console, transient=True) as rich:
        task = rich.add_task(label, total=total)

        class Bar:
            def advance(self, size: int) -> None:
                rich.advance(task, size)

        yield Bar()
