"""Clients written by others, pinned in an environment of their own, and a registry for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from facades import Facades, new_facades
from server_fixtures import LiveServer, start_server

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")


@dataclass
class Stock:
    """Runs clients against ``url`` with a home of their own and none of this machine's settings."""

    facades: Facades
    server: LiveServer
    programs: Path
    place: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def python(self) -> str:
        """The Python that the clients are installed for."""
        return str(self.programs / "python")

    def try_run(
        self, *command: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """``command``, whatever its exit code; a client of ours by its bare name."""
        process = self.start(*command, cwd=cwd, **environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def start(
        self, *command: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        """``command`` as it begins to run."""
        program = shutil.which(command[0], path=f"{self.programs}{os.pathsep}{os.environ['PATH']}")
        assert program is not None, command[0]
        home = self.place / "home"
        home.mkdir(exist_ok=True)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return subprocess.Popen(
            [program, *command[1:]],
            env={
                **kept, "HOME": str(home), "PIP_CONFIG_FILE": os.devnull, "NO_COLOR": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_PYTHON_DOWNLOADS": "never",
                "HF_HUB_DISABLE_TELEMETRY": "1", "HF_ENDPOINT": f"{self.url}/hf",
                **self.extra, **environment,
            },
            cwd=cwd or self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        """All that ``command``, which must succeed, prints."""
        done = self.try_run(*command, cwd=cwd, **environment)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def refused(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        """All that ``command``, which must fail, prints."""
        done = self.try_run(*command, cwd=cwd, **environment)
        assert done.returncode != 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def client_programs() -> Path:
    """The folder of the clients. `make test` installs them and names it in the environment."""
    folder = os.environ.get("FORGE_JUDGE_CLIENTS")
    if folder is None or not Path(folder, "uv").exists():
        if os.environ.get("CI"):
            pytest.fail("the stock clients are required in CI; run the tests through make test")
        pytest.skip("FORGE_JUDGE_CLIENTS does not name the stock clients; use make test")
    return Path(folder).absolute()


def hub_js() -> Path:
    """The folder of JavaScript's modules, which `make test` names as well."""
    folder = os.environ.get("FORGE_JUDGE_HUB_JS")
    if folder is None or not Path(folder, "@huggingface/hub").exists() or not shutil.which("node"):
        if os.environ.get("CI"):
            pytest.fail("@huggingface/hub is required in CI; run the tests through make test")
        pytest.skip("FORGE_JUDGE_HUB_JS does not name @huggingface/hub; use make test, with npm")
    return Path(folder).absolute()


@pytest.fixture(scope="module")
def stock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stock]:
    """A running registry with two organisations, for a module; it is on SQLite. A fixture
    ``settings`` of the module gives lines of its server.toml."""
    programs = client_programs()
    folder = tmp_path_factory.mktemp("stock")
    own = hasattr(request.module, "settings")
    facades = new_facades(folder, None, request.getfixturevalue("settings") if own else "")
    server = start_server(facades.world.root)
    place = folder / "place"
    place.mkdir()
    try:
        yield Stock(facades, server, programs, place)
    finally:
        server.kill()
        facades.world.close()
