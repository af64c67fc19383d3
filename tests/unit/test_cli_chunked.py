"""Ranges of one file by several lanes: who may write which chunk, and when it is proven."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tensors import chunks_of, safetensors, tensors

from forge_cli.cache import Cache
from forge_cli.output import SilentProgress
from forge_cli.remote.blobs import Downloader
from forge_cli.remote.chunked import ChunkFetch
from forge_cli.remote.crew import Crew
from forge_cli.remote.lanes import Lanes
from forge_cli.remote.line import Line
from forge_cli.remote.pace import Pace
from forge_cli.remote.partial import Partial
from forge_cli.remote.sources import Sources
from forge_cli.remote.wanted import Wanted
from signing.errors import VerificationError

DATA = safetensors(tensors(1, count=16))
LIST = chunks_of(DATA)
DIGEST = hashlib.sha256(DATA).hexdigest()
WANT = Wanted(digest=DIGEST, size=len(DATA), label="model", chunks=LIST.digest)
MIDDLE = LIST[len(LIST) // 2]
SPOILT = DATA[: MIDDLE.start] + bytes(MIDDLE.length) + DATA[MIDDLE.end :]
URL = "https://registry.example"
ALL = list(range(len(LIST)))
SLOW = 20_000  # bytes at a time


@dataclass
class Answer:
    """A body that comes in blocks of at most ``block`` bytes, as fast as can be unless that is few;
    ``first`` runs before the first."""

    status: int
    headers: dict[str, str]
    data: bytes
    block: int = 1 << 20
    first: Callable[[], object] = lambda: None
    at: int = 0

    def read1(self, amount: int) -> bytes:
        first, self.first = self.first, lambda: None
        first()
        block = self.data[self.at : self.at + min(amount, self.block)]
        self.at += len(block)
        return block


def whole(data: bytes = DATA, **options: Any) -> Answer:
    return Answer(200, {"Content-Length": str(len(data))}, data, **options)


def part(start: int, end: int, data: bytes = DATA, **options: Any) -> Answer:
    found = {"Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}"}
    return Answer(206, found, data[start:end], **options)


@dataclass
class Answers:
    """Gives ``answers`` in turn, whatever is asked; ``asked`` are the ranges."""

    answers: list[Answer]
    sleep: object = None
    attempts: int = 1
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, method: str, url: str, *, headers: dict[str, str]) -> Iterator[Answer]:
        self.asked.append(headers.get("Range", "all"))
        yield self.answers.pop(0)


def answering(answers: Sequence[Answer]) -> Any:
    """In the place of an `Http`, of which nothing else is used."""
    return Answers(list(answers))


def fetching(partial: Partial, answers: Any) -> ChunkFetch:
    """``answers`` as of `answering`."""
    line = Line(
        http=answers,
        sources=Sources([URL]),
        crew=Crew(2),
        lanes=Lanes(2),
        pace=Pace(),
    )
    return ChunkFetch(want=WANT, partial=partial, line=line, progress=SilentProgress())


def proven(partial: Partial) -> list[int]:
    return [chunk.number for chunk in LIST if partial.has(chunk.number)]


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[Partial]:
    unfinished = Partial(tmp_path / "x.part", LIST)
    yield unfinished
    unfinished.close()


def on_disk(partial: Partial) -> str:
    return hashlib.sha256(partial.path.read_bytes()).hexdigest()


def test_what_one_lane_has_brought_no_other_writes_over(partial: Partial) -> None:
    """A registry that answers one range with the whole file, and another one, later, with other
    bytes: those came to chunks whose digests had been taken, and nobody took them again."""
    first, second = partial.take(LIST[3].end), partial.take(len(DATA))
    late = part(LIST[second.start].start, len(DATA), bytes(len(DATA)), block=50_000)
    late.first = lambda: fetch.fetch(first)
    fetch = fetching(partial, answering([late, whole()]))
    fetch.fetch(second)
    assert partial.done
    assert partial.digest() == DIGEST
    assert on_disk(partial) == DIGEST


@pytest.mark.parametrize("block", [SLOW, 1 << 20, len(DATA)])
def test_each_chunk_is_compared_on_arrival(partial: Partial, block: int) -> None:
    """However fast it comes: what is wrong with it shows before any of the next one is kept."""
    here: list[list[int]] = []
    again = part(MIDDLE.start, len(DATA), first=lambda: here.append(proven(partial)))
    answers = answering([whole(SPOILT, block=block), again])
    fetch = fetching(partial, answers)
    fetch.fetch(partial.take(len(DATA)))
    assert here == [ALL[: MIDDLE.number]]
    assert answers.asked == ["all", f"bytes={MIDDLE.start}-{len(DATA) - 1}"]
    assert proven(partial) == ALL
    assert partial.digest() == on_disk(partial) == DIGEST


def test_another_file_shows_at_its_first_chunk(partial: Partial) -> None:
    fetch = fetching(partial, answering([whole(bytes(len(DATA))) for _ in range(3)]))
    with pytest.raises(VerificationError, match="chunk 0"):
        fetch.fetch(partial.take(len(DATA)))
    assert fetch.line.received <= 3 * (1 << 20)


def downloader(cache: Cache, *answers: Answer) -> Downloader:
    cache.put(LIST.raw)
    return Downloader(
        http=answering(answers),
        urls=[URL],
        cache=cache,
        parallel=1,
        progress=SilentProgress(),
    )


def test_a_list_of_another_file_is_found_out_by_the_digest_of_the_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    other = replace(WANT, digest="0" * 64)
    with pytest.raises(VerificationError, match="0000"):
        downloader(cache, whole()).fetch([other])
    assert not cache.path("0" * 64).exists()
    assert not cache.partial("0" * 64).exists()


def test_the_disk_begins_to_take_a_file_while_it_comes(
    partial: Partial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded as installed is on the disk: the less is left to wait for at the end."""
    begun: list[int] = []
    monkeypatch.setattr("forge_cli.remote.partial._BEGIN_BYTES", 1 << 20)
    monkeypatch.setattr(
        "forge_cli.remote.partial.begin_sync", lambda handle: begun.append(os.fstat(handle).st_size)
    )
    fetching(partial, answering([whole(block=SLOW)])).fetch(partial.take(len(DATA)))
    assert len(begun) >= (len(DATA) >> 20) - 1
    assert begun == sorted(set(begun))
