"""Promise: `hf download`, `pip download` and `skopeo copy` fetch a file from the registry, behind
nginx with the shipped configuration, at 80 % or more of the speed at which `curl` gets it.

All write the file to the same disk, interleaved. Beside each client stands its *own ceiling*: for
pip the same wheel from a plain folder that nginx serves; for hf the library by which it fetches,
from that folder, and nothing else of it; skopeo copies the image from one folder to another, with
no server at all. A client that hashes and
unpacks what it fetches may be slower than curl whoever serves it; what the registry answers for is
the distance to that ceiling. Times are whole commands, the start of the client included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .plane import machine
from .registry import Registry

CLIENTS = Path(sys.prefix) / "judges/clients/bin"
LEAST = 0.8
WHEEL = "bench_big-1.0.0-py3-none-any.whl"
_HTTPX = """\
import sys, httpx2
with httpx2.stream("GET", sys.argv[1]) as answer, open(sys.argv[2], "wb") as file:
    for block in answer.iter_bytes(10 * 2**20):  # as hf does
        file.write(block)
"""
_FOLDER = """\
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; types {{ text/html html; }}
  server {{ listen 127.0.0.1:{port}; root {public}; index index.html; }} }}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A command that leaves the file below ``out``; ``ceiling`` names the one it is held against
    besides curl, if any."""

    command: Callable[[Path], list[str]]
    ceiling: str | None = None


def write_wheel(path: Path, payload: Path) -> None:
    """A wheel that holds ``payload`` as it is, and no more than pip asks for."""
    folder = "bench_big-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.write(payload, "bench_big/weights.bin")
        file.writestr(
            f"{folder}/METADATA", "Metadata-Version: 2.1\nName: bench-big\nVersion: 1.0.0\n"
        )
        file.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{folder}/RECORD", "")


def publish(registry: Registry, payload: Path) -> None:
    """The payload as a model, and as a wheel of a library."""
    model = registry.component("big")
    os.link(payload, model / "weights.bin")
    registry.forge("publish", str(model))
    library = registry.place / "bench-big"
    registry.forge(
        "init", str(library), "--org", "bench", "--name", "bench-big", "--kind", "library"
    )
    registry.set_version(library, "1.0.0")
    write_wheel(library / WHEEL, payload)
    registry.forge("publish", str(library))


def ways(url: str, plain: str, images: Path) -> dict[str, Way]:
    pip = [
        str(CLIENTS / "python"), "-m", "pip", "--disable-pip-version-check", "--no-cache-dir",
        "download", "--no-deps", "--quiet",
    ]  # fmt: skip
    skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    host = url.removeprefix("http://")
    resolve = f"{url}/hf/bench/big/resolve/main/weights.bin"
    return {
        "curl": Way(lambda out: ["curl", "-sfL", "-o", str(out / "weights.bin"), resolve]),
        "hf": Way(
            lambda out: [
                str(CLIENTS / "hf"), "download", "bench/big", "weights.bin", "--quiet",
                "--local-dir", str(out),
            ],
            "httpx2, folder",
        ),
        "httpx2, folder": Way(
            lambda out: [
                str(CLIENTS / "python"), "-c", _HTTPX, f"{plain}/{WHEEL}", str(out / "weights.bin"),
            ]
        ),
        "pip": Way(
            lambda out: [*pip, "-i", f"{url}/simple/", "-d", str(out), "bench-big"], "pip, folder"
        ),
        "pip, folder": Way(
            lambda out: [*pip, "--no-index", "-f", f"{plain}/", "-d", str(out), "bench-big"]
        ),
        "skopeo": Way(
            lambda out: [*skopeo, f"docker://{host}/bench/big:1.0.0", f"dir:{out}"],
            "skopeo, folder",
        ),
        "skopeo, folder": Way(lambda out: [*skopeo, f"dir:{images}", f"dir:{out}"]),
    }  # fmt: skip


def seconds_of(command: list[str], out: Path, environment: dict[str, str], size: int) -> float:
    """How long the command takes; the file must be there after it."""
    out.mkdir()
    try:
        began = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        took = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        if max(path.stat().st_size for path in out.rglob("*") if path.is_file()) < size:
            raise RuntimeError(f"{' '.join(command)}: the file is not there")
        return took
    finally:
        shutil.rmtree(out)


def lacking() -> str | None:
    """What to install before it can be measured here; None when nothing lacks."""
    if not (CLIENTS / "hf").exists():
        return "make test installs the clients"
    absent = [name for name in ("curl", "skopeo") if shutil.which(name) is None]
    if machine.nginx_program() is None:
        absent.append("nginx-light")
    return f"apt-get install {' '.join(absent)}" if absent else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    absent = lacking()
    if absent is not None:
        print(f"not measured: {absent}")
        return
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as running:
        place = Path(temporary)
        place.chmod(0o755)  # nginx reads as another account
        payload = place / "payload"
        with payload.open("wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(2**20))
        size = payload.stat().st_size

        def behind(data: Path) -> None:
            with (data / "server.toml").open("a") as settings:
                settings.write('\ntrusted_proxies = 1\naccel_redirect = "/internal-blobs/"\n')

        registry = running.enter_context(Registry(place, behind))
        publish(registry, payload)
        port = machine.free_port()
        server = int(registry.url.rpartition(":")[2])
        nginx = machine.start_nginx(
            place / "nginx", port=port, servers=[server], data=registry.data
        )
        running.callback(nginx.stop)
        folder, plain = place / "plain", machine.free_port()
        folder.mkdir()
        os.link(registry.place / "bench-big" / WHEEL, folder / WHEEL)
        (folder / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
        bare = machine.run_nginx(place / "bare", _FOLDER, plain, public=folder)
        running.callback(bare.stop)
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(place / "home"),
            "HF_ENDPOINT": f"http://127.0.0.1:{port}/hf", "HF_HUB_DISABLE_TELEMETRY": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }  # fmt: skip
        all_ways = ways(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{plain}", place / "image")
        copy = all_ways["skopeo"].command(place / "image")
        subprocess.run(copy, env=environment, check=True, capture_output=True)
        for number in range(options.rounds + 1):  # the first warms up, and is not counted
            for name, way in all_ways.items():
                took = seconds_of(way.command(place / "out"), place / "out", environment, size)
                if number:
                    found.setdefault(name, []).append(took)
                    print(f"round {number}, {name}: {size / took / 2**20:.0f} MiB/s", flush=True)
    report(found, all_ways)


def report(found: dict[str, list[float]], all_ways: dict[str, Way]) -> None:
    """Each promise, and whether it was kept; medians of the rounds."""
    medians = {name: statistics.median(took) for name, took in found.items()}
    for name, way in all_ways.items():
        if name == "curl" or "folder" in name:
            continue
        share = medians["curl"] / medians[name]
        line = f"{name}: {'kept' if share >= LEAST else 'NOT KEPT'}: {share:.2f} × curl"
        if way.ceiling is not None:
            line += f"; {medians[way.ceiling] / medians[name]:.2f} × its own ceiling"
        print(f"{line} (promised {LEAST:g} × curl)")


if __name__ == "__main__":
    main()
