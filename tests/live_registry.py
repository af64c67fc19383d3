"""A real registry and a real client, as processes, driven as a user drives them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from click.testing import CliRunner
from one_machine import free_port
from programs import BIN, run_program
from waiting import wait_for_server, wait_until

from forge_server.manage import cli


class LiveRegistry:
    """`forge-server run` on a free loopback port over ``place/reg``, with a logged-in ``sara``.

    ``existing`` takes up a folder that another `LiveRegistry` left; ``options`` are those of
    `forge-server init`. With ``real``, each `forge` is a process that imports what it runs.
    """

    def __init__(
        self,
        place: Path,
        *,
        existing: bool = False,
        options: tuple[str, ...] = (),
        real: bool = False,
    ) -> None:
        self.real = real
        self.options = options
        self.place = place
        self.data = place / "reg"
        self.authority = place / "reg-authority"
        self.existing = existing
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FORGE_")}
        self.environment = {
            **kept,
            "FORGE_HOME": str(place / "home"),
            "PATH": f"{BIN}{os.pathsep}{kept['PATH']}",
            "NO_COLOR": "1",
        }
        self.environment.pop("VIRTUAL_ENV", None)

    @property
    def fingerprint(self) -> str:
        return (self.data / "root.fingerprint").read_text().strip()

    def forge_with(
        self, environment: Mapping[str, str], *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """`forge ARGUMENTS`, whatever its exit code."""
        return self._run("forge", arguments, environment)

    def forge(self, *arguments: str) -> str:
        """What `forge ARGUMENTS` prints on stdout; it must succeed."""
        result = self._run("forge", arguments, self.environment)
        assert result.returncode == 0, f"forge {arguments}: {result.stdout}{result.stderr}"
        return result.stdout

    def forge_server(self, *arguments: str) -> str:
        """What `forge-server ARGUMENTS` prints; it must succeed. Its program takes a second to
        start, so it runs in this process; the pages of the documentation start the program."""
        with contextlib.chdir(self.place):
            result = CliRunner().invoke(cli, arguments, env=self.environment)
        assert result.exit_code == 0, f"forge-server {arguments}: {result.output}"
        return result.stdout

    def _run(
        self, program: str, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return run_program(
            program, arguments, environment=environment, folder=self.place, real=self.real
        )

    def __enter__(self) -> LiveRegistry:
        if not self.existing:
            self.forge_server("init", str(self.data), "--dev", *self.options)
            self.token = self.forge_server("user", "add", str(self.data), "sara")
            (self.place / "sara.token").write_text(self.token)
        self.start()
        arguments = ["--fingerprint", self.fingerprint, "--token-file", "sara.token"]
        self.forge("login", self.url, *arguments)
        if not self.existing:
            self.forge("key", "new", "--insecure-unencrypted")
        return self

    def start(self, port: int = 0) -> None:
        """Starts the server, on a free port unless told otherwise; returns when it answers."""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.place / "server.log"
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                [str(BIN / "forge-server"), "run", str(self.data), "--port", str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for_server(self.server, self.port, self.log)

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait()

    def kill(self) -> None:
        """kill -9 of the server and of its workers, which do the work. Also where a server is not
        needed any more: one that is told to stop takes seconds."""
        pid = self.server.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, workers)):
            with contextlib.suppress(ProcessLookupError):  # which ended as its master did
                os.kill(each, signal.SIGKILL)
        self.server.wait()
        wait_until(self._port_is_free)  # the workers are not ours to wait for

    def _port_is_free(self) -> bool:
        try:
            socket.create_server(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def register(self, org: str, kind: str = "startup") -> None:
        """Applies for ``org`` and has the development authority approve it."""
        self.forge("org", "create", org, "--kind", kind, "--display-name", org.title())
        self.forge("authority", "approve", org, "--authority", str(self.authority))

    def new_component(self, org: str, name: str, kind: str = "model") -> Path:
        folder = self.place / name
        self.forge("init", str(folder), "--org", org, "--name", name, "--kind", kind)
        return folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.server.poll() is None:
            self.kill()


def copied(source: Path, place: Path) -> LiveRegistry:
    """The registry that another `LiveRegistry` made at ``source`` and serves no longer, and its
    people's homes, in the empty folder ``place``."""
    shutil.copytree(source, place, dirs_exist_ok=True)
    return LiveRegistry(place, existing=True)
