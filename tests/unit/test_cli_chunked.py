"""Ranges of one file by several lanes at once: who may write which chunk, and when it is proven."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tensors import chunks_of, safetensors, tensors

from forge_cli.output import SilentProgress
from forge_cli.remote.chunked import ChunkFetch
from forge_cli.remote.crew import Crew
from forge_cli.remote.lanes import Lanes
from forge_cli.remote.line import Line
from forge_cli.remote.pace import Pace
from forge_cli.remote.partial import Partial
from forge_cli.remote.sources import Sources
from forge_cli.remote.wanted import Wanted

DATA = safetensors(tensors(1, count=16))
LIST = chunks_of(DATA)
DIGEST = hashlib.sha256(DATA).hexdigest()
WANT = Wanted(digest=DIGEST, size=len(DATA), label="model", chunks=LIST.digest)
ALL = range(len(LIST))


@dataclass
class Answer:
    """A body that comes in blocks of at most ``block`` bytes; ``first`` runs before the first."""

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


def fetching(partial: Partial, *answers: Answer, **options: Any) -> tuple[ChunkFetch, Answers]:
    http = Answers(list(answers))
    line = Line(
        http=http,  # type: ignore[arg-type]
        sources=Sources(["https://registry.example"]),
        crew=Crew(2),
        lanes=Lanes(2),
        pace=Pace(),
    )
    # `Line` keeps a copy with a pause of its own, which shares these lists.
    return (
        ChunkFetch(want=WANT, partial=partial, line=line, progress=SilentProgress(), **options),
        http,
    )


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
    fetch, _ = fetching(partial, late, whole())
    fetch.fetch(second)
    assert partial.done
    assert partial.digest() == DIGEST
    assert on_disk(partial) == DIGEST
