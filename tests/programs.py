"""Our programs, run to their end by processes that have imported them already (`preloaded`).

Most of what a short program of ours does is importing. A test that runs one for what it does uses
`run_program`, or puts `program_folder` first in a PATH; one that is about processes (killed,
measured, started together) starts the real ones in `BIN`. Servers are always real, and so is
everything in a long run (`thorough`) and what could tell the difference: other settings of Python.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from thorough import EVERY_STEP

BIN = Path(sys.executable).parent
# program: (module whose `main` it calls, packages to import). The last is not one of ours.
PROGRAMS = {
    "forge": ("forge_cli.main", ("forge_cli",)),
    "forge-server": ("forge_server.manage", ("forge_server",)),
    "forge-offline": ("offline", ("forge_cli",)),
}
# Commands that do not come to an end by themselves.
_SERVERS = ("run", "demo", "worker")
_HARMLESS = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED")
# Started for each command of a shell, so it imports next to nothing. It is one with `preloaded`.
_STUB = """#!{python} -ISE
import _signal, _socket, os, sys
real, arguments = {real!r}, sys.argv[1:]
if arguments[:1] and arguments[0] in {servers!r} or any(
    name[:6] == "PYTHON" and name not in {harmless!r} for name in os.environ
) or any(text.startswith("/dev/fd/") or text.endswith("-fd") for text in arguments):
    os.execv(real, [real, *arguments])
os.umask(mask := os.umask(0))
texts = [os.getcwd(), str(mask), str(len(arguments) + 1), real, *arguments]
texts += [f"{{name}}={{value}}" for name, value in os.environ.items()]
request = b"".join(os.fsencode(text) + b"\\0" for text in texts)
asked = _socket.socket(_socket.AF_UNIX)
asked.connect({path!r})
files = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
asked.sendmsg(
    [len(request).to_bytes(4, "little")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)]
)
asked.sendall(request)
pid = int.from_bytes(asked.recv(4), "little")
for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT):
    _signal.signal(number, lambda number, _: os.kill(pid, number))
status = int.from_bytes(asked.recv(4), "little")
if os.WIFSIGNALED(status):
    if os.WTERMSIG(status) != _signal.SIGKILL:
        _signal.signal(os.WTERMSIG(status), _signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.WEXITSTATUS(status))
"""


class Preloaded:
    """The process that forks for one program, and the stub that asks it."""

    def __init__(self, name: str, module: str, packages: Sequence[str]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="programs-"))
        self.path = folder / "socket"
        self.stub = folder / name
        self.stub.write_text(self.stub_text(name, self.path))
        self.stub.chmod(0o755)
        self.process = subprocess.Popen(
            [
                sys.executable,
                Path(__file__).with_name("preloaded.py"),
                self.path,
                module,
                *packages,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
        )
        atexit.register(self.end)
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise AssertionError(f"{name} could not be preloaded")

    @staticmethod
    def stub_text(name: str, path: Path) -> str:
        """The program that asks for ``name`` at the socket ``path``."""
        return _STUB.format(
            python=sys.executable,
            real=str(BIN / name),
            harmless=_HARMLESS,
            servers=_SERVERS,
            path=str(path),
        )

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, files: list[int]
    ) -> int:
        """The wait status of the program, when it has ended."""
        os.umask(mask := os.umask(0))
        texts = [str(folder), str(mask), str(len(command)), *command]
        texts += [f"{name}={value}" for name, value in environment.items()]
        request = b"".join(os.fsencode(text) + b"\0" for text in texts)
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self.path))
            socket.send_fds(asked, [len(request).to_bytes(4, "little")], files)
            asked.sendall(request)
            asked.recv(4)  # the pid
            return int.from_bytes(asked.recv(4), "little")

    def end(self) -> None:
        atexit.unregister(self.end)
        self.process.communicate()  # closes its standard input
        shutil.rmtree(self.path.parent)


def _is_set_up(environment: Mapping[str, str]) -> bool:
    """Whether Python would read something of it before any program does."""
    return any(name.startswith("PYTHON") and name not in _HARMLESS for name in environment)


def _real(name: str) -> list[str]:
    """What starts the program itself."""
    if (BIN / name).exists():
        return [str(BIN / name)]
    return [sys.executable, str(Path(__file__).with_name(f"{PROGRAMS[name][0]}.py"))]


@functools.cache
def preloaded(name: str) -> Preloaded:
    """Of this process, for as long as it lives."""
    return Preloaded(name, *PROGRAMS[name])


@functools.cache
def program_folder() -> Path:
    """To be first in a PATH: our programs, without the time that they take to start."""
    if EVERY_STEP:
        return BIN
    folder = preloaded("forge").stub.parent
    (folder / "forge-server").symlink_to(preloaded("forge-server").stub)
    return folder


def run_program(
    name: str,
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path,
    given: str = "",
    real: bool = False,
) -> subprocess.CompletedProcess[str]:
    """How ``name`` with ``arguments`` ends, whatever its exit code; ``given`` on its stdin.

    With ``real`` it is a new process that imports what it runs.
    """
    command = [*_real(name), *map(str, arguments)]
    if real or EVERY_STEP or _is_set_up(environment):
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=dict(environment),
            cwd=folder,
            input=given,
        )
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(given.encode())
        files[0].seek(0)
        status = preloaded(name).run(
            [name, *map(str, arguments)], environment, folder, [each.fileno() for each in files]
        )
        for each in files:
            each.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess(
            command, code, *(each.read().decode() for each in files[1:])
        )


def loaded_by(*args: str) -> set[str]:
    """The top-level packages that a process importing and running `forge ARGS` loads."""
    program = (
        "import atexit, sys; from forge_cli.main import main;"
        "names = lambda: {n.partition('.')[0] for n, m in sys.modules.items() if m is not None};"
        "atexit.register(lambda: print('\\n'.join(names()), file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *args], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())
