"""Copies share the processors: a thread of their own for hashing only where one is free."""

from __future__ import annotations

import hashlib
import threading
from io import BytesIO

import pytest

from forge_server.services.chunk_checks import WatchedStream
from signing.chunks import ChunkCheck, build_chunk_list
from signing.errors import VerificationError
from storage import BlobMismatchError, hashing
from storage.hashing import Processors, copy_verified

_LARGE = 8 << 20


def _copied(data: bytes, digest: str) -> set[str]:
    """The names of the threads that there were while `data` was copied."""
    names: set[str] = set()

    def write(view: memoryview) -> None:
        names.update(thread.name for thread in threading.enumerate())

    copy_verified(BytesIO(data), digest, len(data), write)
    return names


def test_a_copy_has_at_least_one_processor_and_more_while_they_are_free() -> None:
    processors = Processors(3)
    with processors.taken(2) as first, processors.taken(2) as second, processors.taken(2) as third:
        assert (first, second, third) == (2, 1, 1)
    with pytest.raises(OSError, match="full"), processors.taken(2):
        raise OSError("full")
    with processors.taken(3) as all_of_them:
        assert all_of_them == 3


@pytest.mark.parametrize(("free", "helped"), [(2, True), (1, False)])
def test_a_large_copy_is_hashed_by_a_helper_where_a_processor_is_free(
    monkeypatch: pytest.MonkeyPatch, free: int, helped: bool
) -> None:
    monkeypatch.setattr(hashing, "_processors", Processors(free))
    data = bytes(_LARGE)
    assert ("sha256" in _copied(data, hashlib.sha256(data).hexdigest())) is helped
    with pytest.raises(BlobMismatchError):
        _copied(data, "0" * 64)


class _Dribble:
    """A socket that gives ten bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 10))

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer[:10])


class _Check(ChunkCheck):
    sizes: list[int]

    def update(self, data: memoryview) -> None:
        self.sizes.append(len(data))
        super().update(data)


def test_what_comes_in_little_by_little_is_compared_in_large_pieces() -> None:
    parts = [b"a" * 95, b"b" * 5, b"c" * 33]
    right = build_chunk_list([(hashlib.sha256(part).digest(), len(part)) for part in parts])
    check = _Check(right, "blob")
    check.sizes = []
    stream = WatchedStream(_Dribble(b"".join(parts)), check)
    buffer = memoryview(bytearray(100))
    assert [stream.readinto(buffer), stream.readinto(buffer)] == [100, 33]
    assert check.sizes == [100, 33]
    assert check.complete
    with pytest.raises(VerificationError, match="chunk 1"):
        WatchedStream(_Dribble(b"a" * 95 + b"B" * 5), ChunkCheck(right, "blob")).readinto(buffer)
