"""A slow line on this machine: what goes through it takes as long as on one of so many Mbit/s.

One process of its own, so that its work is nobody else's. Each direction has the whole rate, and
all connections share it, as on a line with one modem.

    python -m benchmarks.line TARGET_PORT MBIT     # prints the port to connect to
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLOCK_BYTES = 16 * 1024
_BURST_SECONDS = 0.02


class Rate:
    """Lets so many bytes a second through, whoever asks; in the order in which they ask."""

    def __init__(self, bytes_per_second: float) -> None:
        self._per_second = bytes_per_second
        self._free_at = 0.0  # on the loop's clock

    async def take(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - _BURST_SECONDS) + count / self._per_second
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: Rate) -> None:
    with suppress(OSError):
        while data := await reader.read(BLOCK_BYTES):
            await rate.take(len(data))
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


async def _serve(target: int, mbit: float) -> None:
    up, down = (Rate(mbit * 1e6 / 8) for _ in range(2))

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target, limit=4 * BLOCK_BYTES)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back, up), _pump(there, writer, down))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, limit=4 * BLOCK_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def line_to(target: int, mbit: float) -> Iterator[int]:
    """The port by which ``target``, a port of the loopback, is reached over the line while the
    ``with`` block lasts."""
    command = [sys.executable, "-m", "benchmarks.line", str(target), str(mbit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
