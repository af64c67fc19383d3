"""Promise: nginx with the shipped configuration answers at least 10,000 index reads a second on two
cores.

An index read is a GET of a project's role of a few kB, over connections that stay open, by `wrk`
(apt-get install wrk). The yardstick is the same nginx with the same file and nothing configured.
The load is bounded: 64 connections, some seconds each, interleaved.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import one_machine as machine

from forge_server.operate.initialise import initialise

LIMIT_PER_SECOND = 10_000.0
_BARE = """\
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 100000;
  server {{ listen 127.0.0.1:{port}; root {public}; }} }}
"""


def processor_seconds(nginx: machine.Program) -> float:
    """What processors have worked for nginx's processes so far."""
    pid = nginx.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (str(pid), *children):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc_pid_stat(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def reads_per_second(url: str, seconds: int, *headers: str) -> float:
    options = [word for header in headers for word in ("-H", header)]
    done = subprocess.run(
        ["wrk", "-t2", "-c64", f"-d{seconds}s", *options, url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or "Non-2xx" in done.stdout:
        raise RuntimeError(f"wrk {url}: {done.returncode} {done.stdout}{done.stderr}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None or machine.nginx_program() is None:
        print("not measured: nginx and wrk must be installed (apt-get install nginx-light wrk)")
        return
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as running:
        place = Path(temporary)
        initialise(place / "reg", dev=True)
        public = place / "reg" / "public"
        role = public / "7.lab.model.json"
        role.write_bytes((public / "1.targets.json").read_bytes().ljust(2700))
        ports = [machine.free_port(), machine.free_port()]
        nginx = machine.start_nginx(
            place / "shipped", port=ports[0], servers=[machine.free_port()], data=place / "reg"
        )
        running.callback(nginx.stop)
        bare = machine.run_nginx(place / "bare", _BARE, ports[1], public=public)
        running.callback(bare.stop)
        shipped = f"http://127.0.0.1:{ports[0]}/tuf"
        found: dict[str, list[float]] = {}
        worked: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, by, url, headers in (
                ("a role", nginx, f"{shipped}/{role.name}", ()),
                ("a role, compressed", nginx, f"{shipped}/{role.name}", ("Accept-Encoding: gzip",)),
                ("timestamp.json", nginx, f"{shipped}/timestamp.json", ()),
                ("bare", bare, f"http://127.0.0.1:{ports[1]}/{role.name}", ()),
            ):
                before = processor_seconds(by)
                got = reads_per_second(url, options.seconds, *headers)
                found.setdefault(name, []).append(got)
                busy = (processor_seconds(by) - before) / (got * options.seconds)
                worked.setdefault(name, []).append(busy * 1e6)
        base = statistics.median(found.pop("bare"))
        for name, each in found.items():
            value = statistics.median(each)
            verdict = "at least" if value >= LIMIT_PER_SECOND else "BELOW"
            print(
                f"reads of {name}: {value:.0f}/s; {verdict} {LIMIT_PER_SECOND:.0f} "
                f"({value / base:.2f} × bare nginx with the same file, {base:.0f}/s; "
                f"{statistics.median(worked[name]):.0f} µs of a processor each)",
                flush=True,
            )


if __name__ == "__main__":
    main()
