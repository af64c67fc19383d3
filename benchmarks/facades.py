"""Promise: the page of a distribution with 20 versions, and a file's headers as Hugging Face's
clients ask for them, at least five times as often a second as devpi-server serves such a page, and
twice as often as pypiserver does.

One process asks over some connections that stay open, each for the next answer as soon as it has
one. Each server runs for its own turn only, ours and pypiserver with two workers, devpi-server with
as many threads as it takes by itself. Ratios are of medians within this run.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

from one_machine import free_port

from .registry import Registry

PEERS = Path(sys.prefix) / "peers"
NAME = "bench-demo"
VERSIONS = 20
JSON = "application/vnd.pypi.simple.v1+json, text/html;q=0.01"
# How many times as many requests a second as the peer answers.
PROMISED = {"devpi-server": 5.0, "pypiserver": 2.0}


def wheels() -> dict[str, bytes]:
    """``{file name: bytes}`` of one wheel for each version."""
    found = {}
    for number in range(VERSIONS):
        version, buffer = f"1.{number}.0", io.BytesIO()
        folder = f"bench_demo-{version}.dist-info"
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("bench_demo.py", f"VERSION = {version!r}\n")
            file.writestr(
                f"{folder}/METADATA",
                f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n"
                "Requires-Python: >=3.9\n",
            )
            file.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            file.writestr(f"{folder}/RECORD", "")
        found[f"bench_demo-{version}-py3-none-any.whl"] = buffer.getvalue()
    return found


def rate(url: str, method: str, requests: int, connections: int) -> float:
    """Requests a second that are answered 200, once all of these are under way."""
    host, _, path = url.removeprefix("http://").partition("/")
    address = (host.partition(":")[0], int(host.partition(":")[2]))
    asked = (
        f"{method} /{path} HTTP/1.1\r\nHost: {host}\r\nAccept: {JSON}\r\n"
        "Accept-Encoding: identity\r\n\r\n"
    ).encode()
    failures: list[str] = []

    def work(count: int) -> None:
        with contextlib.closing(Line(address)) as line:
            for _ in range(count):
                status = line.ask(asked, body=method != "HEAD")
                if status != 200:
                    failures.append(f"{url}: {status}")
                    return

    each = requests // connections
    threads = [threading.Thread(target=work, args=(each,)) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise RuntimeError(failures[0])
    return each * connections / seconds


class Line:
    """A connection that stays open, or is opened again where the server closes it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.socket: socket.socket | None = None

    def ask(self, asked: bytes, *, body: bool) -> int:
        """The status of the answer, which is read to its end."""
        if self.socket is None:
            self.socket = socket.create_connection(self.address)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(asked)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        left = int(fields.get(b"content-length", b"0")) - len(rest) if body else 0
        while left > 0:
            left -= len(self._more())
        if fields.get(b"connection") == b"close":
            self.close()
        return int(lines[0].split(b" ")[1])

    def _more(self) -> bytes:
        assert self.socket is not None
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed the connection within an answer")
        return data

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


@contextlib.contextmanager
def ours(place: Path) -> Iterator[dict[str, tuple[str, str]]]:
    """``{what is measured: (method, URL)}`` of our server."""

    def settings(data: Path) -> None:
        with (data / "server.toml").open("a") as file:
            file.write("\nworkers = 2\n")

    with Registry(place, settings) as registry:
        library = place / NAME
        registry.forge(
            "init", str(library), "--org", "bench", "--name", NAME, "--kind", "library"
        )  # fmt: skip
        for name, data in wheels().items():
            (library / name).write_bytes(data)
        registry.forge("publish", str(library))
        model = registry.component("model")
        (model / "model.bin").write_bytes(os.urandom(100_000))
        registry.forge("publish", str(model))
        yield {
            "page": ("GET", f"{registry.url}/simple/{NAME}/"),
            "resolve": ("HEAD", f"{registry.url}/hf/bench/model/resolve/main/model.bin"),
        }


@contextlib.contextmanager
def running(command: list[str], url: str, place: Path) -> Iterator[None]:
    """The server is started, and answers under ``url``; it is ended afterwards."""
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=place)
    try:
        while True:
            if server.poll() is not None:
                raise RuntimeError((place / "log").read_text()[-2000:])
            try:
                urllib.request.urlopen(url).close()
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
            else:
                break
        yield
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def pypiserver(place: Path) -> Iterator[dict[str, tuple[str, str]]]:
    folder = place / "packages"
    folder.mkdir()
    for name, data in wheels().items():
        (folder / name).write_bytes(data)
    port = free_port()
    command = [
        str(PEERS / "pypiserver" / "bin" / "gunicorn"), "-w", "2", "-b", f"127.0.0.1:{port}",
        "-k", "gthread", "--threads", "8", f"pypiserver:app(root={str(folder)!r})",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with running(command, url, place):
        yield {"page": ("GET", f"{url}/simple/{NAME}/")}


@contextlib.contextmanager
def devpi(place: Path) -> Iterator[dict[str, tuple[str, str]]]:
    programs, data = PEERS / "devpi" / "bin", place / "data"
    subprocess.run(
        [str(programs / "devpi-init"), "--serverdir", str(data), "--no-root-pypi"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(programs / "devpi-server"), "--serverdir", str(data), "--port", str(port),
        "--offline-mode",
    ]  # fmt: skip
    with running(command, f"{url}/+api", place):
        call(f"{url}/bench", "PUT", {"password": "bench"})
        token = call(f"{url}/+login", "POST", {"user": "bench", "password": "bench"})
        secret = base64.b64encode(f"bench:{token['result']['password']}".encode()).decode()
        call(f"{url}/bench/dev", "PUT", {"bases": []}, secret)
        for name, wheel in wheels().items():
            send(f"{url}/bench/dev/", name, wheel, secret)
        yield {"page": ("GET", f"{url}/bench/dev/+simple/{NAME}/")}


def call(
    url: str, method: str, body: object, secret: str | None = None
) -> dict[str, dict[str, str]]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if secret is not None:
        headers["X-Devpi-Auth"] = secret
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request) as answer:
        found: dict[str, dict[str, str]] = json.load(answer)
        return found


def send(url: str, name: str, data: bytes, secret: str) -> None:
    """Uploads a wheel as twine would."""
    version = name.split("-")[1]
    fields = {":action": "file_upload", "name": NAME, "version": version, "filetype": "bdist_wheel"}
    border = "a-border-that-no-wheel-holds"
    body = b"".join(
        f'--{border}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    )
    body += (
        f'--{border}\r\nContent-Disposition: form-data; name="content"; filename="{name}"\r\n\r\n'
    ).encode()
    body += data + f"\r\n--{border}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={border}", "X-Devpi-Auth": secret,
    }  # fmt: skip
    urllib.request.urlopen(urllib.request.Request(url, body, headers, method="POST")).close()


SERVERS = {"forge": ours, "devpi-server": devpi, "pypiserver": pypiserver}
NEEDED = {"devpi-server": "devpi", "pypiserver": "pypiserver"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    absent = [peer for peer, place in NEEDED.items() if not (PEERS / place / ".installed").exists()]
    if absent:
        print(f"not compared with {' and '.join(absent)}: make peers")
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(options.rounds):
        for name, server in SERVERS.items():
            if name in absent:
                continue
            with tempfile.TemporaryDirectory() as place, server(Path(place)) as asked:
                for what, (method, url) in asked.items():
                    rate(url, method, 100, options.connections)  # caches are warm, as they are
                    value = rate(url, method, options.requests, options.connections)
                    found.setdefault((name, what), []).append(value)
                    print(f"round {number + 1}, {name}, {what}: {value:.0f} a second", flush=True)
    report({key: statistics.median(values) for key, values in found.items()})


def report(medians: dict[tuple[str, str], float]) -> None:
    """Each promise, and whether it was kept."""
    for what in ("page", "resolve"):
        own = medians["forge", what]
        print(f"{what}: {own:.0f} a second")
        for peer, least in PROMISED.items():
            if (peer, "page") in medians:
                ratio = own / medians[peer, "page"]
                verdict = "kept" if ratio >= least else "NOT KEPT"
                print(f"  {verdict}: {ratio:.1f} × {peer} (promised {least:g} ×)")


if __name__ == "__main__":
    main()
