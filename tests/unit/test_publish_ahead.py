"""What is asked before files travel ahead of their release, and what becomes of them."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from forge_cli.errors import NetworkError, RemoteError
from forge_cli.flows import ahead
from forge_cli.output import SilentProgress
from signing.manifest import FileEntry


@pytest.mark.parametrize(("status", "found"), [(None, True), (404, False), (405, False)])
def test_a_registry_that_does_not_know_the_question_is_sent_nothing(
    status: int | None, found: bool
) -> None:
    assert asked(status) is found


@pytest.mark.parametrize("status", [401, 403, 503])
def test_what_the_offer_would_be_refused_for_is_refused_at_once(status: int) -> None:
    with pytest.raises(RemoteError):
        asked(status)


def asked(status: int | None) -> bool:
    def get(*path: str, query: dict[str, object]) -> None:
        assert path == ("room",)
        assert query == {"component": "a/b", "size": 12}
        if status is not None:
            raise RemoteError("refused", "no", status=status)

    surveyed = SimpleNamespace(spec=SimpleNamespace(component="a/b"), total_size=12)
    return ahead._has_room(cast(Any, SimpleNamespace(get=get)), cast(Any, surveyed))


class Uploader:
    """Sends nothing; what it is told to fail at, it fails at."""

    sent_bytes = 0

    def __init__(self, *, failing: str = "") -> None:
        self.failing = failing
        self.files: list[str] = []
        self.stopped = threading.Event()

    def send_ahead(self, file: Any, chunks: Any, goes_on: Any) -> bool:
        self.files.append(file.label)
        if file.label == self.failing:
            raise NetworkError("gone")
        return True

    def stop(self) -> None:
        self.stopped.set()


class Output:
    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, label: str, total: int) -> Any:
        from contextlib import nullcontext

        return nullcontext(SilentProgress())

    def say(self, line: str) -> None:
        self.said.append(line)


def first_of(uploader: Uploader) -> ahead.Ahead:
    sending: Any = object.__new__(ahead.Sending)
    sending.moved, sending.uploader = ahead.Moved(), uploader
    published: Any = SimpleNamespace(has_like=lambda entry: False)
    return ahead.Ahead(sending, published, 1)


def entry(number: int) -> FileEntry:
    return FileEntry(
        path=f"{number}", size=9, sha256=f"{number:064x}", chunks=f"{number + 50:064x}"
    )


def test_what_was_told_is_sent_also_after_all_is_hashed() -> None:
    uploader, out = Uploader(), Output()
    first = first_of(uploader)
    for number in range(3):
        first.told(entry(number), Path("x"), b"list")
    first.close()
    first.finish(cast(Any, out))
    assert uploader.files == ["0", "1", "2"]
    assert first.sent == {f"{n:064x}" for n in (0, 1, 2, 50, 51, 52)}
    assert not uploader.stopped.is_set()


def test_a_failure_on_the_way_is_left_to_the_offer() -> None:
    uploader = Uploader(failing="0")
    first = first_of(uploader)
    for number in range(2):
        first.told(entry(number), Path("x"), b"list")
    first.finish(cast(Any, Output()))
    assert uploader.files == ["0"]
    assert first.sent == set()


def test_a_publish_that_fails_stops_what_is_on_its_way() -> None:
    uploader = Uploader()
    first = first_of(uploader)
    first.stop()
    first.finish(cast(Any, Output()))
    assert uploader.stopped.is_set()
