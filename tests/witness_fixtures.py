"""A witness in a folder, a log that grows, and what the log would ask it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from flask.testing import FlaskClient
from log_builders import NamedKey, TileTree, checkpoint_of
from one_machine import free_port
from waiting import wait_for_server
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from forge_server.witness.app import create_app
from forge_server.witness.memory import WitnessFolder
from forge_server.witness.service import Witness
from signing.tlog.merkle import prove_consistency
from signing.tlog.witnessing import render_add_checkpoint

BIN = Path(sys.executable).parent
NAME = "witness.example/institute"
TREE = TileTree([b"entry %d" % number for number in range(300)])
FORK = TileTree([b"entry %d" % (number if number < 5 else -number) for number in range(300)])


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class GrowingLog:
    """A log with the leaves of ``tree``; ``key`` signs its checkpoints."""

    key: NamedKey
    tree: TileTree = TREE

    @property
    def hash(self) -> str:
        return sha256(self.key.name.encode()).hexdigest()

    def checkpoint(self, size: int) -> bytes:
        return checkpoint_of(self.key, size, self.tree.root(size))

    def ask(self, old: int, size: int, checkpoint: bytes | None = None) -> bytes:
        """The body that asks for a cosignature over ``size``, with the proof from ``old``."""
        proof = prove_consistency(old, size, self.tree.reader(size)) if old <= size else []
        return render_add_checkpoint(old, proof, checkpoint or self.checkpoint(size))


def make_witness(root: Path, *logs: GrowingLog, name: str = NAME) -> Witness:
    """A witness in the new folder ``root`` that knows ``logs``."""
    own = NamedKey(name)
    folder = WitnessFolder.create(root, own.name, own.key, own.key.to_pem(None))
    for log in logs:
        folder.add_log(log.key.as_log.vkey)
    return Witness(folder=folder, key=own.key, clock=now)


def reopened(root: Path) -> Witness:
    """The witness in ``root`` as a restart finds it."""
    folder = WitnessFolder(root)
    witness = Witness(folder=folder, key=folder.load_key(lambda _: None), clock=now)
    witness.require_whole()
    return witness


def client_of(witness: Witness) -> FlaskClient:
    return create_app(witness).test_client()


def line_with(line: str, change: bytes) -> str:
    """A signature line whose last byte is changed."""
    head, _, encoded = line.rpartition(" ")
    raw = base64.b64decode(encoded)
    return f"{head} {base64.b64encode(raw[:-1] + bytes([raw[-1] ^ change[0]])).decode()}\n"


class HousedWitness:
    """The witness in ``folder`` on a loopback port, served by a thread of the tests' own process:
    for those who ask it, and are not about its program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> HousedWitness:
        self.start()
        return self

    def start(self, port: int = 0) -> None:
        """Starts it on ``port``, or on a free one."""
        self._server: BaseWSGIServer | None = make_server(
            "127.0.0.1",
            port or free_port(),
            create_app(reopened(self.folder)),
            True,
            request_handler=_Quiet,
        )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def kill(self) -> None:
        """Nobody listens any longer."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        pass


class LiveWitness:
    """`forge-witness run` as a process on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")

    def __enter__(self) -> LiveWitness:
        self.start()
        return self

    def start(self, port: int | None = None) -> None:
        """Starts it on ``port``, or on a free one."""
        self.port = port or free_port()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "forge-witness"), "run", str(self.folder), "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that the whole of it can be killed
            )
        wait_for_server(self.process, self.port, self.log)

    def kill(self) -> None:
        """kill -9 to the master and its worker at once: a power cut without the disk."""
        os.killpg(self.process.pid, 9)
        self.process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Told to stop, it waits two seconds for clients that keep their connections.
        if self.process.poll() is None:
            self.kill()
