"""A file that is fetched chunk by chunk, in any order, and its journal.

    partial/<digest>.part       the bytes so far, each at its place
    partial/<digest>.journal    which chunks of it are there

The journal begins with a line that names the chunk list and this boot of the machine; then come
the numbers of chunks, four bytes each: those that came and were verified. With the highest bit set
it is one that was copied unread, from a file that was verified and that nobody seems to have
touched since. A number is written after its chunk: whatever kills the process, what the journal
says is in the file. A power cut is another matter, because then either may have reached the disk
without the other. So after another boot the journal is only a hint: what it names is hashed again
before it counts, and so are, whenever the file is opened, the chunks that were copied unread.

None of this decides what is accepted. That is done by the digest of the whole file, which is
taken from the file itself before it becomes a blob of the cache. So that it says what is in the
file at the end, a chunk has one writer at a time, who claimed it, and none once it is here.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from signing.chunks import Chunk, ChunkList

from ..boot import this_boot
from ..exclusive import Exclusive, journal_of
from ..files import begin_sync

_FREE: Final = 0
_TAKEN: Final = 1  # somebody asks for it
_COMING: Final = 2  # somebody writes it
_HERE: Final = 3
_UNPROVEN: Final = 4  # here as well, and nobody has compared it with the list
_CAME: Final = bytes([_HERE, _UNPROVEN])
_UNPROVEN_BIT: Final = 1 << 31
_FREE_RUN: Final = re.compile(b"\x00+")
_CLAIMABLE: Final = re.compile(b"[\x00\x01]*")
_BLOCK_BYTES: Final = 1 << 20
_BEGIN_BYTES: Final = 16 << 20  # so much of it is written to the disk while the rest comes


class Partial:
    """The unfinished file at ``path``, of which ``chunks`` is the list. For several threads.

    ``path`` is then where it lies, which is elsewhere where the file system has no locks
    (`exclusive`).

    Raises:
        Busy: another process has it.
    """

    def __init__(self, path: Path, chunks: ChunkList) -> None:
        self.chunks = chunks
        self._state = bytearray(len(chunks))
        self._lock = threading.Lock()
        self._following = threading.Lock()
        self._whole = hashlib.sha256()
        self._right = self._whole.copy()  # without a chunk that is still coming
        self._unsynced = 0  # bytes, about: of no use but for the disk to begin
        self._followed = 0  # so many chunks from the first on are in `_whole`
        self._journal = -1
        self._file = Exclusive(path)
        self._descriptor, self.path = self._file.descriptor, self._file.path
        try:
            self._open_journal()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets the file go to whoever continues; everything verified so far is kept."""
        if self._journal >= 0:
            os.close(self._journal)
        self._file.close()
        self._journal = self._descriptor = -1

    def release(self) -> None:
        """The file is complete: its journal is not needed any more."""
        with suppress(OSError):
            self.journal_path.unlink()

    def remove(self) -> None:
        """Nothing of it is kept."""
        self.release()
        with suppress(OSError):
            self.path.unlink()

    @property
    def journal_path(self) -> Path:
        return journal_of(self.path)

    @property
    def done(self) -> bool:
        """Whether every chunk is in the file; `digest` says whether it is the right file."""
        return sum(map(self._state.count, _CAME)) == len(self._state)

    def missing_bytes(self) -> int:
        """What still has to come."""
        start = self.chunks.start
        missing = [number for number, state in enumerate(self._state) if state not in _CAME]
        return sum(start(number + 1) - start(number) for number in missing)

    # --- who fetches what -----------------------------------------------------------------

    def take(self, span: int, within: range | None = None) -> range:
        """The next chunks that nobody fetches, about ``span`` bytes in a row; maybe none. Only
        those ``within`` are looked at, where it is given."""
        with self._lock:
            limits = (0, len(self._state)) if within is None else (within.start, within.stop)
            match = _FREE_RUN.search(self._state, *limits)
            if match is None:
                return range(0)
            begin = match.start()
            last = self.chunks.at(min(self.chunks.start(begin) + span, self.chunks.size) - 1)
            end = max(begin + 1, min(last + 1, match.end()))
            self._state[begin:end] = bytes([_TAKEN]) * (end - begin)
            return range(begin, end)

    def give_back(self, numbers: range) -> None:
        """Those of ``numbers`` that did not come can be taken by others."""
        with self._lock:
            for number in numbers:
                if self._state[number] == _TAKEN:
                    self._state[number] = _FREE

    def claim(self, numbers: range) -> int:
        """The caller alone writes the chunks from ``numbers.start`` up to the one returned, until
        it marks them or lets them go: those in a row that are neither here nor written by others,
        whoever asked for them."""
        with self._lock:
            match = _CLAIMABLE.match(self._state, numbers.start, numbers.stop)
            assert match is not None
            self._state[numbers.start : match.end()] = bytes([_COMING]) * len(match[0])
            return match.end()

    def let_go(self, numbers: range) -> None:
        """Those of ``numbers``, which the caller claimed, that did not come can be taken by
        others."""
        with self._lock:
            for number in numbers:
                if self._state[number] == _COMING:
                    self._state[number] = _FREE

    def has(self, number: int) -> bool:
        """Whether the chunk is here, and right as far as anybody knows."""
        return self._state[number] == _HERE

    def has_all(self, numbers: range) -> bool:
        return self._state.count(_HERE, numbers.start, numbers.stop) == len(numbers)

    def read(self, start: int, size: int) -> bytes:
        """Bytes of chunks that are here."""
        return self._read(size, start)

    # --- bytes ----------------------------------------------------------------------------

    def write(self, data: memoryview | bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            view = view[count:]
            offset += count
        self._unsynced += len(data)
        if self._unsynced >= _BEGIN_BYTES:
            self._unsynced = 0
            begin_sync(self._descriptor)

    def copy_from(self, source: int, start: int, chunk: Chunk) -> bool:
        """Copy ``chunk`` from another open file, where it is at ``start``; False when the bytes
        there are others."""
        hasher = hashlib.sha256()
        for at in range(0, chunk.length, _BLOCK_BYTES):
            data = os.pread(source, min(_BLOCK_BYTES, chunk.length - at), start + at)
            hasher.update(data)
        numbers = range(chunk.number, chunk.number + 1)
        return hasher.digest() == chunk.digest and self.copy_run(
            source, start, numbers, proven=True
        )

    def copy_run(self, source: int, start: int, numbers: range, *, proven: bool = False) -> bool:
        """Copy the chunks ``numbers`` from another open file, where they lie in a row from
        ``start`` on, unread; False when that file ends before them.

        For a file whose chunks were verified and which nobody has touched since. Should it be
        another all the same, the digest of the whole shows it, and `rescan` which chunks are to be
        fetched. Nobody takes that digest where the process is killed, or another one reads parts
        of the file: so they are not ``proven`` unless the caller has just compared them.
        """
        begin, end = self.chunks.start(numbers.start), self.chunks.start(numbers.stop)
        if not self._copy(source, start, begin, end - begin):
            return False
        self.mark(*numbers, proven=proven)
        return True

    def _copy(self, source: int, start: int, at: int, length: int) -> bool:
        done = 0
        with suppress(OSError, AttributeError):  # another file system, or a kernel without it
            while done < length:
                count = os.copy_file_range(
                    source, self._descriptor, length - done, start + done, at + done
                )
                if not count:
                    break
                done += count
        while done < length:
            data = os.pread(source, min(_BLOCK_BYTES, length - done), start + done)
            if not data:
                return False  # it became shorter
            self.write(data, at + done)
            done += len(data)
        return True

    def mark(self, *numbers: int, proven: bool = True) -> None:
        """The chunks are in the file; and, if ``proven``, right as far as anybody knows."""
        if not numbers:
            return
        bit, state = (0, _HERE) if proven else (_UNPROVEN_BIT, _UNPROVEN)
        os.write(self._journal, b"".join((bit | number).to_bytes(4, "big") for number in numbers))
        with self._lock:
            for number in numbers:
                self._state[number] = state

    # --- the digest of the whole ----------------------------------------------------------

    def follow(self, *, wait: bool = False) -> None:
        """Take up what stands in a row from the beginning into the digest of the whole."""
        if not self._following.acquire(blocking=wait):
            return
        try:
            self._catch_up()
        finally:
            self._following.release()

    def _catch_up(self) -> None:
        begin = end = self._followed
        while end < len(self._state) and self._state[end] in _CAME:
            end += 1
        if end == begin:
            return
        at, stop = self.chunks.start(begin), self.chunks.start(end)
        buffer = memoryview(bytearray(min(_BLOCK_BYTES, stop - at)))
        while at < stop:
            count = os.preadv(self._descriptor, [buffer[: stop - at]], at)
            if not count:
                break
            self._whole.update(buffer[:count])
            at += count
        self._followed = end

    def begin_tap(self, number: int) -> bool:
        """Whether the bytes of chunk ``number`` are the next ones for the digest of the whole.

        If so they, and those of the chunks behind it, go to `tap` as they come, which saves
        reading them back, until `end_tap`.
        """
        if not self._following.acquire(blocking=False):
            return False
        self._catch_up()
        if self._followed != number:
            self._following.release()
            return False
        self._right = self._whole.copy()
        return True

    def tap(self, data: memoryview) -> None:
        self._whole.update(data)

    def tapped(self, number: int) -> None:
        """All of the chunk went to `tap`, and it is right."""
        self._followed = number + 1
        self._right = self._whole.copy()

    def end_tap(self) -> None:
        """Forget the bytes of a chunk that is not complete."""
        self._whole = self._right
        self._following.release()

    def digest(self) -> str:
        """The digest of the whole file, of which every chunk must be here."""
        self.follow(wait=True)
        return self._whole.hexdigest()

    def rescan(self, states: bytes = _CAME) -> int:
        """Hash every chunk in one of these ``states`` again, from the file; returns how many turned
        out to be spoilt."""
        spoilt = 0
        for number, state in enumerate(self._state):
            if state in states:
                right = self._is_right(self.chunks[number])
                self._state[number] = _HERE if right else _FREE
                spoilt += not right
        self._whole, self._followed = hashlib.sha256(), 0
        self._write_journal()
        return spoilt

    def _is_right(self, chunk: Chunk) -> bool:
        hasher, at = hashlib.sha256(), chunk.start
        while at < chunk.end and (data := self._read(min(_BLOCK_BYTES, chunk.end - at), at)):
            hasher.update(data)
            at += len(data)
        return hasher.digest() == chunk.digest

    def _read(self, size: int, at: int) -> bytes:
        return os.pread(self._descriptor, size, at)

    # --- the journal ----------------------------------------------------------------------

    def _open_journal(self) -> None:
        head = f"forge-partial-1 {self.chunks.digest} {this_boot()}\n".encode()
        try:
            data = self.journal_path.read_bytes()
        except FileNotFoundError:
            data = b""
        first, newline, rest = data.partition(b"\n")
        same_list = first.startswith(head[: head.rindex(b" ")])
        if same_list:
            for at in range(0, len(rest) - 3, 4):
                entry = int.from_bytes(rest[at : at + 4], "big")
                number = entry & ~_UNPROVEN_BIT
                if number < len(self._state):
                    self._state[number] = _UNPROVEN if entry & _UNPROVEN_BIT else _HERE
        else:
            # No journal, or one of another list: whatever lies there is looked at once, for it may
            # be what an older version of this program left.
            size = os.fstat(self._descriptor).st_size
            there = self.chunks.at(min(size, self.chunks.size))
            self._state[:there] = bytes([_HERE]) * there
        self._journal = os.open(
            self.journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        if first + newline == head:
            os.ftruncate(self._journal, len(data) - len(rest) % 4)  # a number cut in half
            if _UNPROVEN in self._state:
                self.rescan(bytes([_UNPROVEN]))
        else:
            self.rescan()

    def _write_journal(self) -> None:
        """The journal anew, from what is known now."""
        head = f"forge-partial-1 {self.chunks.digest} {this_boot()}\n".encode()
        numbers = (n for n, state in enumerate(self._state) if state == _HERE)
        os.ftruncate(self._journal, 0)
        data = head + b"".join(number.to_bytes(4, "big") for number in numbers)
        while data:
            data = data[os.write(self._journal, data) :]
