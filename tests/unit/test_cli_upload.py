"""In how many requests a file goes to the registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from forge_cli.output import Progress
from forge_cli.recipes import Limits, Segment
from forge_cli.remote.api import Api
from forge_cli.remote.crew import Stopped
from forge_cli.remote.direct import DirectWay
from forge_cli.remote.parts import PartsUploads
from forge_cli.remote.upload import Outgoing, Uploader

MIB = 1 << 20


class _Empty:
    """A registry that holds nothing, and counts how often it was asked for a file."""

    asked = 0

    def has(self, *_path: str, **_query: object) -> bool:
        self.asked += 1
        return False


class RecordedParts:
    """Sends nothing; the first part tells how fast the line is, of so many bytes a second."""

    query = ""
    limits: Limits | None = None
    sent_bytes = reused_bytes = 0

    def __init__(self, uploader: Recorded, rate: float, *, direct: bool) -> None:
        self.uploader, self.rate = uploader, rate
        self.direct = DirectWay(open=direct)

    def ask_limits(self) -> Limits:
        self.limits = Limits(min_bytes=1, max_bytes=2**40, max_segments=10_000)
        return self.limits

    def send(self, file: Outgoing, segments: Sequence[Segment], **_: Any) -> bool:
        self.uploader.ways.append(("parts", file.size // MIB))
        if self.uploader.part is not None:
            self.uploader.part()
        if self.rate:
            self.uploader._note_rate(int(self.rate * 1000), time.monotonic() - 1000)
        return True

    def plain(self, file: Outgoing) -> list[Segment]:
        return [Segment(at=0, length=file.size)]

    def recipe(self, file: Outgoing) -> list[Segment]:
        """A tenth is new where there is an older file."""
        olds = file.olds() if file.olds is not None else {}
        tenth = file.size // 10
        if "same" in olds:
            return [Segment(at=0, length=file.size, source="same")]
        return [
            Segment(at=0, length=tenth),
            *(Segment(at=tenth, length=file.size - tenth, source=old) for old in list(olds)[:1]),
        ]


class Recorded(Uploader):
    """Notes how each file goes."""

    def __init__(self, rate: float, *, direct: bool = False) -> None:
        progress = cast(Progress, object())
        self.registry = _Empty()
        super().__init__(
            api=cast(Api, self.registry), component="a/b", parallel=2, progress=progress
        )
        self.ways: list[tuple[str, int]] = []
        self.part: Callable[[], None] | None = None
        self.parts = cast(PartsUploads, RecordedParts(self, rate, direct=direct))

    def _send(self, file: Outgoing) -> None:
        self.ways.append(("one", file.size // MIB))

    def _send_whole(self, file: Outgoing, attempts: int = 5) -> None:
        assert file.label == "list"


def files(*sizes: int, olds: Any = None) -> list[Outgoing]:
    return [
        Outgoing(digest=f"{n:064x}", size=size * MIB, source=b"", label="x", olds=olds)
        for n, size in enumerate(sizes)
    ]


def ways(uploader: Recorded, sent: Sequence[Outgoing]) -> list[tuple[str, int]]:
    uploader.send(sent)
    return uploader.ways[:1] + sorted(uploader.ways[1:])


def test_on_a_fast_line_all_but_the_first_go_in_one_request() -> None:
    found = ways(Recorded(100 * MIB), files(100, 300, 200))
    assert found == [("parts", 300), ("one", 100), ("one", 200)]


def test_what_takes_long_goes_in_parts_all_the_same() -> None:
    found = ways(Recorded(10 * MIB), files(1000, 300, 150))
    assert found == [("parts", 1000), ("one", 150), ("parts", 300)]


@pytest.mark.parametrize(
    ("uploader", "olds"),
    [(Recorded(100 * MIB, direct=True), None), (Recorded(100 * MIB), lambda: {"old": None})],
    ids=["straight to the store", "of which the registry has an older version"],
)
def test_what_only_parts_can_do_is_done_in_parts(uploader: Recorded, olds: Any) -> None:
    assert sorted(ways(uploader, files(100, 300, olds=olds))) == [("parts", 100), ("parts", 300)]


def test_what_has_nothing_of_an_older_version_goes_like_any_other_file() -> None:
    found = ways(Recorded(100 * MIB), files(40, 300, 50, olds=lambda: {}))
    assert sorted(found) == [("one", 40), ("one", 50), ("parts", 300)]


def ahead(uploader: Recorded, sent: Sequence[Outgoing]) -> list[tuple[str, int]]:
    """All of them at once, each by a thread; the first is on its way when the others come."""
    others: list[threading.Thread] = []

    def go(file: Outgoing) -> None:
        chunks = Outgoing(digest="c", size=1, source=b"x", label="list")
        assert uploader.send_ahead(file, chunks, lambda: True)

    def rest() -> None:
        uploader.part = None
        others.extend(threading.Thread(target=go, args=(file,), daemon=True) for file in sent[1:])
        for thread in others:
            thread.start()
        # Long enough for who does not wait to have begun; nothing depends on it else.
        others[0].join(0.1)
        assert uploader.ways == [("parts", sent[0].size // MIB)]

    uploader.part = rest
    go(sent[0])
    assert uploader._line_known.is_set(), "the others wait for ever"
    for thread in others:
        thread.join()
    return uploader.ways[:1] + sorted(uploader.ways[1:])


def test_files_that_go_ahead_wait_for_what_the_first_tells_of_the_line() -> None:
    found = ahead(Recorded(100 * MIB), files(300, 100, 200))
    assert found == [("parts", 300), ("one", 100), ("one", 200)]
    found = ahead(Recorded(10 * MIB), files(1000, 150, 300))
    assert found == [("parts", 1000), ("one", 150), ("parts", 300)]


def test_where_the_first_told_nothing_of_the_line_the_others_go_in_parts() -> None:
    assert ahead(Recorded(0), files(300, 100)) == [("parts", 300), ("parts", 100)]


def test_who_waits_for_the_line_leaves_when_all_is_stopped() -> None:
    uploader = Recorded(100 * MIB)

    def stopped() -> None:
        uploader.stop()
        with pytest.raises(Stopped):
            uploader.send_ahead(files(0, 100)[1], files(0)[0], lambda: True)

    uploader.part = stopped
    chunks = Outgoing(digest="c", size=1, source=b"x", label="list")
    uploader.send_ahead(files(300)[0], chunks, lambda: True)


@pytest.mark.parametrize(
    ("olds", "asked", "found"),
    [
        (None, 1, [("one", 20)]),
        (lambda: {"old": None}, 0, [("parts", 20)]),
        (lambda: {"same": None}, 0, []),
    ],
    ids=["new", "changed", "unchanged"],
)
def test_only_what_is_wholly_new_is_asked_for_before_it_goes(
    olds: Any, asked: int, found: list[tuple[str, int]]
) -> None:
    uploader = Recorded(100 * MIB)
    chunks = Outgoing(digest="c", size=1, source=b"x", label="list")
    assert uploader.send_ahead(files(20, olds=olds)[0], chunks, lambda: True) is bool(found)
    assert uploader.ways == found
    assert uploader.registry.asked == asked
