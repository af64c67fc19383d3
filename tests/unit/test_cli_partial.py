"""An unfinished file believes its journal after a kill, its bytes alone after a reboot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tensors import chunks_of, safetensors, tensors

from forge_cli.exclusive import Busy
from forge_cli.remote.partial import Partial

DATA = safetensors(tensors(1, count=4))
LIST = chunks_of(DATA)


def left(path: Path, upto: int) -> None:
    unfinished = Partial(path, LIST)
    for chunk in list(LIST)[:upto]:
        unfinished.write(DATA[chunk.start : chunk.end], chunk.start)
        unfinished.mark(chunk.number)
    unfinished.close()


def here(path: Path) -> list[int]:
    again = Partial(path, LIST)
    found = [chunk.number for chunk in LIST if again.has(chunk.number)]
    again.close()
    return found


def test_the_journal_is_believed_after_a_kill_and_only_the_bytes_after_a_reboot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.part"
    left(path, 10)
    with path.open("r+b") as file:  # what a power cut leaves of a chunk
        file.seek(LIST[4].start)
        file.write(bytes(LIST[4].length))
    assert here(path) == list(range(10))
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr("forge_cli.boot._BOOT", tmp_path / "boot")
    assert here(path) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert here(path) == [0, 1, 2, 3, 5, 6, 7, 8, 9]  # and so it stands in the journal now


def test_a_chunk_that_was_copied_is_one_that_was_hashed(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(DATA[: LIST[1].start] + b"\0" * 100)
    partial, handle = Partial(tmp_path / "x.part", LIST), os.open(old, os.O_RDONLY)
    assert partial.copy_from(handle, 0, LIST[0])
    assert not partial.copy_from(handle, LIST[1].start, LIST[1])
    assert not partial.copy_from(handle, 1, LIST[0])
    assert [partial.has(number) for number in (0, 1)] == [True, False]
    os.close(handle)
    partial.close()


def test_chunks_in_a_row_are_copied_unread_and_a_file_that_ends_before_gives_none(
    tmp_path: Path,
) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"front" + DATA[LIST[2].start : LIST[6].start])
    partial, handle = Partial(tmp_path / "x.part", LIST), os.open(old, os.O_RDONLY)
    assert not partial.copy_run(handle, 5, range(2, 7))
    assert partial.copy_run(handle, 5, range(2, 6))
    os.close(handle)
    partial.close()
    assert here(tmp_path / "x.part") == [2, 3, 4, 5]
    again = Partial(tmp_path / "x.part", LIST)
    assert again.rescan() == 0
    again.write(b"?", LIST[4].start)
    assert again.rescan() == 1
    again.close()


def test_what_was_copied_unread_is_looked_at_before_it_counts_for_another_run(
    tmp_path: Path,
) -> None:
    """The old file looked untouched, and was not."""
    old = tmp_path / "old"
    old.write_bytes(DATA)
    with old.open("r+b") as file:
        file.seek(LIST[3].start + 7)
        file.write(bytes([DATA[LIST[3].start + 7] ^ 1]))
    partial, handle = Partial(tmp_path / "x.part", LIST), os.open(old, os.O_RDONLY)
    assert partial.copy_run(handle, LIST[2].start, range(2, 6))
    assert partial.copy_from(handle, LIST[6].start, LIST[6])  # read, so it counts at once
    assert [n for n in range(2, 7) if partial.has(n)] == [6]
    assert partial.take(1 << 30) == range(2)  # and none is asked for again in this one
    os.close(handle)
    partial.close()
    assert here(tmp_path / "x.part") == [2, 4, 5, 6]
    assert here(tmp_path / "x.part") == [2, 4, 5, 6]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Partial(tmp_path / "x.part", LIST)
    with pytest.raises(Busy):
        Partial(tmp_path / "x.part", LIST)
    first.close()
    Partial(tmp_path / "x.part", LIST).close()


def test_ranges_are_given_out_once(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "x.part", LIST)
    taken = []
    while numbers := partial.take(300_000):
        taken += list(numbers)
    assert taken == list(range(len(LIST)))
    partial.give_back(range(3, 6))
    assert list(partial.take(1 << 30)) == [3, 4, 5]
    partial.close()


def test_the_digest_is_taken_from_the_disk_or_from_what_came_in_order(tmp_path: Path) -> None:
    import hashlib

    partial = Partial(tmp_path / "x.part", LIST)
    for chunk in LIST:
        data = DATA[chunk.start : chunk.end]
        partial.write(data, chunk.start)
        if chunk.number % 3 and partial.begin_tap(chunk.number):
            partial.tap(memoryview(b"a chunk that came to nothing"))
            partial.end_tap()
            assert partial.begin_tap(chunk.number)
            partial.tap(memoryview(data))
            partial.mark(chunk.number)
            partial.tapped(chunk.number)
            partial.end_tap()
        else:
            partial.mark(chunk.number)
    assert partial.digest() == hashlib.sha256(DATA).hexdigest()
    partial.close()
