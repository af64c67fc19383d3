"""A PostgreSQL server of the tests' own: a unix socket in a private folder, nothing on the network.

It sorts as English does and not by code point, as many a real server: what relies on the order of
names without saying so is found out.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import wait_until

if TYPE_CHECKING:
    from psycopg import Connection

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
# For speed: what a power cut would take does not matter here.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "autovacuum": "off",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "bgwriter_lru_maxpages": "0",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}
USER = "forge"


_PREFIX = "forge-pg-"
_IN_MEMORY = Path("/dev/shm")
_ROOM = 6 << 30  # a database is 10 MB, and few are there at once


def _place() -> Path:
    """Where a copy of a database, hundreds of files, waits for no disk: it took up to a second."""
    roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free >= _ROOM
    return _IN_MEMORY if roomy else Path("/tmp")


def clear_away_dead(place: Path) -> None:
    """Removes what runs of the tests left that were killed: folders that bear the number of a
    process which is no more. Its server ended with it; where another process has the number by now,
    the folder waits for the next time."""
    for folder in place.glob(f"{_PREFIX}*-*"):
        number = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(folder, ignore_errors=True)  # somebody else may be at it


class PostgresServer:
    """A running server. ``urls`` of its databases are such as `server.toml` takes."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # Short: a socket's path has at most 107 characters.
        place = _place()
        clear_away_dead(place)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        self._made = 0
        self._own: Connection[tuple[object, ...]] | None = None
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run(
            "initdb", "--no-sync", "--username", USER, "--auth", "trust", "--encoding", "UTF8",
            "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US",
            "--pgdata", str(self.folder / "data"),
        )  # fmt: skip
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """Where libpq looks for a server, and a shell for PostgreSQL's programs."""
        path = f"{Path(sys.executable).parent}:{self._binaries}:{os.environ['PATH']}"
        return {"PGHOST": str(self.folder), "PGUSER": USER, "PATH": path}

    def start(self) -> None:
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._as_account(), *command, "-k", str(self.folder), *options],
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which end it
            )
        wait_until(self._is_ready)

    def stop(self, mode: str = "fast") -> None:
        if self._own is not None:
            self._own.close()
            self._own = None
        if self.process.poll() is None:
            data = str(self.folder / "data")
            self._run("pg_ctl", "stop", "--pgdata", data, "--mode", mode, "--wait")
        self.process.wait()

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def url(self, name: str, user: str = USER) -> str:
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def create(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one at ``template``, which nobody
        has open."""
        self._made += 1
        name = f"forge{self._made}"
        source = "template1" if template is None else name_of(template)
        # Copied as files: page by page through the log takes half as long again.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)")

    def execute(self, statement: str, database: str | None = None) -> list[tuple[object, ...]]:
        """What ``statement`` returns, run by itself outside of a transaction; where no database is
        named, over a connection that stays: each test makes and drops databases."""
        import psycopg

        if database is None:
            if self._own is None:
                self._own = psycopg.connect(self.url("postgres"), autocommit=True)
            return _fetched(self._own, statement)
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return _fetched(connection, statement)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_account(), str(self._binaries / program), *arguments],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        command = [str(self._binaries / "pg_isready"), "--quiet", "--host", str(self.folder)]
        return subprocess.run(command, check=False).returncode == 0

    def _as_account(self) -> list[str]:
        """Not as root, which PostgreSQL refuses; and ended with us, however we end."""
        command = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() == 0:
            command += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        return command


def _fetched(
    connection: Connection[tuple[object, ...]], statement: str
) -> list[tuple[object, ...]]:
    cursor = connection.execute(statement)
    return cursor.fetchall() if cursor.description else []


def name_of(url: str) -> str:
    """The name of the database at a URL of `PostgresServer`."""
    return url.partition("@/")[2].partition("?")[0]


def require_binaries() -> Path:
    """Where PostgreSQL's programs are; without them the test is skipped, or fails in CI."""
    found = [path for path in _BINARIES if (path / "initdb").exists()]
    if not found or not shutil.which("setpriv"):
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is required in CI: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return found[0]


@contextmanager
def running() -> Iterator[PostgresServer]:
    server = PostgresServer(require_binaries())
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests, each of which has a database of its own."""
    with running() as server:
        yield server
