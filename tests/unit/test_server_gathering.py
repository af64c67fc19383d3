"""Many who ask at the same time have it done in one go; who leads waits for who is coming."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from forge_server.services import gathering as gathering_module
from forge_server.services.gathering import Gathering


class Work:
    """Notes what it was asked at once."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []

    def __call__(self, asked: Sequence[str]) -> list[str]:
        self.groups.append(sorted(asked))
        return list(asked)


def making() -> Gathering[str, str]:
    return Gathering()


def lead(gathering: Gathering[str, str], work: Work) -> threading.Thread:
    """Somebody who asks, and leads by now."""
    thread = threading.Thread(target=gathering.ask, args=("first", work))
    thread.start()
    while not gathering._leading.locked() and thread.is_alive():
        threading.Event().wait(0.001)
    return thread


def test_who_leads_waits_for_those_who_are_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering_module, "PATIENCE_SECONDS", 60)
    gathering, work = making(), Work()
    with gathering.coming() as arrive:
        leader = lead(gathering, work)
        assert work.groups == []
        second = threading.Thread(target=gathering.ask, args=("second", work))
        second.start()
        while len(gathering._waiting) < 2:
            threading.Event().wait(0.001)
        assert work.groups == []
        arrive()
        leader.join(60)
        second.join(60)
    assert work.groups == [["first", "second"]]


def test_who_turns_back_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering_module, "PATIENCE_SECONDS", 60)
    gathering, work = making(), Work()
    with gathering.coming():  # and out of it, without having asked
        leader = lead(gathering, work)
        assert work.groups == []
    leader.join(60)
    assert work.groups == [["first"]]


def test_who_leads_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering_module, "PATIENCE_SECONDS", 0.01)
    gathering, work = making(), Work()
    with gathering.coming():
        lead(gathering, work).join(60)
        assert work.groups == [["first"]]


def test_alone_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has arrived before it asks."""
    monkeypatch.setattr(gathering_module, "PATIENCE_SECONDS", 3600)
    gathering, work = making(), Work()
    with gathering.coming() as arrive:
        arrive()
        assert gathering.ask("first", work) == "first"
    assert work.groups == [["first"]]
