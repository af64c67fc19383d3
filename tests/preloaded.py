"""A process that has imported a program, and forks to run it: nothing is imported twice.

`preloaded.py SOCKET MODULE PREFIX …` imports what is under the prefixes, listens on SOCKET, and for
each request forks a child that becomes the program: with the arguments, environment, folder and
file mode mask of whoever asks, and its three standard files. The child has a group of its own; who
asked passes signals on. It ends when its standard input does, and its children with it.

A request is its length in 4 bytes, with the descriptors beside them, then texts with a NUL after
each: folder, mask, number of arguments, the arguments from the name of the program on, and the
environment as ``NAME=value``. The answer is the child's pid and, when it has ended, its wait
status, 4 bytes each.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import locale
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

_NUMBER = 4
# What does something when it is imported, or belongs to a server, which is always a real program.
_NOT_IMPORTED = (
    "forge_cli.plugins.", "forge_server.api", "forge_server.app", "forge_server.db.migrations.",
    "forge_server.observe", "forge_server.operate.listening", "forge_server.operate.serve",
    "forge_server.scans.child", "forge_server.web",
)  # fmt: skip


def preload(prefixes: list[str]) -> None:
    """Imports the packages ``prefixes`` and their modules."""
    from signing.left_out import leave_out

    leave_out()  # as the programs do first
    for prefix in prefixes:
        package = importlib.import_module(prefix)
        for found in _modules(package.__path__, f"{prefix}."):
            importlib.import_module(found)
    if "sqlalchemy.orm" in sys.modules:
        sys.modules["sqlalchemy.orm"].configure_mappers()  # what the first statement would do


def _modules(path: object, prefix: str) -> Iterator[str]:
    for found in pkgutil.iter_modules(path, prefix):  # type: ignore[arg-type]
        if not found.name.startswith(_NOT_IMPORTED):
            yield found.name
            if found.ispkg:
                yield from _modules(importlib.import_module(found.name).__path__, f"{found.name}.")


class Children:
    """Takes requests, and tells those who made them how their children ended."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.asking: dict[int, socket.socket] = {}  # by the pid of the child
        self.ended, waker = socket.socketpair()
        waker.setblocking(False)
        self.waker = waker
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)

    def serve(self) -> list[str]:
        """Returns in a child that has become what was asked for, with its arguments; in this
        process never."""
        while True:
            watched = [self.listener, self.ended, sys.stdin, *self.asking.values()]
            ready, _, _ = select.select(watched, [], [])
            if sys.stdin in ready:  # it says nothing: this is its end
                for pid in self.asking:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            if self.ended in ready:
                self.ended.recv(4096)
                self._reap()
            for pid, asking in list(self.asking.items()):
                if asking in ready:  # gone: killed, as its child is to be
                    os.kill(pid, signal.SIGKILL)
                    asking.close()
                    del self.asking[pid]
            if self.listener in ready:
                arguments = self._fork()
                if arguments is not None:
                    return arguments

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            asking = self.asking.pop(pid, None)
            if asking is not None:
                asking.sendall(status.to_bytes(_NUMBER, "little"))
                asking.close()

    def _fork(self) -> list[str] | None:
        asking, _ = self.listener.accept()
        length, files, _, _ = socket.recv_fds(asking, _NUMBER, 3)
        request = b""
        while len(request) < int.from_bytes(length, "little"):
            request += asking.recv(1 << 20)
        pid = os.fork()
        if pid == 0:
            self._forget()
            asking.close()
            return become(request, files)
        for file in files:
            os.close(file)
        self.asking[pid] = asking
        asking.sendall(pid.to_bytes(_NUMBER, "little"))
        return None

    def _forget(self) -> None:
        """What is the forking process's alone."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self.listener, self.ended, self.waker, *self.asking.values()):
            each.close()


def become(request: bytes, files: list[int]) -> list[str]:
    """Makes this process one that was started as the ``request`` says; returns its arguments."""
    os.setpgid(0, 0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    folder, mask, count, *texts = request.split(b"\0")[:-1]
    os.chdir(folder)
    os.umask(int(mask))
    arguments, variables = texts[: int(count)], texts[int(count) :]
    os.environ.clear()
    for variable in variables:
        name, _, value = variable.partition(b"=")
        os.environb[name] = value
    time.tzset()
    locale.setlocale(locale.LC_CTYPE, "")
    _open_standard_files()
    return list(map(os.fsdecode, arguments))


def _open_standard_files() -> None:
    """As Python does when it starts."""
    plain = locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX", "C.UTF-8")
    errors = "surrogateescape" if plain else "strict"
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors=errors, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    for number, name in ((1, "stdout"), (2, "stderr")):
        how = "backslashreplace" if number == 2 else errors
        at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
        binary = open(number, "wb", 0 if at_once else -1, closefd=False)  # noqa: SIM115
        file = io.TextIOWrapper(
            binary,
            "utf-8",
            how,
            line_buffering=number == 2 or os.isatty(number),
            write_through=at_once,
        )
        setattr(sys, name, file)
        setattr(sys, f"__{name}__", file)


def main() -> None:
    path, module, *prefixes = sys.argv[1:]
    preload(prefixes)
    entry = importlib.import_module(module)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print(flush=True)  # it can be asked
    gc.freeze()  # a collection would copy every page of what was imported
    sys.argv = Children(listener).serve()
    end_with(entry.main)


def end_with(program: Callable[[], None]) -> NoReturn:
    """Runs ``program`` and ends as Python does, but for taking apart what was imported, which
    takes longer than most commands."""
    try:
        program()
        code: object = 0
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as an exit does
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            file.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    main()
