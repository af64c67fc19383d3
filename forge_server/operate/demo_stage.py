"""Where the demonstration plays: people with homes of their own, commands shown and run."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RegistryError

_STOP_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything happens below ``place``."""

    place: Path

    def title(self, text: str) -> None:
        print(f"\n{_styled(text, '1')}", flush=True)

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def person(self, name: str) -> Person:
        """Somebody with an empty home and folder."""
        folder = self.place / name
        folder.mkdir()
        return Person(self, name, folder)

    def run_server(self, *arguments: str, capture: bool = False) -> str:
        """Runs ``forge-server``; returns its stdout if captured."""
        self.show_server(*arguments)
        command = [sys.executable, "-m", "forge_server.manage", *arguments]
        return self.execute(command, self.place, self.environment(), capture=capture)

    def show_server(self, *arguments: str) -> None:
        self.show("", ["forge-server", *arguments])

    def show(self, who: str, command: Sequence[str], suffix: str = "") -> None:
        prompt = f"{who} $" if who else "$"
        print(f"{_styled(prompt, '2')} {_styled(shlex.join(command) + suffix, '36')}", flush=True)

    def execute(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], *,
        capture: bool = False, stdin: Path | None = None, apart: bool = False,
    ) -> str:  # fmt: skip
        """Runs ``command`` to its end; ``apart`` keeps Ctrl-C from it, which ends it all the same.

        Raises:
            RegistryError: it failed.
        """
        with (stdin or Path(os.devnull)).open("rb") as source:
            done = subprocess.run(
                command, cwd=folder, env=dict(environment), stdin=source, text=True, check=False,
                stdout=subprocess.PIPE if capture else None,
                stderr=subprocess.DEVNULL if capture else None, start_new_session=apart,
            )  # fmt: skip
        if done.returncode != 0:
            raise RegistryError(
                "demo-failed",
                f"{Path(command[0]).name} {shlex.join(command[1:])}: expected exit code 0, "
                f"found {done.returncode}",
            )
        return done.stdout or ""

    def environment(self) -> dict[str, str]:
        """Ours, without what would point a command at another registry or environment."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("FORGE_") and key not in ("VIRTUAL_ENV", "PYTHONHOME")
        }
        # The programs of this environment first, wherever it was started from.
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return kept

    def wait_for_interrupt(self) -> None:
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(flush=True)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a folder to work in and a ``FORGE_HOME`` in it."""

    stage: Stage
    name: str
    folder: Path

    def forge(self, *arguments: str, shown_as: str | None = None) -> None:
        """Runs the real ``forge`` command."""
        program = shutil.which("forge", path=self._environment()["PATH"])
        if program is None:
            raise RegistryError(
                "demo-failed", "expected the command forge on the PATH, found none",
                "install the whole distribution into this environment",
            )  # fmt: skip
        self.stage.show(shown_as or self.name, ["forge", *arguments])
        self.stage.execute([program, *arguments], self.folder, self._environment())

    def python(self, *arguments: str) -> None:
        """Runs the Python that runs the demonstration."""
        self.stage.show(self.name, ["python", *_shortened(arguments)])
        # A script of ours would answer Ctrl-C with a traceback.
        self.stage.execute(
            [sys.executable, *arguments], self.folder, self._environment(), apart=True
        )

    def own_python(self, *arguments: str, stdin: Path) -> None:
        """Runs the Python of the person's own environment."""
        program = self.folder / ".venv" / "bin" / "python"
        self.stage.show(self.name, [".venv/bin/python", *arguments], f" < {stdin.name}")
        self.stage.execute(
            [str(program), *arguments], self.folder, self._environment(), stdin=stdin
        )

    def write_private(self, name: str, text: str) -> None:
        handle = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)

    def _environment(self) -> dict[str, str]:
        return self.stage.environment() | {"FORGE_HOME": str(self.folder / "home")}


@contextmanager
def background_server(stage: Stage, port: int) -> Iterator[str]:
    """A ``forge-server run`` of the registry ``reg``; yields its URL.

    Raises:
        RegistryError: it did not start; with what it said.
    """
    log = stage.place / "server.log"
    with log.open("w", encoding="utf-8") as errors:
        server = subprocess.Popen(
            [sys.executable, "-m", "forge_server.manage", "run", "reg", "--port", str(port)],
            cwd=stage.place, env=stage.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, text=True,
            start_new_session=True,  # Ctrl-C is ours to handle: it stops when we say so
        )  # fmt: skip
    try:
        yield _url_of(server, log)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _url_of(server: subprocess.Popen[str], log: Path) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if " on http" in line:
            return line.rpartition(" on ")[2].strip().rstrip("/")
    server.wait()
    said = [line.partition(": ") for line in log.read_text().strip().splitlines()]
    parts = {kind: text for kind, _, text in said if kind in ("error", "hint")}
    raise RegistryError(
        "demo-failed",
        f"the server did not start: {parts.get('error') or 'it said nothing'}",
        parts.get("hint"),
    )


def _shortened(arguments: Sequence[str]) -> list[str]:
    """Paths of the examples as a reader knows them."""
    return [
        "examples/" + text.rpartition("/examples/")[2] if "/examples/" in text else text
        for text in arguments
    ]


def _styled(text: str, code: str) -> str:
    plain = (
        not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    )
    return text if plain else f"\033[{code}m{text}\033[0m"
