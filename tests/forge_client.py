"""A client in an empty folder, and its pauses, for tests that run its commands in their process."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_fixtures import Forge


@pytest.fixture
def forge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Forge:
    return Forge(tmp_path, monkeypatch, capsys)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits instead of being waited for."""
    waited: list[float] = []

    def sleep(self: object, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("forge_cli.remote.crew.Crew.sleep", sleep)
    return waited
