#!/usr/bin/env python3
"""A whole registry on one machine, on loopback, in one folder: two servers, a worker, PostgreSQL,
and nginx in front of them; with ``--ceph`` also an object store that has all files and blobs.

    deploy/one_machine.py FOLDER [--port 8080] [--servers 2] [--database URL] [--ceph]

For trying out what docs/howto/deploy-on-many.md describes, and for this project's own tests: the
authority's keys lie in FOLDER/first-authority, unprotected. Prints the address and runs until
Ctrl-C or SIGTERM; the same folder again goes on with what is there. `forge-server` and nginx must
be installed, PostgreSQL's programs unless ``--database`` names a server that runs already, and
those of Ceph (see `one_ceph.py`) with ``--ceph``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from one_ceph import CephError, CephNode, free_ports

DEPLOY = Path(__file__).parent
_ALIVE_SECONDS = 0.1  # between two looks at a program that starts
# What nginx needs around our part of it, when nobody installed it as a service.
_MAIN = """\
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 4096; }}
http {{
    log_format forge '$remote_addr $request_method $uri $status $body_bytes_sent '
                     '$request_time $upstream_addr $request_id';
    access_log {access};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/forge.conf;
}}
"""
_SETTINGS = """
embedded_worker = false
trusted_proxies = 1
"""
_IN_FOLDERS = """
public = "{data}/public"
blobs = "{data}/blobs"
accel_redirect = "/internal-blobs/"
"""
_BUCKET = "forge-registry"
_FILES = re.compile(r"^ *# ---- files: begin\n.*?# ---- files: end\n", re.DOTALL | re.MULTILINE)


class NotStartedError(Exception):
    """A program did not start; the message is for the one who started it."""


class Program:
    """A process of ours; ``log`` takes what it prints. Ended by `stop`, or `kill` for tests."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self.command, self.log, self.environment = list(command), log, environment
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,  # Ctrl-C is for us, who end them in order
            )

    def require_alive(self) -> None:
        if self.process.poll() is not None:
            last = self.log.read_text(encoding="utf-8", errors="replace")[-1000:]
            raise NotStartedError(f"{self.command[0]} ended: {last}")

    def wait_for(self, port: int) -> None:
        """Returns when something listens on ``port`` of the loopback."""
        while True:
            self.require_alive()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                time.sleep(_ALIVE_SECONDS)
            else:
                return

    def kill(self) -> None:
        """As a power cut would: the whole group at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens on, and nobody will by chance."""
    return free_ports(1)[0]


def nginx_program() -> str | None:
    """The path of nginx, which Debian puts where only root looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def without_files(template: str) -> str:
    """The configuration of nginx without what it would send itself."""
    return _FILES.sub("", template)


def start_nginx(
    folder: Path,
    *,
    port: int,
    servers: Sequence[int],
    data: Path | None,
    workers: int = 2,
    access_log: bool = True,
) -> Program:
    """nginx on ``port``, in front of servers on ports of the loopback, with the configuration that
    is shipped. ``data`` is the data folder with the files that it sends itself; None where they are
    in an object store. It runs as the account that it is started by. The caller stops it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (DEPLOY / "nginx.conf.template").read_text(encoding="utf-8")
    values = {
        "FORGE_LISTEN": f"127.0.0.1:{port}",
        "FORGE_SERVERS": " ".join(f"server 127.0.0.1:{each} fail_timeout=1s;" for each in servers),
    }
    if data is None:
        text = without_files(text)
    else:
        values |= {"FORGE_PUBLIC": f"{data}/public", "FORGE_BLOBS": f"{data}/blobs"}
    # A comment may name a variable, as the template's head does.
    filled = re.sub(r"\$\{(FORGE_[A-Z]+)\}", lambda match: values.get(match[1], match[0]), text)
    (folder / "forge.conf").write_text(filled, encoding="utf-8")
    access = f"{folder}/access.log forge" if access_log else "off"
    return run_nginx(folder, _MAIN, port, workers=workers, access=access)


def run_nginx(folder: Path, main: str, port: int, **values: object) -> Program:
    """nginx with the configuration ``main``, in which ``{folder}``, ``{user}``, ``{port}`` and
    ``values`` are filled in; returns when it listens on ``port``."""
    program = nginx_program()
    if program is None:
        raise NotStartedError("nginx: not installed (apt-get install nginx-light)")
    folder.mkdir(parents=True, exist_ok=True)
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    text = main.format(folder=folder, user=user, port=port, **values)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    nginx = Program([*command, "-e", str(folder / "error.log")], folder / "out.log", {**os.environ})
    nginx.wait_for(port)
    return nginx


def start_postgresql(folder: Path, log: Path) -> tuple[Program, str]:
    """PostgreSQL with its data in ``folder`` and nothing on the network, and the URL of its
    database ``forge``."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    if not found:
        raise NotStartedError("PostgreSQL: not installed (apt-get install postgresql)")
    if len(str(folder)) > 80:
        raise NotStartedError(f"{folder}: expected at most 80 letters, for PostgreSQL's socket")
    binaries, data = found[-1], folder / "data"
    account: list[str] = []
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        account = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    fresh = not data.exists()
    if fresh:
        folder.mkdir(exist_ok=True)
        if account:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        _run(
            [*account, str(binaries / "initdb"), "--username", "forge", "--auth", "trust",
             "--encoding", "UTF8", "--locale", "C.UTF-8", "--pgdata", str(data)]
        )  # fmt: skip
    server = Program(
        [*account, str(binaries / "postgres"), "-D", str(data), "-k", str(folder),
         "--listen_addresses=", "--max_connections=200"],
        log, {**os.environ},
    )  # fmt: skip
    ready = [str(binaries / "pg_isready"), "--quiet", "--host", str(folder)]
    while subprocess.run(ready, check=False).returncode != 0:
        server.require_alive()
        time.sleep(_ALIVE_SECONDS)
    if fresh:
        _run([*account, str(binaries / "createdb"), "-h", str(folder), "-U", "forge", "forge"])
    return server, f"postgresql://forge@/forge?host={folder}"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Raises NotStartedError when another of us is at work in the folder."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotStartedError(f"{path.parent}: another one runs in this folder") from None
        yield


def _stop_together(programs: Sequence[Program]) -> None:
    """Each takes a while to finish what it is doing, so they do it side by side."""
    for each in programs:
        if each.process.poll() is None:
            each.process.terminate()
    for each in programs:
        each.process.wait()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise NotStartedError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


class Machine:
    """Everything in ``folder``. ``servers`` are the registry's processes, each with a data folder
    of its own; the published files and the blobs are those of the first, or in ``ceph``, a node
    that runs already. With ``own_ceph`` one is started in the folder and stopped with the rest."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        servers: int = 2,
        database: str | None = None,
        ceph: CephNode | None = None,
        own_ceph: bool = False,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.database = database
        self.ceph = ceph
        self.own_ceph = own_ceph
        self.names = ["first", *(f"server-{number}" for number in range(2, servers + 1))]
        self.servers: list[Program] = []
        self.ports: list[int] = []
        self._running = ExitStack()

    @property
    def data(self) -> Path:
        """The first server's data folder."""
        return self.folder / "first"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Machine:
        with ExitStack() as starting:
            self._start(starting)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _start(self, running: ExitStack) -> None:
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        running.enter_context(_alone(self.folder / "lock"))
        self.folder.chmod(0o711)  # the account of PostgreSQL passes through
        if self.database is None:
            postgresql, self.database = start_postgresql(
                self.folder / "postgresql", logs / "postgresql"
            )
            # Not SIGTERM: that would wait for connections which nobody closes.
            running.callback(postgresql.stop, signal.SIGINT)
        if self.own_ceph:
            self.ceph = CephNode(self.folder / "ceph")
            running.callback(self.ceph.stop)
            self.ceph.start()
        if not self.data.exists():
            self._make_registry()
        program = self._program()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        started: list[Program] = []
        running.callback(_stop_together, started)
        for name in self.names:
            port = free_port()
            command = [program, "run", str(self.folder / name), "--port", str(port)]
            server = Program(command, logs / name, environment)
            started.append(server)
            self.servers.append(server)
            self.ports.append(port)
        worker = Program([program, "worker", str(self.data)], logs / "worker", environment)
        started.append(worker)
        for server, port in zip(self.servers, self.ports, strict=True):
            server.wait_for(port)
        nginx = start_nginx(
            self.folder / "nginx", port=self.port, servers=self.ports,
            data=self.data if self.ceph is None else None,
        )  # fmt: skip
        running.callback(nginx.stop, signal.SIGQUIT)

    def _make_registry(self) -> None:
        assert self.database is not None
        begin = self.folder / "begin.toml"
        begin.write_text(_SETTINGS + self._store(), encoding="utf-8")
        _run(
            [self._program(), "init", str(self.data), "--dev", "--database", self.database,
             "--settings", str(begin)]
        )  # fmt: skip
        begin.unlink()
        if self.ceph is None:
            with (self.data / "server.toml").open("a", encoding="utf-8") as settings:
                settings.write(_IN_FOLDERS.format(data=self.data))
        for name in self.names[1:]:
            other = self.folder / name
            other.mkdir()
            for file in ("server.toml", "root.fingerprint", "online-keys.json"):
                shutil.copy2(self.data / file, other / file)
            for part in ("keys", "locks"):
                shutil.copytree(self.data / part, other / part)

    def _store(self) -> str:
        """The settings that say where the object store is, and a bucket in it."""
        if self.ceph is None:
            return ""
        try:
            import boto3  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise NotStartedError("boto3: not installed beside this Python") from None
        bucket = f"{_BUCKET}-{os.urandom(4).hex()}"
        store = boto3.client(
            "s3", endpoint_url=self.ceph.endpoint, region_name="us-east-1",
            aws_access_key_id=self.ceph.access_key, aws_secret_access_key=self.ceph.secret_key,
        )  # fmt: skip
        store.create_bucket(Bucket=bucket)
        return self.ceph.settings_text(bucket)

    def _program(self) -> str:
        beside = Path(sys.executable).with_name("forge-server")
        found = str(beside) if beside.exists() else shutil.which("forge-server")
        if found is None:
            raise NotStartedError("forge-server: not installed beside this Python")
        return found

    def kill(self, at: int) -> None:
        """kill -9 of one server, which is then started again."""
        self.servers[at].kill()
        self.servers[at].start()


def main() -> int:
    parser = argparse.ArgumentParser(description="A whole registry on one machine, on loopback.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8080, help="nginx's; 0 takes a free one")
    parser.add_argument("--servers", type=int, default=2, help="of the registry (default: 2)")
    parser.add_argument("--database", help="a PostgreSQL that runs already")
    parser.add_argument("--ceph", action="store_true", help="files and blobs in an object store")
    options = parser.parse_args()
    machine = Machine(
        options.folder.absolute(), port=options.port, servers=options.servers,
        database=options.database, own_ceph=options.ceph,
    )  # fmt: skip
    # From before the first program starts, so that none of them outlives us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with machine:
            if machine.ceph is not None:
                print(f"store      {machine.ceph.endpoint}/ ({machine.ceph.credentials})")
            print(f"registry   {machine.url}/")
            print(f"root       {(machine.data / 'root.fingerprint').read_text().strip()}")
            print(f"data       {machine.data}")
            print(f"logs       {machine.folder / 'logs'} and {machine.folder / 'nginx'}")
            print("Ctrl-C stops it.", file=sys.stderr)
            sys.stdout.flush()
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (NotStartedError, CephError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
