"""In how many requests a file goes to the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from forge_cli.output import Progress
from forge_cli.recipes import Limits, Segment
from forge_cli.remote.api import Api
from forge_cli.remote.upload import Outgoing, Uploader

MIB = 1 << 20


class Recorded(Uploader):
    """Sends nothing; the first part tells how fast the line is."""

    def __init__(self, rate: float, *, direct: bool = False) -> None:
        progress = cast(Progress, object())
        super().__init__(api=cast(Api, object()), component="a/b", parallel=2, progress=progress)
        self.ways: list[tuple[str, int]] = []
        self._line = rate
        self.direct.open = direct

    def _fetch_limits(self) -> Limits:
        return Limits(min_bytes=1, max_bytes=2**40, max_segments=10_000)

    def _send(self, file: Outgoing) -> None:
        self.ways.append(("one", file.size // MIB))

    def _send_parts(self, file: Outgoing, segments: Sequence[Segment], **_: Any) -> None:
        self.ways.append(("parts", file.size // MIB))
        self._rate = self._line

    def _recipe(self, file: Outgoing) -> list[Segment]:
        """A tenth is new where there is an older file."""
        olds = file.olds() if file.olds is not None else {}
        tenth = file.size // 10
        return [
            Segment(at=0, length=tenth),
            *(Segment(at=tenth, length=file.size - tenth, source=old) for old in list(olds)[:1]),
        ]


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
