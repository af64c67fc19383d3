"""Copying a stream while it is hashed once, in constant memory.

The copy runs at the speed of the slower of two things that release the GIL: sha256 in a
helper thread, and reading plus writing in the caller's. Two buffers of 1 MiB take turns, so
that neither waits for the other and no byte is copied inside Python. Where other copies keep the
processors busy a helper would only make threads wait for each other: then one thread does both.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from .errors import BlobMismatchError

BUFFER_BYTES = 1 << 20
_THREAD_FROM_BYTES = 8 * BUFFER_BYTES  # below, starting a thread costs more than it saves


class Readable(Protocol):
    """What `put` needs of a stream. A blocking `readinto` is used where there is one."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, b"" at the end; fewer bytes do not mean the end."""
        ...


def copy_verified(
    stream: Readable, digest: str, size: int, write: Callable[[memoryview], object]
) -> None:
    """Passes exactly `size` bytes with that sha256 to `write`, in order.

    Each view passed to `write` is valid only until it returns. At most `size` + 1 bytes are
    read: the one extra byte is what tells a longer stream from a complete one. What `write`
    got must be thrown away when this raises.

    Raises:
        BlobMismatchError: the stream is longer or shorter than `size`, or hashes to
            something else.
        Whatever `stream` and `write` raise, untouched.
    """
    found = 0
    with _processors.taken(2 if size >= _THREAD_FROM_BYTES else 1) as processors:
        hasher = _start_hasher(processors)
        try:
            for chunk in _chunks(stream, size):
                found += len(chunk)
                if found > size:
                    raise _wrong_length(digest, size, f"more than {size} bytes")
                hasher.update(chunk)
                write(chunk)
        finally:
            actual = hasher.finish()
    if found < size:
        raise _wrong_length(digest, size, f"{found} bytes")
    if actual != digest:
        raise BlobMismatchError(digest, f"sha256 {digest}", f"sha256 {actual}")


def _wrong_length(digest: str, size: int, found: str) -> BlobMismatchError:
    return BlobMismatchError(digest, f"{size} bytes", found, code="length-mismatch")


def _chunks(stream: Readable, size: int) -> Iterator[memoryview]:
    """Non-empty views of the stream until its end or until `size` + 1 bytes were seen.

    A view stays untouched until the second next one is asked for.
    """
    left = size + 1
    readinto = getattr(stream, "readinto", None)
    if readinto is None:
        while left > 0 and (data := stream.read(min(left, BUFFER_BYTES))):
            left -= len(data)
            yield memoryview(data)
        return
    capacity = min(left, BUFFER_BYTES)
    buffers = [memoryview(bytearray(capacity)) for _ in range(2)]
    while left > 0:
        buffers.reverse()
        count = fill(readinto, buffers[0][: min(left, capacity)])
        if count == 0:
            return
        left -= count
        yield buffers[0][:count]


def fill(readinto: Callable[[memoryview], int | None], buffer: memoryview) -> int:
    """How many bytes came; fewer than the buffer holds at the end alone. A socket gives a few
    dozen KiB at a time, and handing each of them to another thread costs more than hashing it."""
    count = 0
    while count < len(buffer):
        # None is the answer of a non-blocking stream without data; it ends the copy as a
        # stream that is too short, because spinning on it would be worse.
        more = readinto(buffer[count:]) or 0
        if more == 0:
            break
        count += more
    return count


class _Hasher:
    """sha256 in the caller's thread."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, view: memoryview) -> None:
        self._hash.update(view)

    def finish(self) -> str:
        return self._hash.hexdigest()


class _ThreadedHasher(_Hasher):
    """sha256 in a thread of its own, at most one chunk behind the caller."""

    def __init__(self) -> None:
        super().__init__()
        self._todo: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._done.put(None)
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def update(self, view: memoryview) -> None:
        # Waiting for the previous chunk is what lets the reader reuse its buffer next.
        self._done.get()
        self._todo.put(view)

    def finish(self) -> str:
        self._todo.put(None)
        self._thread.join()
        return super().finish()

    def _run(self) -> None:
        while (view := self._todo.get()) is not None:
            self._hash.update(view)
            self._done.put(None)


def _start_hasher(processors: int) -> _Hasher:
    if processors < 2:
        return _Hasher()
    try:
        return _ThreadedHasher()
    except RuntimeError:  # "can't start new thread": slower is better than refused
        return _Hasher()


class Processors:
    """How many threads of this process copy and hash at the moment, of ``total`` that can at once.

    No limit: each copy has one, and a second one where nobody else is in want of it.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, most: int) -> Iterator[int]:
        """Counts one to ``most`` of them as busy while the block runs; how many."""
        with self._lock:
            count = max(1, min(most, self._total - self._taken))
            self._taken += count
        try:
            yield count
        finally:
            with self._lock:
                self._taken -= count


def _usable() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_processors = Processors(_usable())
