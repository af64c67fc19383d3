"""Runs the commands of a documentation page, and compares what they print with the page.

A fence marked ``console`` holds commands after ``$ `` (continued after ``> ``) and, beneath each,
what it prints: exactly, but for ``…`` (see `matches`). A fence marked ``console server``
holds one command that keeps running in a second terminal. Fences marked ``pycon`` are one session
of Python, held when the commands of the page are through; ``...`` stands for anything in it. All
commands of a page run in one shell in an empty folder with an empty home. A page that says
``<!-- prepared: registry -->`` finds a running registry there, with ``sara`` logged in and the
organisation ``minds-lab`` approved; ``and release`` adds minds-lab/my-model 1.0.0, published;
``and webhooks`` does so as well, and lets webhooks go to this machine.
``<!-- prepared: authority -->`` finds a
running registry whose authority has three keyholders, two of whom sign; a folder with the name of
each stands for the own machine. ``<!-- prepared: postgresql -->`` finds a PostgreSQL server where
libpq looks for one. ``<!-- prepared: object store -->`` finds an empty bucket ``forge-registry`` of
a store at ``http://127.0.0.1:7480``, and keys for it in the file ``s3.keys``.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from one_machine import free_port
from programs import BIN
from waiting import wait_until

_FENCE = re.compile(
    r"^```console(?P<server> server)?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SESSION = re.compile(r"^```pycon\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
# Prints what differs from the page, and nothing else.
_HOLD_SESSION = """
import doctest, sys
page = doctest.DocTestParser().get_doctest(sys.argv[1], {}, "the page", "the page", 0)
doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(page)
"""
_END = "__end_of_command__"
PAGE_PORT = "8080"
STORE = "http://127.0.0.1:7480"
OBJECT_STORE = "<!-- prepared: object store -->"


_REGISTRY = f"""
$ forge-server init reg --dev
& forge-server run reg --port {PAGE_PORT}
$ forge-server user add reg sara > sara.token
$ FINGERPRINT=$(cat reg/root.fingerprint)
$ forge login http://127.0.0.1:{PAGE_PORT} --token-file sara.token --fingerprint $FINGERPRINT
$ forge key new --insecure-unencrypted
$ forge org create minds-lab --kind startup --display-name "Minds Lab"
$ forge authority approve minds-lab --authority reg-authority
"""
_LOOPBACK = """$ echo 'webhook_networks = ["127.0.0.0/8"]' >> reg/server.toml
"""
_RELEASE = """
$ forge init my-model --org minds-lab --name my-model --kind model
$ forge publish my-model
"""
_AUTHORITY = f"""
$ forge-server init reg
$ for name in amina brahim chama desk; do export FORGE_HOME=$PWD/$name; forge key new $name --algorithm ed25519 --insecure-unencrypted; forge authority public-key $name -q > $name.pub; done; unset FORGE_HOME
$ DIGEST=$(forge authority plan-first --root-key amina.pub --root-key brahim.pub --root-key chama.pub --root-threshold 2 --registrar-key desk.pub --registrar-threshold 1 --online-keys reg/online-keys.json -o first.json -q)
$ for name in amina brahim desk; do FORGE_HOME=$name forge authority sign first.json --key $name --digest $DIGEST; done
$ forge authority finish first.json --into metadata
$ forge-server adopt reg metadata
& forge-server run reg --port {PAGE_PORT}
$ FINGERPRINT=$(cat reg/root.fingerprint)
$ forge trust add http://127.0.0.1:{PAGE_PORT} --fingerprint $FINGERPRINT
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command of a page, and what the page says that it prints."""

    command: str
    output: str
    line: int
    keeps_running: bool


@dataclass(frozen=True)
class Prepared:
    """What pages find that want the same: the folder as it is when the ``steps`` were run in it and
    their server was stopped, which listened on ``port``. It has the same one wherever it is copied
    to, because that is the address by which its people know it."""

    folder: Path
    port: str
    steps: Sequence[Step]

    @classmethod
    def make(cls, folder: Path, steps: Sequence[Step], programs: Path) -> Prepared:
        with Shell(folder, programs=programs) as shell:
            for step in steps:
                code, printed = shell.run(step)
                assert code == 0, f"{step.command}: exit {code}\n{printed}"
            shell.stop_servers()
        return cls(folder, shell.port, steps)

    @property
    def again(self) -> Iterator[Step]:
        """What is to be done in each copy: to start the server, and to set variables."""
        for step in self.steps:
            if step.keeps_running or step.command.startswith("FINGERPRINT="):
                yield step


def steps_of(page: Path) -> list[Step]:
    """The commands of ``page``, in order, and not those that prepare it."""
    text = page.read_text(encoding="utf-8")
    steps: list[Step] = []
    for fence in _FENCE.finditer(text):
        first_line = text.count("\n", 0, fence.start("body")) + 1
        steps.extend(_steps_of_fence(fence["body"], first_line, bool(fence["server"])))
    if session := "\n".join(fence["body"] for fence in _SESSION.finditer(text)):
        command = shlex.join(["python", "-W", "error", "-c", _HOLD_SESSION, session])
        line = text.count("\n", 0, text.index("```pycon")) + 1
        steps.append(Step(command=command, output="", line=line, keeps_running=False))
    return steps


def preparation_of(page: Path) -> list[Step]:
    """What is done before the first command of ``page``."""
    text = page.read_text(encoding="utf-8")
    lines = ""
    if "<!-- prepared: registry" in text:
        lines += _REGISTRY
    if "<!-- prepared: registry and webhooks -->" in text:
        # Of the settings that a server reads when it starts.
        lines = lines.replace("& forge-server run", f"{_LOOPBACK}& forge-server run", 1) + _RELEASE
    if "<!-- prepared: registry and release -->" in text:
        lines += _RELEASE
    if "<!-- prepared: authority -->" in text:
        lines += _AUTHORITY
    return [
        Step(command=line[2:], output="…", line=0, keeps_running=line.startswith("&"))
        for line in lines.strip().splitlines()
    ]


def _steps_of_fence(body: str, first_line: int, server: bool) -> Iterator[Step]:
    command, output, at = "", [], first_line
    for number, line in enumerate(body.splitlines(), start=first_line):
        if line.startswith("$ "):
            if command:
                yield Step(command=command, output="\n".join(output), line=at, keeps_running=server)
            command, output, at = line[2:], [], number
        elif line.startswith("> ") and not output:
            command += "\n" + line[2:]
        else:
            output.append(line)
    if command:
        yield Step(command=command, output="\n".join(output), line=at, keeps_running=server)


def matches(expected: str, printed: str) -> bool:
    """Whether ``printed`` is what the page shows.

    ``…`` stands for anything within a line, and alone on a line for any number of lines.
    """
    pattern = "".join(_pattern(line) for line in _plain(expected).splitlines())
    printed = _plain(printed)
    return re.fullmatch(pattern, f"{printed}\n" if printed else "") is not None


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:[^\n]*\n)*?"
    return "[^\n]*?".join(re.escape(part) for part in line.split("…")) + "\n"


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


class Shell:
    """One bash in ``folder`` with an own home and ``environment``, and the servers it left
    running. Our commands are those in ``programs``."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        store: str = STORE,
        programs: Path = BIN,
        port: str | None = None,
    ) -> None:
        self.folder = folder
        self.store = store
        self.port = port or str(free_port())
        self.servers: list[subprocess.Popen[bytes]] = []
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        kept["PATH"] = os.pathsep.join((str(programs), str(BIN), kept["PATH"]))
        self.environment = {**kept, "HOME": str(folder / ".home"), "LC_ALL": "C.UTF-8"}
        self.environment |= environment or {}
        (folder / ".home").mkdir(exist_ok=True)

    def __enter__(self) -> Shell:
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def run(self, step: Step) -> tuple[int, str]:
        """The exit code and everything that the command printed, as the page would show it."""
        command = step.command.replace(PAGE_PORT, self.port).replace(STORE, self.store)
        if step.keeps_running:
            return 0, self._start(command).replace(self.port, PAGE_PORT)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # The newline first: a command's last line may lack one, and the marker stands alone.
        self._bash.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {_END} $?\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line.startswith(_END):
                return int(line.split()[1]), "".join(lines).replace(self.port, PAGE_PORT)
            lines.append(line)
        raise AssertionError(f"the shell ended at line {step.line}: {''.join(lines)}")

    def _start(self, command: str) -> str:
        log = self.folder / ".home" / f"server-{len(self.servers)}.log"
        with log.open("wb") as out:
            self.servers.append(
                subprocess.Popen(
                    shlex.split(command),
                    cwd=self.folder,
                    env=self.environment,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that the whole of it can be killed
                )
            )
        wait_until(partial(self._answers, self.servers[-1]))
        return log.read_text()

    def _answers(self, server: subprocess.Popen[bytes]) -> bool:
        """An answer, not just a connection: then it has said what it says at the start."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/").close()
        except OSError:
            return server.poll() is not None
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._bash:  # closes the pipes and waits
            pass
        for server in self.servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)  # what it leaves is thrown away
            server.wait()

    def stop_servers(self) -> None:
        """As an operator does."""
        for server in self.servers:
            server.terminate()
            server.wait()
        self.servers.clear()
