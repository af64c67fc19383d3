"""What `deploy/` ships, running: a whole registry behind nginx, and a client of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import one_machine
import pytest
from ceph_node import CephNode
from live_registry import LiveRegistry
from postgres import PostgresServer
from server_fixtures import Live, World

DEPLOY = Path(__file__).parents[1] / "deploy"


def require_nginx() -> None:
    """Without nginx the test is skipped, or fails in CI."""
    if one_machine.nginx_program() is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is required in CI: apt-get install nginx-light")
        pytest.skip("nginx is not installed (apt-get install nginx-light)")


class Deployed(LiveRegistry):
    """A client at a running `Machine`, through nginx, with a logged-in ``sara``."""

    def __init__(self, place: Path, machine: Any) -> None:
        super().__init__(place)
        self.machine = machine
        self.data = machine.data
        self.authority = machine.folder / "first-authority"
        self.url = machine.url

    def __enter__(self) -> Deployed:
        self.token = self.forge_server("user", "add", str(self.data), "sara")
        (self.place / "sara.token").write_text(self.token)
        arguments = ["--fingerprint", self.fingerprint, "--token-file", "sara.token"]
        self.forge("login", self.url, *arguments)
        self.forge("key", "new", "--insecure-unencrypted")
        return self

    def __exit__(self, *_: object) -> None:
        """The machine is stopped by whoever started it."""


@pytest.fixture(scope="module")
def machine(postgres_server: PostgresServer) -> Iterator[Any]:
    """Two servers, a worker and nginx, on a database of the tests' PostgreSQL."""
    yield from _machine(postgres_server, None)


@pytest.fixture(scope="module")
def stored_machine(postgres_server: PostgresServer, ceph: CephNode) -> Iterator[Any]:
    """The same with all files and blobs in the tests' object store."""
    yield from _machine(postgres_server, ceph)


def _machine(postgres_server: PostgresServer, ceph: CephNode | None) -> Iterator[Any]:
    require_nginx()
    folder = Path(tempfile.mkdtemp(prefix="forge-machine-"))
    database = postgres_server.create()
    try:
        with one_machine.Machine(folder, database=database, ceph=ceph) as running:
            yield running
    finally:
        postgres_server.drop(database)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def front(machine: Any) -> Iterator[Live]:
    """A client for plain HTTP through nginx, and the world behind it."""
    world = World(machine.data)
    token = world.user("ines")
    world.organisation(token)
    yield Live(world, SimpleNamespace(url=machine.url), token)  # type: ignore[arg-type]
    world.close()


@pytest.fixture(scope="module")
def deployed(machine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with Deployed(tmp_path_factory.mktemp("client"), machine) as client:
        client.register("lab")
        yield client
