"""A client whose registry has a policy to pin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from builders import World
from cli_fixtures import Forge, new_world
from policies import PICKLE, publish_policy, with_file
from static_server import Answer, StaticServer

SAFE, UNSAFE = "model.safetensors", "model.pkl"
OUT = ("--into", "out")


@pytest.fixture
def world() -> World:
    """Version 1.0.0 is safe, 1.1.0 holds a pickle; the policy denies pickles."""
    made = new_world()
    made.add_org("gov-ma", kind="government")
    publish_policy(made, PICKLE)
    made.publish(with_file(SAFE))
    made.publish(with_file(UNSAFE, "1.1.0"))
    return made


@contextmanager
def served(
    forge: Forge, world: World, more: dict[str, Answer] | None = None
) -> Iterator[StaticServer]:
    with StaticServer({**world.files(), **(more or {})}) as server:
        forge.trust(server, world)
        yield server


def lock_text(forge: Forge) -> str:
    return (forge.place / "out" / "forge.lock").read_text()
