"""Warnings from 60 days ahead, wherever a role is relied on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from builders import NAME, World, tree
from cli_fixtures import Forge, new_world
from forge_client import forge
from static_server import StaticServer

__all__ = ["forge"]


def aged(days: int) -> World:
    """A world whose registrar's, organisations' and projects' roles are ``days`` old."""
    world = new_world()
    now = world.now
    world.now = now - timedelta(days=days)
    world.publish(tree())
    world.now = now
    world.publish_metadata()
    return world


@pytest.mark.parametrize(
    "command", [("install", str(NAME), "--into", "out"), ("verify", str(NAME)), ("doctor",)]
)
@pytest.mark.parametrize(("days", "warned"), [(20, False), (40, True)])
def test_whoever_relies_on_a_role_is_warned(
    forge: Forge, command: tuple[str, ...], days: int, warned: bool
) -> None:
    world = aged(days)  # the registrar's role lives 90 days
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        ran = forge(*command)
    assert ("the role of registrar expires on" in ran.out + ran.err) is warned, ran.err
    if warned:
        assert "the authority must sign it anew" in ran.out + ran.err
