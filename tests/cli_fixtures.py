"""The `forge` command in this process, with a home of its own, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders import World
from static_server import StaticServer

from forge_cli.main import run


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Forge:
    """Runs command lines against the registry in ``FORGE_URL``, in an empty folder."""

    def __init__(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.home = tmp_path / "home"
        self.place = tmp_path / "place"
        self.place.mkdir()
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.chdir(self.place)
        for name in ("FORGE_URL", "FORGE_TOKEN", "FORGE_DEBUG", "VIRTUAL_ENV"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("FORGE_HOME", str(self.home))
        # A client that hangs up is what many tests are about: the server need not mention it.
        monkeypatch.setattr("socketserver.BaseServer.handle_error", lambda *_: None)

    def __call__(self, *args: str) -> Ran:
        self._capsys.readouterr()
        code = run(args)
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    def ok(self, *args: str) -> Ran:
        ran = self(*args)
        assert ran.code == 0, ran.err
        return ran

    def trust(self, server: StaticServer, world: World) -> None:
        """Pins ``world`` at ``server``'s address and chooses it."""
        self._monkeypatch.setenv("FORGE_URL", server.url)
        self.ok("trust", "add", server.url, "--fingerprint", world.fingerprint)
        server.requests.clear()

    def cached(self) -> list[Path]:
        """The files that lie in the cache as blobs."""
        return sorted(path for path in (self.home / "cache" / "blobs").glob("??/*"))

    def nothing_installed(self, into: str = "out") -> bool:
        """Whether nothing became visible in the target."""
        root = self.place / into
        trees = [p for p in root.glob("forge_components/*/*") if ".forge" not in p.parts]
        return not trees and not (root / "forge.lock").exists()


def new_world() -> World:
    """A world of today: the client looks at the real clock."""
    return World(now=datetime.now(UTC).replace(microsecond=0))
