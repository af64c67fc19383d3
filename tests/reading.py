"""A registry that programs read from, and a home that trusts it, made once for a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import NAME, World, tree
from cli_fixtures import new_world
from log_builders import Log
from static_server import StaticServer

from forge_cli.truststore import TrustStore

WEIGHTS = "weights/model.safetensors"
FILES = tree()
PINNED = f"{NAME}@1.0.0"


def new_registry() -> World:
    """A registry of today with a log, a status host, and two releases."""
    made = World(now=new_world().now, log=Log(), with_status=True)
    made.publish(FILES)
    made.publish(tree(version="1.1.0"))
    made.say_status()
    return made


@pytest.fixture
def world() -> World:
    return new_registry()


@pytest.fixture
def server(world: World) -> Iterator[StaticServer]:
    with StaticServer(dict(world.files())) as made:
        yield made


@dataclass(frozen=True)
class Readable:
    """``server`` of a registry that nobody changes, and the ``home`` that trusts it."""

    server: StaticServer
    home: Path


@pytest.fixture(scope="module")
def readable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readable]:
    """``FORGE_HOME`` and ``FORGE_URL`` are set all through the module."""
    home, made = tmp_path_factory.mktemp("home"), new_registry()
    with StaticServer(dict(made.files())) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGE_HOME", str(home))
        patch.setenv("FORGE_URL", server.url)
        TrustStore(home / "trust").add(server.url, made.fingerprint, made.root)
        yield Readable(server, home)
