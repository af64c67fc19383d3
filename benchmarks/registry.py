"""A registry with one publisher, started for a benchmark and ended after it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from one_machine import free_port

BIN = Path(sys.executable).parent


def processor_seconds(pid: int) -> float:
    """What processors have worked so far for a process and the processes that it has running."""
    path = Path(f"/proc/{pid}")
    fields = (path / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])  # utime and stime, proc_pid_stat(5)
    seconds = ticks / os.sysconf("SC_CLK_TCK")
    for child in (path / f"task/{pid}/children").read_text().split():
        with suppress(OSError):  # it has ended meanwhile
            seconds += processor_seconds(int(child))
    return seconds


class Registry:
    """`forge-server` on a free port of the loopback, with the organisation ``bench`` approved.

    ``fill`` is given the data folder before the server starts on it. Without a ``publisher`` nobody
    logs in and no organisation is added. ``reach`` says by which port clients reach the server's.
    """

    def __init__(
        self,
        place: Path,
        fill: Callable[[Path], object] | None = None,
        *,
        publisher: bool = True,
        reach: Callable[[int], int] = lambda port: port,
    ) -> None:
        self.place = place
        self.data = place / "reg"
        self.log = place / "server.log"
        self.fill = fill
        self.publisher = publisher
        self.reach = reach
        self.environment = {
            **os.environ,
            "FORGE_HOME": str(place / "home"),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        # An installed program is compiled once, and not at each start.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def forge(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return self._run("forge", *arguments, **options)

    def _run(
        self, program: str, *arguments: str, **options: object
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [str(BIN / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            **options,  # type: ignore[call-overload]
        )
        if result.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {result.stderr}")
        return result

    def __enter__(self) -> Registry:
        data = str(self.data)
        self._run("forge-server", "init", data, "--dev")
        if self.fill is not None:
            self.fill(self.data)
        port = free_port()
        self.url = f"http://127.0.0.1:{self.reach(port)}"
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                [str(BIN / "forge-server"), "run", data, "--port", str(port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        try:
            self._wait()
            if self.publisher:
                self._register(data)
        except BaseException:
            self.server.terminate()
            raise
        return self

    def _wait(self) -> None:
        while self.server.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/api/v1/").close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"the server did not start: {self.log.read_text()[-2000:]}")

    def _register(self, data: str) -> None:
        token = self.place / "token"
        token.write_text(self._run("forge-server", "user", "add", data, "sara").stdout)
        fingerprint = Path(data, "root.fingerprint").read_text().strip()
        self.forge("login", self.url, "--fingerprint", fingerprint, "--token-file", str(token))
        self.forge("key", "new", "--insecure-unencrypted")
        self.forge("org", "create", "bench", "--kind", "startup", "--display-name", "Bench")
        self.forge("authority", "approve", "bench", "--authority", f"{data}-authority")

    def component(self, name: str, version: str = "1.0.0") -> Path:
        """A folder that publishes as it is; put files into it."""
        folder = self.place / name
        self.forge("init", str(folder), "--org", "bench", "--name", name, "--kind", "model")
        self.set_version(folder, version)
        return folder

    def set_version(self, folder: Path, version: str) -> None:
        lines = (folder / "forge.toml").read_text().splitlines()
        changed = [f'version = "{version}"' if ln.startswith("version") else ln for ln in lines]
        (folder / "forge.toml").write_text("\n".join(changed) + "\n")

    def _pids(self) -> list[str]:
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text()
        return [str(self.server.pid), *children.split()]

    def server_processor_ms(self) -> float:
        """What processors have worked for the server's processes so far, in ms; not for scanners,
        which are processes of their own and come afterwards."""
        return processor_seconds(self.server.pid) * 1000

    def server_peak_mib(self) -> float:
        """The highest resident memory of any of the server's processes so far, in MiB."""
        peaks = []
        for pid in self._pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peaks.append(int(line.split()[1]) / 1024)
        return max(peaks)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.terminate()
        self.server.wait()
