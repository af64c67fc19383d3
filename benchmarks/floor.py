"""The physical work of moving files, and nothing else: what no registry can beat here.

Raw sockets, ``sendfile``, SHA-256 on both sides of an upload (the sender must know digests before
it can sign them, the receiver must not believe them), fsync where an upload is received, two
connections. No HTTP, no framing but a size, no metadata. ``up`` and ``down`` print seconds.

    python -m benchmarks.floor up FOLDER      # FOLDER's files to a receiver in another process
    python -m benchmarks.floor down FOLDER    # and back into a folder that is thrown away
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BUFFER_BYTES = 1024 * 1024
CONNECTIONS = 2


def _digest(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _send(connection: socket.socket, path: Path) -> None:
    size = path.stat().st_size
    connection.sendall(size.to_bytes(8, "big"))
    with path.open("rb", buffering=0) as file:
        offset = 0
        while offset < size:
            offset += os.sendfile(connection.fileno(), file.fileno(), offset, size - offset)


def _receive(connection: socket.socket, path: Path, *, durable: bool) -> None:
    size = int.from_bytes(_exactly(connection, 8), "big")
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(BUFFER_BYTES))
    with path.open("wb", buffering=0) as file:
        while size:
            count = connection.recv_into(buffer[: min(size, BUFFER_BYTES)])
            if not count:
                raise ConnectionError("cut short")
            hasher.update(buffer[:count])
            file.write(buffer[:count])
            size -= count
        if durable:
            os.fsync(file.fileno())
    hasher.hexdigest()


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += connection.recv(count - len(data)) or _cut()
    return data


def _cut() -> bytes:
    raise ConnectionError("cut short")


def _split(files: list[Path]) -> list[list[Path]]:
    return [files[number::CONNECTIONS] for number in range(CONNECTIONS)]


def _serve(listener: socket.socket, work: Callable[[socket.socket, int], None]) -> None:
    """Accepts `CONNECTIONS` peers, each in a thread; a peer first says which share it takes."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in range(CONNECTIONS):
            connection, _ = listener.accept()
            share = connection.recv(1)[0]
            pool.submit(_then_acknowledge, connection, share, work)


def _then_acknowledge(
    connection: socket.socket, share: int, work: Callable[[socket.socket, int], None]
) -> None:
    with connection:
        work(connection, share)
        connection.sendall(b"k")


def _receiver(listener: socket.socket, shares: list[list[Path]], out: Path) -> None:
    def work(connection: socket.socket, share: int) -> None:
        for path in shares[share]:
            _receive(connection, out / path.name, durable=True)

    _serve(listener, work)


def _sender(listener: socket.socket, shares: list[list[Path]], _: Path) -> None:
    def work(connection: socket.socket, share: int) -> None:
        for path in shares[share]:
            _send(connection, path)

    _serve(listener, work)


def measure(direction: str, folder: Path, scratch: Path) -> float:
    """Seconds to move every file of ``folder`` once, ``up`` or ``down``."""
    shares = _split(sorted(path for path in folder.rglob("*") if path.is_file()))
    with (
        tempfile.TemporaryDirectory(dir=scratch) as out,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        target = _receiver if direction == "up" else _sender
        peer = multiprocessing.get_context("fork").Process(
            target=target, args=(listener, shares, Path(out))
        )
        peer.start()
        began = time.perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            if direction == "up":
                list(pool.map(_digest, [path for share in shares for path in share]))
            address = listener.getsockname()
            jobs = [
                pool.submit(_client, address, number, share, direction, Path(out))
                for number, share in enumerate(shares)
            ]
            for job in jobs:
                job.result()
        seconds = time.perf_counter() - began
        peer.join()
    return seconds


def _client(
    address: tuple[str, int], number: int, share: list[Path], direction: str, out: Path
) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(bytes([number]))
        for path in share:
            if direction == "up":
                _send(connection, path)
            else:
                _receive(connection, out / path.name, durable=False)
        if connection.recv(1) != b"k":
            raise ConnectionError("not acknowledged")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(f"{measure(sys.argv[1], Path(sys.argv[2]), Path(place)):.3f}")
