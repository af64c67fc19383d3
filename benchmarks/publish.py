"""Promise: one publish of a small component costs the server at most 150 ms, with the public log
and three witnesses on the same machine.

Whole commands publish in turn to a registry with witnesses and to one without. What counts is the
server's time as its own log says it: of the request that commits and publishes, and of all requests
of the command. The yardstick is a durable SQLite transaction, taken in between.
"""

from __future__ import annotations

import argparse
import re
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from one_machine import free_port

from forge_server.services.callers import OPERATOR
from forge_server.settings import DataFolder
from forge_server.wiring import open_registry
from signing.keys import load_private_key
from signing.role_edits import next_version, sign_role
from signing.tlog.note import NoteKey
from signing.tlog.policy import policy_in, set_policy, with_witnesses

from .registry import BIN, Registry
from .report import promise
from .transfer import timed

LIMIT_MS = 150.0
OFFERS = "/api/v1/releases"
WITNESSES = 3
_LINE = re.compile(r"(POST|PUT) (\S+) (\d+) (\d+) ms")


class Witnesses:
    """`forge-witness run` three times, each for one log."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.lines: list[str] = []
        self.keys: list[NoteKey] = []
        self._running = ExitStack()

    def start(self, log_vkey: str) -> None:
        for number in range(WITNESSES):
            folder = self.place / f"witness{number}"
            name = f"witness{number}.example"
            run("init", str(folder), "--name", name, "--insecure-unencrypted")
            run("add-log", str(folder), log_vkey)
            port = free_port()
            process = subprocess.Popen(
                [str(BIN / "forge-witness"), "run", str(folder), "--port", str(port)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._running.callback(process.wait)
            self._running.callback(process.terminate)
            wait_for(port)
            vkey = (folder / "vkey").read_text().strip()
            self.keys.append(NoteKey.parse(vkey))
            self.lines.append(f"{vkey} http://127.0.0.1:{port}")

    def __call__(self, data: Path) -> None:
        """Has the authority of a fresh registry name them, and its operator say where they are."""
        services = open_registry(DataFolder(data))
        self.start(services.log.keys.verifiers()[0].vkey)
        now = services.clock()
        targets = next_version(services.roles.current("targets"), "targets", now)
        policy = policy_in(targets)
        assert policy is not None
        set_policy(targets, with_witnesses(policy, self.keys, None))
        key = load_private_key(
            (data.with_name(f"{data.name}-authority") / "targets.pem").read_bytes()
        )
        listed = ", ".join(f'"{line}"' for line in self.lines)
        (data / "server.toml").write_text(f"witnesses = [{listed}]\n")
        services.database.dispose()
        services = open_registry(DataFolder(data))  # with the witnesses in its settings
        services.roles.accept(OPERATOR, {"targets": sign_role(targets, [key])})
        services.database.dispose()

    def stop(self) -> None:
        self._running.close()


def run(*arguments: str) -> None:
    program = str(BIN / "forge-witness")
    subprocess.run([program, *arguments], check=True, capture_output=True)


def wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the witness did not start")


def publish(registry: Registry, folder: Path, number: int) -> tuple[float, float, float]:
    """Milliseconds that the server spent on the committing request and on all of the command, and
    what processors worked for it meanwhile, whoever else wanted them."""
    worked = registry.server_processor_ms()
    registry.set_version(folder, f"1.0.{number}")
    (folder / "weights.bin").write_bytes(b"%d" % number * 1000)
    before = registry.log.stat().st_size
    registry.forge("publish", str(folder))
    with registry.log.open("rb") as log:
        log.seek(before)
        found = _LINE.findall(log.read().decode())
    commit = [float(ms) for _, path, status, ms in found if (path, status) == (OFFERS, "201")]
    worked = registry.server_processor_ms() - worked
    return commit[0], sum(float(each[-1]) for each in found), worked


class Transactions:
    """A durable transaction of one row: what nothing that keeps a promise is quicker than."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        for text in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
            self.connection.execute(text)
        self.connection.execute("CREATE TABLE t (data BLOB)")

    def one(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("INSERT INTO t VALUES (?)", (bytes(4000),))
        self.connection.execute("COMMIT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    figures: dict[str, list[tuple[float, float, float]]] = {"with": [], "without": []}
    floor: list[float] = []
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        place = Path(temporary)
        witnesses = Witnesses(place)
        stack.callback(witnesses.stop)
        registries, folders = {}, {}
        for name, fill in (("with", witnesses), ("without", None)):
            (place / name).mkdir()
            registries[name] = stack.enter_context(Registry(place / name, fill))
            folders[name] = registries[name].component("small")
        plain = Transactions(place / "plain.db")
        for number in range(options.rounds + 1):
            for name, registry in registries.items():
                figures[name].append(publish(registry, folders[name], number))
            floor.append(timed(plain.one) * 1000)
    base = statistics.median(floor)
    for name, what in (("with", "with three witnesses"), ("without", "without witnesses")):
        later = figures[name][1:]  # the first one also adds the project
        for at, request, limit in (
            (0, "the request that publishes", LIMIT_MS if name == "with" else None),
            (1, "all requests", None),
            (2, "processor time of all", None),
        ):
            middle = statistics.median(each[at] for each in later)
            promise(
                f"server time of a small publish {what}, {request}", middle, limit, "ms",
                base, "a durable SQLite transaction",
            )  # fmt: skip


if __name__ == "__main__":
    main()
